#!/usr/bin/env node
// Runs the built program (npm run build) with its code cache, unless a source is newer than it: then the sources.
'use strict'
const fs = require('node:fs')
const path = require('node:path')

const root = path.dirname(__dirname)
const bundle = path.join(root, 'dist/mirrorsim.js')
const cache = path.join(root, 'dist/mirrorsim.cache')

function isBuilt() {
  const builtMs = fs.statSync(bundle, { throwIfNoEntry: false })?.mtimeMs
  if (builtMs === undefined) return false
  const inputs = JSON.parse(fs.readFileSync(path.join(root, 'dist/mirrorsim.json'), 'utf8'))
  // What is not there has not changed: a package without its sources.
  return inputs.every((file) => !(fs.statSync(path.join(root, file), { throwIfNoEntry: false })?.mtimeMs > builtMs))
}

function readIfThere(file) {
  try {
    return fs.readFileSync(file)
  } catch {
    return undefined
  }
}

function runBuilt() {
  const { Module, createRequire } = require('node:module')
  const vm = require('node:vm')
  const mustCache = process.env.MIRRORSIM_WRITE_CODE_CACHE === '1'
  const code = Module.wrap(fs.readFileSync(bundle, 'utf8'))
  // A cache of another version of Node is refused by V8, which compiles then.
  const cachedData = mustCache ? undefined : readIfThere(cache)
  const script = new vm.Script(code, { filename: bundle, cachedData })
  const module = { exports: {} }
  script.runInThisContext()(module.exports, createRequire(bundle), module, bundle, path.dirname(bundle))
  if (mustCache) process.on('exit', () => fs.writeFileSync(cache, script.createCachedData()))
}

if (isBuilt()) {
  runBuilt()
} else {
  require('../scripts/tsreg.cjs')
  require('../impl/programs/mirrorsim.ts')
}
