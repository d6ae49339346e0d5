/**
 * Internal snapshots against arrays: whatever happens, the disk and every snapshot read as they did when they were made, a
 * check finds nothing, and a power cut at any write costs nothing but a repair.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EINVAL, EIO, ENOENT, ENOTSUP, OK } from '../../../co'
import type { NewSnapshot } from '../../driver'
import { BlockError } from '../../error'
import { RequestFlag } from '../../flags'
import type { Qcow2CreateOptions } from './index'
import { readU32, readU64, writeU64 } from './layout'
import {
  GrowingFile,
  type ImageStack,
  newImage,
  newStack,
  openStack,
  RecordingFile,
  randomFrom,
  someChoices,
  stateAt,
} from './testing'

const SECTOR = 512

function wanted(name: string, vmStateBytes = 0): NewSnapshot {
  return { name, dateSeconds: 1_700_000_000, dateNanoseconds: 5, vmClockNs: 2n ** 60n, vmStateBytes, icount: null }
}

function create(stack: ImageStack, name: string): void {
  assert.is(stack.run(stack.driver.snapshotCreate(wanted(name))), OK)
}

/** What a check says, which repairs nothing. */
function check(bytes: Uint8Array): { corruptions: number; leaks: number; lines: string[] } {
  const stack = openStack(bytes.slice(), { open: { readOnly: true, forCheck: true } })
  const lines: string[] = []
  const { errno, corruptions, leaks, checkErrors } = stack.run(stack.driver.checkImage('none', (line) => lines.push(line)))
  assert.is(errno + checkErrors, 0, lines.join('\n'))
  return { corruptions, leaks, lines }
}

function assertSound(bytes: Uint8Array, where: string): void {
  const { corruptions, leaks, lines } = check(bytes)
  assert.is(corruptions + leaks, 0, `${where}: ${lines.join('\n')}`)
}

function readAll(stack: ImageStack): Buffer {
  const bytes = Buffer.alloc(stack.node.lengthBytes)
  assert.is(stack.run(stack.backend.pread(0, bytes)), OK)
  return bytes
}

interface Life {
  stack: ImageStack
  random: (below: number) => number
  disk: Buffer
  snapshots: Map<string, Buffer>
  value: number
  clusterBytes: number
}

function change({ stack, random, disk, clusterBytes }: Life, value: number): void {
  const at = random(disk.length / SECTOR) * SECTOR
  const length = Math.min(disk.length - at, SECTOR * (1 + random(Math.ceil((3 * clusterBytes) / SECTOR))))
  const kind = random(10)
  if (kind < 5) {
    assert.is(stack.run(stack.backend.pwrite(at, new Uint8Array(length).fill(value))), OK)
    disk.fill(value, at, at + length)
  } else if (kind < 8) {
    assert.is(stack.run(stack.backend.pwriteZeroes(at, length, random(2) === 0 ? 0 : RequestFlag.MayUnmap)), OK)
    disk.fill(0, at, at + length)
  } else {
    const from = at - (at % clusterBytes)
    const data = new Uint8Array(Math.min(clusterBytes, disk.length - from)).fill(value)
    if (stack.run(stack.backend.pwrite(from, data, RequestFlag.Compressed)) === OK) disk.set(data, from)
  }
}

function step(life: Life): void {
  const { stack, random, snapshots } = life
  life.value = (life.value % 250) + 1
  const kind = random(20)
  const names = [...snapshots.keys()]
  if (kind < 11) change(life, life.value)
  else if (kind < 14 && names.length < 4) {
    const name = `s${life.value}`
    create(stack, name)
    snapshots.set(name, Buffer.from(life.disk))
  } else if (kind < 16 && names.length > 0) {
    const name = names[random(names.length)]!
    assert.is(stack.run(stack.driver.snapshotDelete(null, name)), OK)
    snapshots.delete(name)
  } else if (kind < 18 && names.length > 0) {
    const name = names[random(names.length)]!
    assert.is(stack.run(stack.driver.snapshotApply(name)), OK)
    life.disk = Buffer.from(snapshots.get(name)!)
  } else if (kind < 19 && (stack.driver.header.version === 3 || names.length === 0)) {
    const length = Math.max(SECTOR, life.disk.length + (random(2) === 0 ? -1 : 1) * SECTOR * random(100))
    assert.is(stack.run(stack.backend.truncate(length, false, 'off')), OK)
    const disk = Buffer.alloc(length)
    life.disk.copy(disk)
    life.disk = disk
  } else life.stack = openStack(stack.close(), { open: { l2CacheBytes: random(2) * 65536 } })
}

