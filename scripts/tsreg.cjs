// Loads TypeScript through ts-node's own compiler, with the result kept under .tscache/ by content:
// a warm start compiles nothing and does not even load the compiler. Type checking is `npm run typecheck`.
//
// A mutant is a source edit applied here, before compilation: scripts/mutant.cjs. Operator mutants, thousands of them, are
// switches in the text itself, which a thread that wants them puts in (commands/operator_switch.ts).
'use strict'
const crypto = require('node:crypto')
const fs = require('node:fs')
const path = require('node:path')
const { mutate } = require('./mutant.cjs')

const root = path.resolve(__dirname, '..')
const cacheDir = path.join(root, '.tscache')
const config = fs.readFileSync(path.join(root, 'tsconfig.json'), 'utf8')
const versions = `3/${process.version}/${require('typescript/package.json').version}/${require('ts-node/package.json').version}`

// What an index file passes on is an accessor in TypeScript's output, so that cycles work; there are none here. An object
// of a dozen accessors is a hash table to V8, and every use of `assert` a look-up in it: a third of a world's time.
const ACCESSOR =
  /Object\.defineProperty\(exports, "(\w+)", \{ enumerable: true, get: function \(\) \{ return (\w+\.\w+); \} \}\);/g

// What a module uses of another one of ours is looked up in the other's exports at every use. Bound once, behind the
// `require`, it is a constant to V8, as in a bundle: a twentieth of a world's time. A use keeps its length, and so its
// place in the source map.
const IMPORT = /^const (\w+_\d+) = require\("\.[^"]*"\);$/gm
function bindImports(text) {
  const used = new Map()
  for (const [, name] of text.matchAll(IMPORT)) used.set(name, new Set())
  if (used.size === 0) return text
  const bound = text.replace(/\b(\w+_\d+)\.(\w+)/g, (use, name, member) => {
    if (!used.has(name)) return use
    used.get(name).add(member)
    return `${name}$${member}`
  })
  return bound.replace(IMPORT, (line, name) => {
    const members = [...used.get(name)].map((member) => `${name}$${member} = ${name}.${member}`)
    return members.length === 0 ? line : `${line} const ${members.join(', ')};`
  })
}

let service
function compile(source, file) {
  service ??= require('ts-node').create({ cwd: root, transpileOnly: true })
  return bindImports(service.compile(source, file).replace(ACCESSOR, 'exports.$1 = $2;'))
}

const REWRITE = Symbol.for('mirrorsim.rewrite')

/** What is compiled instead of the source: with the switches of operator mutants, or with one mutant planted. */
function rewrite(source, file) {
  return globalThis[REWRITE] === undefined ? mutate(source, file) : globalThis[REWRITE](file, source)
}

// A result that cannot be kept, as in a checkout that is only read, costs time and nothing else.
function keep(cached, output, salt) {
  const partial = `${cached}.${process.pid}.${salt}.tmp`
  try {
    fs.mkdirSync(cacheDir, { recursive: true })
    fs.writeFileSync(partial, output)
    fs.renameSync(partial, cached)
  } catch {}
}

require.extensions['.ts'] = (module, file) => {
  const source = rewrite(fs.readFileSync(file, 'utf8'), file)
  const relative = path.relative(root, file)
  const key = crypto.createHash('sha256').update(`${versions}\0${config}\0${relative}\0${source}`).digest('hex')
  const cached = path.join(cacheDir, `${key}.js`)
  let output
  try {
    output = fs.readFileSync(cached, 'utf8')
  } catch {
    output = compile(source, file)
    keep(cached, output, module.id.length)
  }
  module._compile(output, file)
}
