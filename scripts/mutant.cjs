// A mutant (see scenarios/mutants) is a source edit applied when a module is loaded, so that the product's code carries no
// switches. MIRRORSIM_MUTANT holds {file, find, replace} as JSON, or the name of one of the catalogue.
'use strict'
const fs = require('node:fs')
const path = require('node:path')

const root = path.resolve(__dirname, '..')

function readMutant(text) {
  if (text === undefined || text === '') return undefined
  if (text.startsWith('{')) return JSON.parse(text)
  const file = path.join(root, 'scenarios/mutants', `${path.basename(text)}.json`)
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8'))
  } catch {
    process.stderr.write(`MIRRORSIM_MUTANT: there is no mutant "${text}" in scenarios/mutants\n`)
    process.exit(2)
  }
}
const mutant = readMutant(process.env.MIRRORSIM_MUTANT)

/** The source as the mutant leaves it. Throws when its snippet is not there exactly once. */
function mutate(source, file) {
  if (mutant === undefined || path.resolve(root, mutant.file) !== file) return source
  const parts = source.split(mutant.find)
  if (parts.length !== 2) throw new Error(`mutant: the snippet matches ${parts.length - 1} times in ${mutant.file}, not once`)
  return parts.join(mutant.replace)
}

module.exports = { mutant, mutate }
