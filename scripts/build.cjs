// npm run build: the program as one file, and V8's code cache beside it, so that a start neither resolves modules nor
// compiles. Both lie in dist/ in a folder that is named after their content, because V8 tells by no more than the length
// whether a cache belongs to a source. dist/mirrorsim.json says which folder is the last one and what it was made of;
// bin/mirrorsim.cjs runs the sources instead when one of them is newer.
'use strict'
const { spawnSync } = require('node:child_process')
const crypto = require('node:crypto')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')

const root = path.resolve(__dirname, '..')
const dist = path.join(root, 'dist')

function findBundler() {
  try {
    return require('esbuild')
  } catch {
    return null
  }
}

/** The program's text, and the sources that it is made of. */
function bundleProgram(bundler) {
  const { metafile, outputFiles } = bundler.buildSync({
    absWorkingDir: root,
    entryPoints: ['impl/programs/mirrorsim.ts'],
    write: false,
    bundle: true,
    platform: 'node',
    target: 'node20.19',
    format: 'cjs',
    // It finds its own binary by where it lies.
    external: ['koffi'],
    charset: 'utf8',
    metafile: true,
    logLevel: 'warning',
  })
  const inputs = Object.keys(metafile.inputs).filter((file) => !file.startsWith('node_modules/'))
  return { text: outputFiles[0].text, inputs }
}

/** So that nobody sees half of it. */
function writeWhole(file, content) {
  const partial = `${file}.${process.pid}.tmp`
  fs.writeFileSync(partial, content)
  fs.renameSync(partial, file)
}

/** Has the program copy a small image, so that the cache holds the code that a copy runs through. */
function writeCodeCache() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mirrorsim-build-'))
  try {
    const source = path.join(folder, 'source')
    const piece = Buffer.alloc(65536, 1)
    const descriptor = fs.openSync(source, 'w')
    for (let index = 0; index < 40; index++) fs.writeSync(descriptor, piece, 0, piece.length, index * 8 * piece.length)
    fs.closeSync(descriptor)
    const environment = { ...process.env, MIRRORSIM_WRITE_CODE_CACHE: '1' }
    const args = [path.join(root, 'bin/mirrorsim.cjs'), 'mirror', '-q', source, path.join(folder, 'copy')]
    const { status, stderr } = spawnSync(process.execPath, args, { env: environment, encoding: 'utf8' })
    if (status !== 0) throw new Error(`the built program does not work: ${stderr}`)
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

function build(bundler) {
  const start = new Date()
  const { text, inputs } = bundleProgram(bundler)
  const name = crypto.createHash('sha256').update(process.version).update(text).digest('hex').slice(0, 16)
  const bundle = path.join(dist, name, 'mirrorsim.js')
  fs.mkdirSync(path.dirname(bundle), { recursive: true })
  writeWhole(bundle, text)
  // A source that is changed from now on is newer.
  fs.utimesSync(bundle, start, start)
  writeWhole(path.join(dist, 'mirrorsim.json'), `${JSON.stringify({ bundle: `${name}/mirrorsim.js`, inputs }, null, 1)}\n`)
  writeCodeCache()
  for (const entry of fs.readdirSync(dist)) {
    if (entry !== name && entry !== 'mirrorsim.json' && entry !== 'library')
      fs.rmSync(path.join(dist, entry), { recursive: true, force: true })
  }
}

const bundler = findBundler()
// Installing does not fail for want of the bundler: the sources run as well.
if (bundler !== null) build(bundler)
else if (process.argv[2] !== '--optional') {
  console.error('build: esbuild is not installed: run `npm ci` with its development dependencies')
  process.exitCode = 1
}