function assertReads(bytes: Uint8Array, life: Life, where: string): void {
  const stack = openStack(bytes.slice(), { open: { readOnly: true } })
  assert.ok(readAll(stack).equals(life.disk), `${where}: the disk`)
  assert.equal(
    stack.driver.snapshots().map(({ name }) => name),
    [...life.snapshots.keys()],
  )
  for (const [name, content] of life.snapshots) {
    const shown = openStack(bytes.slice(), { open: { readOnly: true, snapshot: { name } } })
    assert.ok(readAll(shown).equals(content), `${where}: ${name}`)
  }
}

function live(seed: number): void {
  const random = randomFrom(seed * 7919)
  const clusterBytes = SECTOR << random(6)
  const extendedL2 = clusterBytes >= 16384 && random(2) === 0
  const version = !extendedL2 && random(4) === 0 ? 2 : 3
  const sizeBytes = SECTOR * (1 + random(300))
  const refcountBits = version === 2 ? 16 : 4 << random(5)
  const stack = newStack({
    sizeBytes,
    clusterBytes,
    extendedL2,
    version,
    refcountBits,
    lazyRefcounts: version === 3 && random(3) === 0,
  })
  const life: Life = { stack, random, disk: Buffer.alloc(sizeBytes), snapshots: new Map(), value: 0, clusterBytes }
  for (let number = 0; number < 30; number++) {
    step(life)
    assert.ok(readAll(life.stack).equals(life.disk), `seed ${seed}, step ${number}`)
  }
  const bytes = life.stack.close()
  assertSound(bytes, `seed ${seed}`)
  assertReads(bytes, life, `seed ${seed}`)
}

test('the disk and all snapshots read as they did, and the image is sound', () => {
  for (let seed = 1; seed <= 60; seed++) live(seed)
})

test('an entry has everything that was asked for', () => {
  const stack = newStack({ sizeBytes: 2 ** 20 })
  create(stack, 'first')
  assert.is(stack.run(stack.driver.snapshotCreate({ ...wanted('zweiter ü'), icount: 77n })), OK)
  const bytes = stack.close()
  const again = openStack(bytes)
  const [first, second] = again.driver.snapshots()
  assert.equal([first!.id, first!.name, first!.icount, first!.vmClockNs], ['1', 'first', null, 2n ** 60n])
  assert.equal([second!.id, second!.name, second!.icount, second!.diskBytes], ['2', 'zweiter ü', 77n, 2 ** 20])
  assert.equal([second!.dateSeconds, second!.dateNanoseconds], [1_700_000_000, 5])
  assert.is(again.run(again.driver.snapshotDelete('1', null)), OK)
  create(again, 'third')
  assert.equal(
    again.driver.snapshots().map(({ id }) => id),
    ['2', '3'],
  )
})

