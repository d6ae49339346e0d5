// npm run build:library: what `import … from 'mirrorsim'` finds, in dist/library: one CommonJS file, a thin ES module over
// it that names what it exports, and the types. Packages of others stay outside: they are dependencies.
//
// With --prepare it is built where npm installs from git, which runs nothing else. It takes ten seconds, so that `npm ci` goes
// without; before the package is packed it is built in any case (`prepack`).
'use strict'
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')

const root = path.resolve(__dirname, '..')
const folder = path.join(root, 'dist/library')
const ENTRY = 'library/index.ts'

function bundle() {
  const esbuild = require('esbuild')
  esbuild.buildSync({
    absWorkingDir: root,
    entryPoints: [ENTRY],
    outfile: path.join(folder, 'index.cjs'),
    bundle: true,
    packages: 'external',
    platform: 'node',
    target: 'node20.19',
    format: 'cjs',
    charset: 'utf8',
    logLevel: 'warning',
  })
  const names = Object.keys(require(path.join(folder, 'index.cjs'))).sort()
  fs.writeFileSync(
    path.join(folder, 'index.mjs'),
    `export {\n${names.map((name) => `  ${name},\n`).join('')}} from './index.cjs'\n`,
  )
}

/** Declarations of everything that the entry reaches by its code; of them those stay that it reaches by its types. */
function writeTypes() {
  const types = path.join(folder, 'types')
  const compiler = require.resolve('typescript/bin/tsc')
  const options = ['--declaration', '--emitDeclarationOnly', '--noEmit', 'false', '--rootDir', '.', '--outDir', types]
  const config = path.join(folder, 'tsconfig.json')
  fs.writeFileSync(
    config,
    JSON.stringify({ extends: path.join(root, 'tsconfig.json'), include: [], files: [path.join(root, ENTRY)] }),
  )
  const { status, stdout } = spawnSync(process.execPath, [compiler, '-p', config, ...options], { cwd: root, encoding: 'utf8' })
  fs.rmSync(config)
  if (status !== 0) throw new Error(`the types of the library cannot be made:\n${stdout}`)
  const entry = path.join(types, ENTRY.replace(/\.ts$/, '.d.ts'))
  const kept = new Set()
  keep(entry, kept)
  for (const name of fs.readdirSync(types, { recursive: true })) {
    const file = path.join(types, name)
    if (name.endsWith('.d.ts') && !kept.has(file)) fs.rmSync(file)
  }
  removeEmptyFolders(types)
  fs.writeFileSync(path.join(folder, 'index.d.mts'), `export * from './types/${ENTRY.replace(/\.ts$/, '.js')}'\n`)
}

const IMPORT = /(?:from|import\()\s*'(\.[^']*)'/g

function keep(file, kept) {
  if (kept.has(file)) return
  kept.add(file)
  for (const [, name] of fs.readFileSync(file, 'utf8').matchAll(IMPORT)) {
    const base = path.resolve(path.dirname(file), name)
    const found = [`${base}.d.ts`, path.join(base, 'index.d.ts')].find((one) => fs.existsSync(one))
    if (found === undefined) throw new Error(`${file}: there are no types for '${name}'`)
    keep(found, kept)
  }
}

function removeEmptyFolders(at) {
  for (const entry of fs.readdirSync(at, { withFileTypes: true })) {
    if (entry.isDirectory()) removeEmptyFolders(path.join(at, entry.name))
  }
  if (fs.readdirSync(at).length === 0) fs.rmdirSync(at)
}

/** Whether there is nothing to do now. */
function isNeedless() {
  if (process.argv[2] !== '--prepare') return false
  if (['ci', 'pack', 'publish'].includes(process.env.npm_command)) return true
  return ['esbuild', 'typescript'].some((name) => !fs.existsSync(path.join(root, 'node_modules', name)))
}

if (!isNeedless()) {
  fs.rmSync(folder, { recursive: true, force: true })
  fs.mkdirSync(folder, { recursive: true })
  bundle()
  writeTypes()
}
