import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { loadNative } from '../host/native'

const KIB = 1024
const MIB = 1024 * KIB
const PROGRAM = path.resolve(__dirname, '../../bin/mirrorsim.cjs')
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mirror-images-'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))
const hasQemu = spawnSync('qemu-img', ['--version'], { stdio: 'ignore' }).status === 0
const qemuTest = hasQemu ? test : test.skip
const nativeTest = loadNative() === null ? test.skip : test

const at = (name: string): string => path.join(folder, name)
const raw = at('source.raw')
const content = Buffer.alloc(512 * KIB, 'source')

interface Ended {
  status: number | null
  stdout: string
  stderr: string
}

function mirror(...args: string[]): Ended {
  return spawnSync(process.execPath, [PROGRAM, 'mirror', ...args], { encoding: 'utf8' })
}

function succeed(...args: string[]): void {
  const { status, stderr } = mirror('-q', ...args)
  assert.is(stderr, '')
  assert.is(status, 0)
}

function refuse(pattern: RegExp, ...args: string[]): void {
  const { status, stderr } = mirror(...args)
  assert.match(stderr, pattern)
  assert.is(stderr.split('\n').length, 2, 'one line')
  assert.is(status, 2)
  assert.is(fs.existsSync(`${args.at(-1)}.partial`), false, 'no half of a copy is left')
}

function qemu(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync('qemu-img', args, { encoding: 'utf8' })
  assert.is(status, 0, `${stdout}${stderr}`)
  return stdout
}

test.before.each(() => {
  for (const name of fs.readdirSync(folder)) fs.rmSync(at(name), { recursive: true, force: true })
  const descriptor = fs.openSync(raw, 'w')
  fs.ftruncateSync(descriptor, 4 * MIB)
  fs.writeSync(descriptor, content, 0, content.length, MIB)
  fs.closeSync(descriptor)
})

test('a raw image becomes a qcow2 one, and a raw one again', () => {
  succeed('--format', 'qcow2', raw, at('a.qcow2'))
  assert.ok(fs.statSync(at('a.qcow2')).size < 2 * MIB, 'holes have no clusters')
  succeed('--source-format', 'qcow2', at('a.qcow2'), at('back.raw'))
  assert.ok(fs.readFileSync(at('back.raw')).equals(fs.readFileSync(raw)))
})

nativeTest('holes come through the format', () => {
  succeed('--format', 'qcow2', raw, at('a.qcow2'))
  succeed('--source-format', 'qcow2', at('a.qcow2'), at('back.raw'))
  assert.ok(fs.statSync(at('back.raw')).blocks * 512 <= 640 * KIB)
})

qemuTest('a qcow2 copy is sound, equal, and shaped as asked', () => {
  const shapes: string[][] = [
    [],
    ['--cluster-size', '4K'],
    ['--cluster-size', '2M'],
    ['--extended-l2', '--cluster-size', '128K'],
    ['--preallocation', 'metadata'],
    ['--preallocation', 'full'],
  ]
  for (const shape of shapes) {
    succeed('--format', 'qcow2', ...shape, raw, at('a.qcow2'))
    qemu('check', '-f', 'qcow2', at('a.qcow2'))
    qemu('compare', '-f', 'raw', '-F', 'qcow2', raw, at('a.qcow2'))
    const info = JSON.parse(qemu('info', '--output=json', at('a.qcow2')))
    if (shape.includes('4K')) assert.is(info['cluster-size'], 4096)
    assert.is(info['format-specific'].data['extended-l2'], shape.includes('--extended-l2'))
    fs.unlinkSync(at('a.qcow2'))
  }
})

