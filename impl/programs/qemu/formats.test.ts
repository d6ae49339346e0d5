/** Images of every format go between these programs and QEMU's, both ways, and read the same. */
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { FOREIGN_IMAGES } from '../../block/drivers/clusters/testing'

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

interface Shape {
  format: string
  options: string
  isChecked: boolean
  /** Only whole grains can be written, and only once. */
  isPacked?: boolean
}

const SHAPES: readonly Shape[] = [
  { format: 'vdi', options: 'static=off', isChecked: true },
  { format: 'vdi', options: 'static=on', isChecked: true },
  { format: 'vpc', options: 'force_size=on', isChecked: false },
  { format: 'vpc', options: 'subformat=fixed,force_size=on', isChecked: false },
  { format: 'qcow', options: '', isChecked: false },
  { format: 'qed', options: 'cluster_size=65536', isChecked: true },
  { format: 'qed', options: 'cluster_size=4096,table_size=2', isChecked: true },
  { format: 'parallels', options: '', isChecked: true },
  { format: 'parallels', options: 'cluster_size=65536', isChecked: true },
  { format: 'vmdk', options: 'subformat=monolithicSparse', isChecked: true },
  { format: 'vmdk', options: 'zeroed_grain=on,adapter_type=lsilogic', isChecked: true },
  { format: 'vmdk', options: 'subformat=monolithicFlat', isChecked: true },
  { format: 'vmdk', options: 'subformat=twoGbMaxExtentSparse', isChecked: true },
  { format: 'vmdk', options: 'subformat=twoGbMaxExtentFlat', isChecked: true },
  { format: 'vmdk', options: 'subformat=streamOptimized', isChecked: true, isPacked: true },
]

/** The same changes, in pieces or in whole grains. */
function writesOf({ isPacked = false }: Shape): { first: string[]; second: string[]; third: string[] } {
  if (isPacked) return { first: ['5 64k 320k', '6 5M 64k'], second: ['7 1536k 704k', '8 8M 64k'], third: ['9 3M 128k'] }
  return { first: ['5 100k 300k', '6 5M 64k'], second: ['7 1500k 700k', '8 8M 512'], third: ['9 2999k 66k'] }
}
function madeWith(options: string): string[] {
  return options === '' ? [] : ['-o', options]
}
function commands(verb: string, ranges: readonly string[]): string[] {
  return ranges.flatMap((range) => ['-c', `${verb} -P ${range}`])
}

/** What is said of an image, without what differs from one making to the next and what QEMU 7.2 does not tell. */
function infoOf(run: Run, format: string, name: string): string {
  const info = JSON.parse(run('img', 'info', '--output=json', '-f', format, name))
  const { children: _children, 'actual-size': _size, ...rest } = info
  return JSON.stringify(rest)
}
function agree(shape: Shape, name: string): void {
  const { format, isPacked = false } = shape
  assert.is(infoOf(ours, format, name), infoOf(theirs, format, name))
  const map = ['img', 'map', '-f', format, name] as const
  // QEMU 7.2 does not say in words where compressed data is.
  if (!isPacked) assert.is(ours(...map), theirs(...map))
}

for (const shape of SHAPES) {
  const { format, options, isChecked } = shape
  qemuTest(`${format}${options === '' ? '' : ` with ${options}`}: each side takes and changes what the other one made`, () => {
    for (const name of fs.readdirSync(folder)) fs.rmSync(path.join(folder, name))
    const { first, second, third } = writesOf(shape)
    ours('img', 'create', '-q', '-f', format, ...madeWith(options), 'i', '9M')
    ours('io', '-f', format, ...commands('write', first), 'i')
    theirs('io', '-f', format, ...commands('read', [...first, '0 0 64k']), 'i')
    theirs('io', '-f', format, ...commands('write', second), 'i')
    ours('io', '-f', format, ...commands('read', [...first, ...second, '0 6M 1M']), 'i')
    if (isChecked) assert.is(ours('img', 'check', '-f', format, 'i'), theirs('img', 'check', '-f', format, 'i'))
    agree(shape, 'i')
    theirs('img', 'convert', '-f', format, '-O', format, ...madeWith(options), 'i', 'j')
    ours('img', 'compare', '-q', '-f', format, '-F', format, 'i', 'j')
    ours('io', '-f', format, ...commands('write', third), 'j')
    theirs('io', '-f', format, ...commands('read', [...first, ...second, ...third]), 'j')
    agree(shape, 'j')
    ours('img', 'convert', '-f', format, '-O', 'raw', 'j', 'r')
    theirs('img', 'compare', '-q', '-f', format, '-F', 'raw', 'j', 'r')
    ours('img', 'convert', '-f', 'raw', '-O', format, ...madeWith(options), 'r', 'k')
    theirs('img', 'compare', '-q', '-f', format, '-F', 'raw', 'k', 'r')
  })
}
for (const make of FOREIGN_IMAGES) {
  const { format, filename, bytes, content } = make()
  qemuTest(`${format}: both read the same`, () => {
    fs.writeFileSync(path.join(folder, filename), bytes)
    for (const run of [ours, theirs]) {
      run('img', 'convert', '-f', format, '-O', 'raw', filename, 'plain')
      assert.is(Buffer.compare(fs.readFileSync(path.join(folder, 'plain')), content), 0)
    }
    const info = [ours, theirs].map((run) => run('img', 'info', filename).replace(/^(Child node| {4}|disk size).*\n?/gm, ''))
    assert.is(info[0], info[1])
    const map = ['img', 'map', '--output=json', filename] as const
    assert.is(ours(...map).replaceAll(', "compressed": false', ''), theirs(...map))
  })
}
for (const format of new Set(SHAPES.map((shape) => shape.format))) {
  qemuTest(`${format}: the options of creation are those of QEMU`, () => {
    assert.is(ours('img', 'create', '-f', format, '-o', 'help'), theirs('img', 'create', '-f', format, '-o', 'help'))
  })
}

test.run()
