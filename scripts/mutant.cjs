// A mutant (see scenarios/mutants) is a source edit applied when a module is loaded, so that the product's code carries no
// switches. MIRRORSIM_MUTANT holds {file, find, replace} as JSON, or a list of such, or the name of one of the catalogue.
'use strict'
const fs = require('node:fs')
const path = require('node:path')

const root = path.resolve(__dirname, '..')

function readMutant(text) {
  if (text === undefined || text === '') return undefined
  if (/^[{[]/.test(text)) return JSON.parse(text)
  const file = path.join(root, 'scenarios/mutants', `${path.basename(text)}.json`)
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8'))
  } catch {
    process.stderr.write(`MIRRORSIM_MUTANT: there is no mutant "${text}" in scenarios/mutants\n`)
    process.exit(2)
  }
}
const mutant = readMutant(process.env.MIRRORSIM_MUTANT)

const edits = mutant === undefined ? [] : [mutant].flat()

/** The source as the mutant leaves it. Throws when a snippet is not there exactly once. */
function mutate(source, file) {
  let text = source
  for (const edit of edits) {
    if (path.resolve(root, edit.file) !== file) continue
    const parts = text.split(edit.find)
    if (parts.length !== 2) throw new Error(`mutant: the snippet matches ${parts.length - 1} times in ${edit.file}, not once`)
    text = parts.join(edit.replace)
  }
  return text
}

module.exports = { mutant, mutate }