qemuTest('all layers of a source are copied', () => {
  qemu('convert', '-q', '-f', 'raw', '-O', 'qcow2', raw, at('base.qcow2'))
  qemu('create', '-q', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', at('top.qcow2'), '6M')
  assert.is(spawnSync('qemu-io', ['-c', 'write -P 7 1100k 200k', '-c', 'write -z 2M 64k', at('top.qcow2')]).status, 0)
  succeed('--source-format', 'qcow2', '--format', 'qcow2', at('top.qcow2'), at('copy.qcow2'))
  qemu('compare', at('top.qcow2'), at('copy.qcow2'))
  qemu('check', at('copy.qcow2'))
  assert.not.ok('backing-filename' in JSON.parse(qemu('info', '--output=json', at('copy.qcow2'))))
  refuse(/copy all of it: --sync full/, '--sync', 'top', '--source-format', 'qcow2', at('top.qcow2'), at('other.raw'))
  refuse(/has a backing image/, '--force', '--format', 'qcow2', raw, at('top.qcow2'))
})

qemuTest('a backing image whose format stands nowhere is guessed only when asked for', () => {
  qemu('convert', '-q', '-f', 'raw', '-O', 'qcow2', raw, at('base.qcow2'))
  qemu('create', '-q', '-u', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', at('top.qcow2'), '4M')
  // The extension that names the format becomes one that nobody knows.
  const image = fs.readFileSync(at('top.qcow2'))
  const extension = image.indexOf(Buffer.from([0xe2, 0x79, 0x2a, 0xca]))
  assert.ok(extension > 0)
  image.writeUInt32BE(0x12345678, extension)
  fs.writeFileSync(at('top.qcow2'), image)
  refuse(/does not say which format its backing image/, '--source-format', 'qcow2', at('top.qcow2'), at('copy.raw'))
  succeed('--source-format', 'probe', at('top.qcow2'), at('copy.raw'))
  assert.ok(fs.readFileSync(at('copy.raw')).equals(fs.readFileSync(raw)))
})

test('a format is not guessed, on neither side', () => {
  succeed('--format', 'qcow2', raw, at('a.qcow2'))
  refuse(/a\.qcow2: it looks like a qcow2 image: say --source-format qcow2/, at('a.qcow2'), at('b.raw'))
  refuse(/a\.qcow2: it looks like a qcow2 image: say --format qcow2/, raw, at('a.qcow2'))
  succeed('--source-format', 'raw', at('a.qcow2'), at('bytes'))
  assert.ok(fs.readFileSync(at('bytes')).equals(fs.readFileSync(at('a.qcow2'))))
  succeed('--source-format', 'probe', at('a.qcow2'), at('b.raw'))
  assert.ok(fs.readFileSync(at('b.raw')).equals(fs.readFileSync(raw)))
})

test('an existing qcow2 destination is overwritten if it is as long as the source', () => {
  succeed('--format', 'qcow2', raw, at('a.qcow2'))
  fs.writeFileSync(at('other.raw'), Buffer.alloc(4 * MIB, 'other'))
  succeed('--format', 'qcow2', at('other.raw'), at('a.qcow2'))
  succeed('--source-format', 'qcow2', at('a.qcow2'), at('back.raw'))
  assert.ok(fs.readFileSync(at('back.raw')).equals(fs.readFileSync(at('other.raw'))))
  fs.truncateSync(at('other.raw'), 5 * MIB)
  refuse(/4194304 bytes long, not 5242880/, '--format', 'qcow2', at('other.raw'), at('a.qcow2'))
  succeed('--force', '--format', 'qcow2', at('other.raw'), at('a.qcow2'))
})

test('a guest may write to a qcow2 source meanwhile', () => {
  succeed('--format', 'qcow2', raw, at('a.qcow2'))
  succeed('--source-format', 'qcow2', '--format', 'qcow2', '--guest-seed', '7', at('a.qcow2'), at('b.qcow2'))
  succeed('--source-format', 'qcow2', at('a.qcow2'), at('a.raw'))
  succeed('--source-format', 'qcow2', at('b.qcow2'), at('b.raw'))
  assert.ok(fs.readFileSync(at('a.raw')).equals(fs.readFileSync(at('b.raw'))))
  assert.not.ok(fs.readFileSync(at('a.raw')).equals(fs.readFileSync(raw)), 'the guest has written')
})

test('what makes no sense is refused in one line', () => {
  refuse(/--cluster-size: a raw image has no such thing/, '--cluster-size', '64K', raw, at('b'))
  refuse(/--extended-l2: a raw image/, '--extended-l2', raw, at('b'))
  refuse(/--preallocation: a raw image/, '--preallocation', 'metadata', raw, at('b'))
  refuse(/--threads: it is for raw images only/, '--threads', '--format', 'qcow2', raw, at('b'))
  refuse(/Cluster size must be a power of two/, '--format', 'qcow2', '--cluster-size', '1000', raw, at('b'))
  refuse(/Image is not in qcow2 format/, '--source-format', 'qcow2', raw, at('b'))
  refuse(/No such file or directory/, '--source-format', 'qcow2', at('absent'), at('b'))
})

test('a source that ends inside a sector is copied to whole ones', () => {
  fs.writeFileSync(raw, Buffer.alloc(1000, 'x'))
  succeed('--format', 'qcow2', raw, at('a.qcow2'))
  succeed('--source-format', 'qcow2', at('a.qcow2'), at('back.raw'))
  const back = fs.readFileSync(at('back.raw'))
  assert.is(back.length, 1024)
  assert.ok(back.subarray(0, 1000).equals(fs.readFileSync(raw)))
  assert.ok(back.subarray(1000).equals(Buffer.alloc(24)))
})

test.run()
