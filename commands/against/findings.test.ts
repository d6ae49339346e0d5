/** The scripts of docs/qemu-findings: our own programs are not seen to do any of it, and where programs are absent they say so. */
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const ROOT = path.join(__dirname, '../..')
const SCRIPTS = path.join(ROOT, 'docs/qemu-findings')
const SKIPPED = 77
const NOT_SEEN = 0

/** Those that always show it where it is, with their argument, if they have one. */
const STEADY: ReadonlyArray<readonly string[]> = [
  ['new-client-while-pending.sh'],
  ['new-client-while-pending.sh', 'write-blocking'],
  ['copy-forgotten.sh'],
  ['copy-forgotten.sh', 'cancel'],
  ['complete-twice.sh'],
  ['discard-below-alignment.sh'],
]

function run(
  [script, ...words]: readonly string[],
  environment: Record<string, string>,
): { status: number | null; said: string } {
  const args = [path.join(SCRIPTS, script!), ...words]
  const env = { PATH: process.env['PATH'], ROUNDS: '2', ...environment }
  const { status, stdout, stderr } = spawnSync('/bin/bash', args, { encoding: 'utf8', env, timeout: 60_000 })
  return { status, said: `${stdout}${stderr}` }
}

test('where programs are absent each script says which, and is no pass', () => {
  const scripts = fs.readdirSync(SCRIPTS).filter((name) => name.endsWith('.sh'))
  assert.ok(scripts.length >= 9)
  for (const script of scripts) {
    const { status, said } = run([script], { PATH: '', QEMU_BIN: '' })
    assert.is(status, SKIPPED, `${script}: ${said}`)
    assert.match(said, /^skipped: qemu-[a-z-]+ is not installed\n$/)
  }
})

for (const words of STEADY) {
  test(`ours: ${words.join(' ')}`, () => {
    const bin = fs.mkdtempSync(path.join(os.tmpdir(), 'mf'))
    try {
      for (const name of ['qemu-storage-daemon', 'qemu-img', 'qemu-io']) {
        fs.symlinkSync(path.join(ROOT, 'bin/mirrorsim.cjs'), path.join(bin, name))
      }
      const { status, said } = run(words, { QEMU_BIN: bin })
      assert.is(status, NOT_SEEN, said)
      assert.not.match(said, 'skipped')
    } finally {
      fs.rmSync(bin, { recursive: true })
    }
  })
}

test.run()
