/** The built program in a checkout of its own: it is used while it is current, and whatever becomes of its code cache. */
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const root = path.resolve(__dirname, '..')
const checkout = fs.mkdtempSync(path.join(os.tmpdir(), 'mirrorsim-checkout-'))
test.after(() => fs.rmSync(checkout, { recursive: true, force: true }))
const at = (name: string): string => path.join(checkout, name)
const hasBundler = fs.existsSync(path.join(root, 'node_modules/esbuild'))
const builtTest = hasBundler ? test : test.skip

test.before(() => {
  for (const name of ['bin', 'impl', 'scripts', 'package.json', 'tsconfig.json']) {
    fs.cpSync(path.join(root, name), at(name), { recursive: true })
  }
  // What has been compiled there need not be again: the names are made of the content.
  for (const name of ['node_modules', '.tscache']) fs.symlinkSync(path.join(root, name), at(name))
})

function node(...args: string[]): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: checkout, encoding: 'utf8' })
  return { code: status, out: stdout, err: stderr }
}
const version = (): string => {
  const { code, out, err } = node('bin/mirrorsim.cjs', '--version')
  assert.is(code, 0, err)
  return out.trim()
}

/** Changes what the built program prints, without its sources becoming newer. */
function markBundle(mark: string): string {
  const { bundle } = JSON.parse(fs.readFileSync(at('dist/mirrorsim.json'), 'utf8'))
  const file = path.join(checkout, 'dist', bundle)
  const { atime, mtime } = fs.statSync(file)
  const text = fs.readFileSync(file, 'utf8')
  const marked = text.replace(/VERSION = "[^"]+"/, `VERSION = "${mark}"`)
  assert.is.not(marked, text)
  fs.writeFileSync(file, marked)
  fs.utimesSync(file, atime, mtime)
  return file
}

builtTest('the built program runs, until a source is newer', () => {
  const { code, err } = node('scripts/build.cjs')
  assert.is(code, 0, err)
  assert.is(fs.readdirSync(at('dist')).length, 2)
  const real = version()
  const cache = `${markBundle('marked-1')}.cache`
  fs.rmSync(cache)
  assert.is(version(), 'marked-1')
  for (const spoilt of ['', 'no cache', 'x'.repeat(100_000)]) {
    fs.writeFileSync(cache, spoilt)
    assert.is(version(), 'marked-1')
  }
  const soon = new Date(Date.now() + 60_000)
  fs.utimesSync(at('impl/programs/version.ts'), soon, soon)
  assert.is(version(), real)
})

test('a checkout without a built program runs its sources', () => {
  fs.rmSync(at('dist'), { recursive: true, force: true })
  assert.match(version(), /^\d+[.]\d+[.]\d+$/)
})

test.run()
