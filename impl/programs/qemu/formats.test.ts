/** Images of every format go between these programs and QEMU's, both ways, and read the same. */
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const PROGRAM = path.resolve(__dirname, '../../../bin/mirrorsim.cjs')
const hasQemu = spawnSync('qemu-img', ['--version'], { stdio: 'ignore' }).status === 0
const qemuTest = hasQemu ? test : test.skip
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'formats-'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))

type Run = (program: 'img' | 'io', ...args: string[]) => string

function runner(command: (program: string) => string[]): Run {
  return (program, ...args) => {
    const [file, ...first] = command(program)
    const { status, stdout, stderr } = spawnSync(file!, [...first, ...args], { encoding: 'utf8', cwd: folder })
    assert.is(status, 0, `${program} ${args.join(' ')}: ${stdout}${stderr}`)
    return stdout
  }
}
const ours = runner((program) => [process.execPath, PROGRAM, program])
const theirs = runner((program) => [`qemu-${program}`])

const SHAPES: ReadonlyArray<{ format: string; options: string; isChecked: boolean }> = [
  { format: 'vdi', options: 'static=off', isChecked: true },
  { format: 'vdi', options: 'static=on', isChecked: true },
  { format: 'vpc', options: 'force_size=on', isChecked: false },
  { format: 'vpc', options: 'subformat=fixed,force_size=on', isChecked: false },
]

/** What is said of an image, without what differs from one making to the next and what QEMU 7.2 does not tell. */
function infoOf(run: Run, format: string): string {
  const info = JSON.parse(run('img', 'info', '--output=json', '-f', format, 'i'))
  const { children: _children, 'actual-size': _size, ...rest } = info
  return JSON.stringify(rest).replace(/"cid":\d+/, '"cid":0')
}
function mapOf(run: Run, format: string): string {
  return run('img', 'map', '-f', format, 'i')
}

for (const { format, options, isChecked } of SHAPES) {
  for (const [who, maker, reader] of [
    ['ours', ours, theirs],
    ['theirs', theirs, ours],
  ] as const) {
    qemuTest(`${format} with ${options}: ${who} are taken by the other side`, () => {
      for (const name of fs.readdirSync(folder)) fs.rmSync(path.join(folder, name))
      maker('img', 'create', '-q', '-f', format, '-o', options, 'i', '9M')
      maker('io', '-f', format, '-c', 'write -P 5 100k 300k', '-c', 'write -P 6 5M 64k', 'i')
      reader('io', '-f', format, '-c', 'read -P 5 100k 300k', '-c', 'read -P 0 0 100k', '-c', 'read -P 6 5M 64k', 'i')
      reader('io', '-f', format, '-c', 'write -P 7 1500k 700k', '-c', 'write -P 8 8M 512', 'i')
      maker('io', '-f', format, '-c', 'read -P 7 1500k 700k', '-c', 'read -P 8 8M 512', '-c', 'read -P 0 6M 1M', 'i')
      if (isChecked) for (const run of [ours, theirs]) run('img', 'check', '-q', '-f', format, 'i')
      assert.is(infoOf(ours, format), infoOf(theirs, format))
      assert.is(mapOf(ours, format), mapOf(theirs, format))
      maker('img', 'convert', '-f', format, '-O', 'raw', 'i', 'r')
      reader('img', 'compare', '-q', '-f', format, '-F', 'raw', 'i', 'r')
      reader('img', 'convert', '-f', 'raw', '-O', format, '-o', options, 'r', 'j')
      maker('img', 'compare', '-q', '-f', format, '-F', format, 'i', 'j')
    })
  }
  qemuTest(`${format}: the options of creation are those of QEMU`, () => {
    assert.is(ours('img', 'create', '-f', format, '-o', 'help'), theirs('img', 'create', '-f', format, '-o', 'help'))
  })
}

test.run()
