// npm run build: the program as one file, and V8's code cache beside it, so that a start neither resolves modules nor
// compiles. dist/mirrorsim.json lists what the file was made of; bin/mirrorsim.cjs takes the sources when one is newer.
'use strict'
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')

const root = path.resolve(__dirname, '..')
const dist = path.join(root, 'dist')
const bundle = path.join(dist, 'mirrorsim.js')
const list = path.join(dist, 'mirrorsim.json')

function bundleProgram() {
  const { metafile } = require('esbuild').buildSync({
    absWorkingDir: root,
    entryPoints: ['impl/programs/mirrorsim.ts'],
    outfile: bundle,
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
  return Object.keys(metafile.inputs).filter((file) => !file.startsWith('node_modules/'))
}

/** Has the program copy a small image, so that the cache holds the code that a copy runs through. */
function warmUp() {
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

function hasBundler() {
  try {
    require('esbuild')
    return true
  } catch {
    return false
  }
}

// Installing does not fail for want of the bundler: the sources run as well.
if (process.argv[2] === '--optional' && !hasBundler()) process.exit(0)
fs.rmSync(dist, { recursive: true, force: true })
const inputs = bundleProgram()
fs.writeFileSync(list, `${JSON.stringify(inputs, null, 1)}\n`)
warmUp()
