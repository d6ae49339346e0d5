#!/usr/bin/env node
// Runs the built program (npm run build) with its code cache, unless a source is newer than it: then the sources.
'use strict'
const fs = require('node:fs')
const path = require('node:path')

const root = path.dirname(__dirname)
const dist = path.join(root, 'dist')

function readIfThere(file, encoding) {
  try {
    return fs.readFileSync(file, encoding)
  } catch {
    return undefined
  }
}

/** Path of the program in one file, or undefined if there is none, or an old one. */
function findBundle() {
  const text = readIfThere(path.join(dist, 'mirrorsim.json'), 'utf8')
  if (text === undefined) return undefined
  const { bundle, inputs } = JSON.parse(text)
  const file = path.join(dist, bundle)
  const builtMs = fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs
  if (builtMs === undefined) return undefined
  // What is not there has not changed: a package without its sources.
  const isOld = inputs.some((input) => fs.statSync(path.join(root, input), { throwIfNoEntry: false })?.mtimeMs > builtMs)
  return isOld ? undefined : file
}

function writeWhole(file, content) {
  const partial = `${file}.${process.pid}.tmp`
  fs.writeFileSync(partial, content)
  fs.renameSync(partial, file)
}

function runBundle(file) {
  const { Module, createRequire } = require('node:module')
  const vm = require('node:vm')
  const cache = `${file}.cache`
  const mustWriteCache = process.env.MIRRORSIM_WRITE_CODE_CACHE === '1'
  // A cache of another version of Node is refused by V8, which compiles then.
  const cachedData = mustWriteCache ? undefined : readIfThere(cache)
  const script = new vm.Script(Module.wrap(fs.readFileSync(file, 'utf8')), { filename: file, cachedData })
  const module = { exports: {} }
  script.runInThisContext()(module.exports, createRequire(file), module, file, path.dirname(file))
  if (mustWriteCache) process.on('exit', () => writeWhole(cache, script.createCachedData()))
}

const bundle = findBundle()
if (bundle !== undefined) {
  runBundle(bundle)
} else {
  require('../scripts/tsreg.cjs')
  require('../impl/programs/mirrorsim.ts')
}