test('what is not there is not found', () => {
  const stack = newStack({ sizeBytes: 2 ** 20 })
  create(stack, 'a')
  assert.is(stack.run(stack.driver.snapshotApply('b')), ENOENT)
  assert.throws(() => stack.run(stack.driver.snapshotDelete('1', 'b')), /^Can't find the snapshot$/)
  const bytes = stack.close()
  assert.throws(() => openStack(bytes, { open: { readOnly: true, snapshot: 'b' } }), /Can't find snapshot/)
  assert.throws(() => openStack(bytes, { open: { snapshot: 'a' } }), /Device is not readonly/)
  assert.is(openStack(bytes, { open: { readOnly: true, snapshot: '1' } }).node.lengthBytes, 2 ** 20)
})

test('the state of a machine stays with its snapshot', () => {
  const stack = newStack({ sizeBytes: 2 ** 20, clusterBytes: 4096 })
  const state = new Uint8Array(10_000).fill(7)
  assert.is(stack.run(stack.driver.saveVmState(0, state)), OK)
  assert.is(stack.run(stack.driver.snapshotCreate(wanted('vm', state.length))), OK)
  const read = new Uint8Array(state.length)
  assert.is(stack.run(stack.driver.loadVmState(0, read)), OK)
  assert.ok(
    read.every((byte) => byte === 0),
    'it is not the disk’s any more',
  )
  assert.is(stack.run(stack.driver.snapshotApply('vm')), OK)
  assert.is(stack.run(stack.driver.loadVmState(0, read)), OK)
  assert.equal(read, state)
  assertSound(stack.close(), 'with state')
})

test('refcounts of one bit cannot share: the snapshot is refused and nothing has changed', () => {
  const stack = newStack({ sizeBytes: 2 ** 16, clusterBytes: 512, refcountBits: 1 })
  assert.is(stack.run(stack.backend.pwrite(0, new Uint8Array(4096).fill(3))), OK)
  assert.is(stack.run(stack.driver.snapshotCreate(wanted('a'))), EINVAL)
  assert.equal(stack.driver.snapshots(), [])
  assert.is(stack.run(stack.backend.pwrite(0, new Uint8Array(512).fill(4))), OK)
  assertSound(stack.close(), 'after the refusal')
})

test('version 2 images with snapshots keep their length', () => {
  const stack = newStack({ sizeBytes: 2 ** 20, version: 2 })
  create(stack, 'a')
  assert.is(stack.run(stack.backend.truncate(2 ** 21, false, 'off')), ENOTSUP)
})

test('a snapshot whose table lies where none can be is refused', () => {
  const stack = newStack({ sizeBytes: 2 ** 20 })
  create(stack, 'a')
  const bytes = stack.close()
  writeU64(bytes, readU64(bytes, 64), 512)
  const again = openStack(bytes)
  for (const body of [() => again.driver.snapshotApply('a'), () => again.driver.snapshotDelete(null, 'a')]) {
    assert.throws(() => again.run(body()), /Snapshot L1 table offset invalid/)
  }
})

test('a file that fails in the middle harms neither disk nor snapshots', () => {
  let failures = 0
  for (let at = 0; at < 60; at++) {
    const stack = newStack({ sizeBytes: 2 ** 16, clusterBytes: 1024 })
    const disk = Buffer.alloc(2 ** 16)
    disk.fill(1, 0, 20000)
    assert.is(stack.run(stack.backend.pwrite(0, disk.subarray(0, 20000))), OK)
    create(stack, 'a')
    const before = Buffer.from(disk)
    disk.fill(2, 5000, 9000)
    assert.is(stack.run(stack.backend.pwrite(5000, disk.subarray(5000, 9000))), OK)
    let left = at
    stack.file.fail = ({ kind }) => (kind !== 'read' && left-- === 0 ? EIO : OK)
    const kind = at % 3
    const { driver } = stack
    const errno = stack.run(
      kind === 0 ? driver.snapshotCreate(wanted('b')) : kind === 1 ? driver.snapshotDelete(null, 'a') : driver.snapshotApply('a'),
    )
    if (errno !== OK) failures++
    stack.file.fail = () => OK
    const reads = readAll(stack)
    assert.ok(reads.equals(kind === 2 && !reads.equals(disk) ? before : disk), `failure ${at}`)
    if (driver.image.isBroken) continue
    const bytes = stack.close()
    const { corruptions } = check(bytes)
    assert.is(corruptions, 0, `failure ${at}: ${check(bytes).lines.join('\n')}`)
    for (const { name } of driver.snapshots()) {
      const shown = readAll(openStack(bytes.slice(), { open: { readOnly: true, snapshot: { name } } }))
      assert.ok(shown.equals(name === 'a' ? before : disk), `failure ${at}: ${name}`)
    }
  }
  assert.ok(failures > 15, `${failures} failures`)
})

/** Every cut of one history of snapshots: disk and snapshots read what they may, and what is repaired is sound. */
function cutEverywhere(seed: number, options: Qcow2CreateOptions): number {
  const random = randomFrom(seed)
  const start = newImage(options)
  const file = new RecordingFile(start)
  const stack = openStack(start, { file })
  const life: Life = { stack, random, disk: Buffer.alloc(options.sizeBytes), snapshots: new Map(), value: 0, clusterBytes: 1024 }
  /** By the number of events: what may be read from then on, and the snapshots that may be there. */
  const states: Array<{ disks: Buffer[]; snapshots: Map<string, Buffer> }> = []
  const note = (disks: Buffer[]): void => {
    while (states.length < file.events.length) states.push({ disks, snapshots: new Map(known) })
  }
  const known = new Map<string, Buffer>()
  for (let number = 0; number < 14; number++) {
    const disks = [Buffer.from(life.disk)]
    for (let writes = 0; writes < 3 && number % 3 === 0; writes++) {
      change(life, 1 + random(250))
      disks.push(Buffer.from(life.disk))
    }
    assert.is(stack.run(stack.backend.flush()), OK)
    note(disks)
    const flushed = Buffer.from(life.disk)
    const names = [...life.snapshots.keys()]
    const kind = number % 3
    if (kind === 0 || names.length === 0) {
      create(stack, `s${number}`)
      life.snapshots.set(`s${number}`, flushed)
      known.set(`s${number}`, flushed)
    } else if (kind === 1) {
      const name = names[random(names.length)]!
      assert.is(stack.run(stack.driver.snapshotApply(name)), OK)
      life.disk = Buffer.from(life.snapshots.get(name)!)
    } else {
      const name = names[random(names.length)]!
      assert.is(stack.run(stack.driver.snapshotDelete(null, name)), OK)
      life.snapshots.delete(name)
    }
    assert.is(stack.run(stack.backend.flush()), OK)
    note([flushed, Buffer.from(life.disk)])
  }
  let count = 0
  const recording = { start, events: file.events }
  for (let cut = 0; cut < file.events.length; cut++) {
    for (const keeps of someChoices(file.events, cut, random)) {
      const where = `seed ${seed}, cut ${cut} of ${file.events.length}`
      checkCut(stateAt(recording, cut, keeps), states[cut]!, where)
      count++
    }
  }
  return count
}

function checkCut(state: Uint8Array, legal: { disks: Buffer[]; snapshots: Map<string, Buffer> }, where: string): void {
  const stack = openStack(state, { file: new GrowingFile(state) })
  const read = readAll(stack)
  for (let at = 0; at < read.length; at += SECTOR) {
    const sector = read.subarray(at, at + SECTOR)
    assert.ok(
      legal.disks.some((disk) => disk.subarray(at, at + SECTOR).equals(sector)),
      `${where}: sector ${at / SECTOR} reads ${sector[0]}`,
    )
  }
  const names = stack.driver.snapshots().map(({ name }) => name)
  const bytes = stack.close()
  const found = check(bytes)
  // Version 2 has no bit that asks for a repair: flags may be behind, never ahead.
  const isVersion2 = readU32(bytes, 4) === 2
  assert.is(isVersion2 ? 0 : found.corruptions, 0, `${where}: ${found.lines.join('\n')}`)
  for (const line of found.lines) {
    assert.ok(!/^ERROR cluster/.test(line), `${where}: ${line}`)
  }
  for (const name of names) {
    const shown = readAll(openStack(bytes.slice(), { open: { readOnly: true, snapshot: { name } } }))
    assert.ok(legal.snapshots.get(name)?.equals(shown) ?? true, `${where}: ${name}`)
  }
}

test('a power cut leaves disk and snapshots, and at worst a repair', () => {
  const options = { sizeBytes: 48 * SECTOR, clusterBytes: 1024 }
  let count = 0
  for (const [seed, more] of [
    [1, {}],
    [2, { refcountBits: 4 }],
    [3, { lazyRefcounts: true }],
    [4, { version: 2 as const }],
  ] as const) {
    count += cutEverywhere(seed, { ...options, ...more })
  }
  assert.ok(count > 1000, `${count} states`)
})

test('errors are BlockErrors', () => {
  const stack = newStack({ sizeBytes: 2 ** 20 })
  try {
    stack.run(stack.driver.snapshotDelete('5', null))
    assert.unreachable()
  } catch (error) {
    assert.instance(error, BlockError)
  }
})

test.run()
