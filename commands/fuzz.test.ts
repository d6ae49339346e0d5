// The programs as people start them, with the real worlds.
import { type ChildProcess, spawn } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const root = path.resolve(__dirname, '..')
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'fuzz-'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))

interface Ended {
  code: number | null
  out: string
  err: string
}

function start(program: string, args: readonly string[]): { child: ChildProcess; ended: Promise<Ended> } {
  const hook = path.join(root, 'scripts/tsreg.cjs')
  const child = spawn(process.execPath, ['-r', hook, path.join(root, 'commands', program), ...args], { cwd: folder })
  let out = ''
  let err = ''
  child.stdout.on('data', (text) => {
    out += text
  })
  child.stderr.on('data', (text) => {
    err += text
  })
  const ended = new Promise<Ended>((resolve) => {
    child.on('close', (code) => resolve({ code, out, err }))
  })
  return { child, ended }
}

const fuzz = (...args: string[]): Promise<Ended> => start('fuzz.ts', [...args, '--out', folder, '--json']).ended

test('one seed gives one campaign, with and without threads', async () => {
  const here = await fuzz('--seed', 'twice', '--runs', '80', '--workers', '0', '--replay-share', '50')
  const there = await fuzz('--seed', 'twice', '--runs', '80', '--workers', '2')
  const one = JSON.parse(here.out)
  const other = JSON.parse(there.out)
  assert.is(one.worlds, 80)
  assert.ok(one.events > 80 * 20, `${one.events} events`)
  assert.ok(one.replays > 20, `${one.replays} replays`)
  assert.is(one.campaignHash, other.campaignHash)
  assert.equal(one.probes, other.probes)
  assert.equal(one.failures, [])
  assert.is(here.code, 0, here.err)
})

test('another seed gives another campaign', async () => {
  const hashes = await Promise.all(
    ['a', 'b'].map(async (seed) => JSON.parse((await fuzz('--seed', seed, '--runs', '5')).out).campaignHash),
  )
  assert.is.not(hashes[0], hashes[1])
})

test('Ctrl-C ends a campaign with its result and exit 130', async () => {
  const { child, ended } = start('fuzz.ts', ['--time', '600', '--workers', '1', '--out', folder, '--seed', 'long'])
  child.stderr!.once('data', () => child.kill('SIGINT'))
  const { code, out, err } = await ended
  assert.is(code, 130, err)
  assert.match(out, /worlds? in .*, interrupted/)
  assert.match(out, /campaign [0-9a-f]{16}/)
})

test.run()
