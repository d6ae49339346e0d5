import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EIO, OK } from '../../../co'
import { BlockError } from '../../error'
import { RequestFlag } from '../../flags'
import { readU32, readU64, writeU32, writeU64 } from './layout'
import { overlapChecksOf } from './open'
import { OffsetSet, OVERLAP_TEMPLATES, Place, PlaceMap } from './overlap'
import { type ImageStack, newStack, openStack } from './testing'

const CLUSTER = 65536
const KIB64 = new Uint8Array(CLUSTER).fill(5)

/** An image with one cluster of data at 0x50000 and its table at 0x40000, with some change to its bytes. */
function damaged(change: (bytes: Uint8Array) => void, overlapCheck = 'cached'): ImageStack & { told: string[] } {
  const stack = newStack({ sizeBytes: CLUSTER * 32 })
  assert.is(stack.run(stack.backend.pwrite(0, KIB64)), OK)
  const bytes = stack.close()
  change(bytes)
  const told: string[] = []
  const opened = openStack(bytes, { open: { overlapCheck } })
  opened.driver.image.onCorruption = (corruption) => told.push(`${corruption.isFatal ? 'fatal: ' : ''}${corruption.text}`)
  return { ...opened, told }
}
const entryOf = (bytes: Uint8Array, number: number): number => readU64(bytes, 0x40000 + number * 8)

test('a data cluster that is a table is not written to, and the image is marked', () => {
  const stack = damaged((bytes) => {
    assert.is(entryOf(bytes, 0) % 2 ** 32, 0x50000)
    writeU32(bytes, 0x40004, 0x40000)
  })
  assert.is(stack.run(stack.backend.pwrite(0, KIB64)), EIO)
  assert.equal(stack.told, [
    'fatal: qcow2: Marking image as corrupt: Preventing invalid write on metadata (overlaps with active L2 table); ' +
      'further corruption events will be suppressed',
  ])
  assert.is(readU32(stack.file.data, 76), 2, 'the corrupt bit')
  assert.is(stack.run(stack.backend.pwrite(CLUSTER, KIB64)), EIO, 'nothing is written any more')
  assert.is(stack.run(stack.backend.pwriteZeroes(CLUSTER, CLUSTER)), EIO)
  assert.is(stack.run(stack.backend.pdiscard(CLUSTER, CLUSTER)), EIO)
  assert.is(stack.run(stack.backend.pread(CLUSTER, new Uint8Array(512))), OK)
  assert.is(stack.told.length, 1)
})

test('a cluster that reads zero and has its place among the tables is not filled', () => {
  const stack = damaged((bytes) => writeU32(bytes, 0x40004, 0x30001))
  assert.is(stack.run(stack.backend.pread(0, new Uint8Array(512))), OK)
  assert.is(stack.run(stack.backend.pwrite(0, KIB64)), EIO)
  assert.match(stack.told[0]!, 'overlaps with active L1 table')
})

test('every table is recognised when an allocation would fall on it', () => {
  for (const [cluster, name] of [
    [1, 'refcount table'],
    [2, 'refcount block'],
    [3, 'active L1 table'],
    [4, 'active L2 table'],
  ] as const) {
    // Its refcount says that it is free.
    const stack = damaged((bytes) => bytes.fill(0, 0x20000 + cluster * 2, 0x20000 + cluster * 2 + 2))
    assert.is(stack.run(stack.backend.pwrite(CLUSTER, KIB64)), EIO)
    assert.match(stack.told[0]!, `Preventing invalid write on metadata (overlaps with ${name})`)
  }
})

test('cluster 0 is never allocated', () => {
  const stack = damaged((bytes) => bytes.fill(0, 0x20000, 0x20002))
  assert.is(stack.run(stack.backend.pwrite(CLUSTER, KIB64)), EIO)
  assert.match(stack.told[0]!, 'Preventing invalid allocation of data cluster at offset 0')
})

test('without checks nobody looks', () => {
  const stack = damaged((bytes) => writeU32(bytes, 0x40004, 0x30000), 'none')
  assert.is(stack.run(stack.backend.pwrite(0, KIB64)), OK)
  assert.equal(stack.told, [])
})

test('entries that lead nowhere are told with their place', () => {
  const unaligned = damaged((bytes) => writeU32(bytes, 0x40004, 0x50200))
  assert.is(unaligned.run(unaligned.backend.pread(0, new Uint8Array(512))), EIO)
  assert.match(unaligned.told[0]!, 'Cluster allocation offset 0x50200 unaligned (L2 offset: 0x40000, L2 index: 0)')
  const table = damaged((bytes) => writeU32(bytes, 0x30004, 0x40200))
  assert.is(table.run(table.backend.pread(0, new Uint8Array(512))), EIO)
  assert.match(table.told[0]!, 'L2 table offset 0x40200 unaligned (L1 index: 0)')
  const block = damaged((bytes) => writeU64(bytes, 0x10000, 0x20200))
  assert.is(block.run(block.backend.pwrite(CLUSTER, KIB64)), EIO)
  assert.match(block.told[0]!, 'Refblock offset 0x20200 unaligned (reftable index: 0)')
})

test('a read-only image is only reported', () => {
  const stack = newStack({ sizeBytes: CLUSTER * 4 })
  stack.run(stack.backend.pwrite(0, KIB64))
  const bytes = stack.close()
  writeU32(bytes, 0x40004, 0x50200)
  const opened = openStack(bytes.slice(), { open: { readOnly: true } })
  const told: boolean[] = []
  opened.driver.image.onCorruption = ({ isFatal }) => told.push(isFatal)
  assert.is(opened.run(opened.backend.pread(0, new Uint8Array(512))), EIO)
  assert.is(opened.run(opened.backend.pread(0, new Uint8Array(512))), EIO)
  assert.equal(told, [false], 'once')
  assert.is(Buffer.compare(opened.file.data, bytes), 0)
})

test('compressed data that is none gives an error, and the image stays as it is', () => {
  const stack = newStack({ sizeBytes: CLUSTER * 4 })
  assert.is(stack.run(stack.backend.pwrite(0, KIB64, RequestFlag.Compressed)), OK)
  const bytes = stack.close()
  bytes.fill(0xff, 0x50000)
  const opened = openStack(bytes)
  assert.is(opened.run(opened.backend.pread(0, new Uint8Array(512))), EIO)
  assert.is(opened.run(opened.backend.pwrite(CLUSTER, KIB64)), OK)
})

test('checks are chosen by a template and by name', () => {
  assert.is(overlapChecksOf('constant'), OVERLAP_TEMPLATES.constant)
  assert.is(overlapChecksOf({ template: 'none', 'active-l2': true }), Place.ActiveL2)
  assert.is(overlapChecksOf({ 'active-l2': false }), OVERLAP_TEMPLATES.cached & ~Place.ActiveL2)
  assert.throws(
    () => overlapChecksOf('some'),
    (error: unknown) =>
      error instanceof BlockError &&
      error.message ===
        "Unsupported value 'some' for qcow2 option 'overlap-check'. Allowed are any of the following: none, constant, cached, all",
  )
})

test('tables of snapshots are found when an image is opened', () => {
  const stack = newStack({ sizeBytes: CLUSTER * 32 })
  stack.run(stack.backend.pwrite(0, KIB64))
  const closed = stack.close()
  const bytes = new Uint8Array(0x80000)
  bytes.set(closed)
  // Two snapshots in a table at 0x60000, the second one with an id of 3 and a name of 5 bytes.
  writeU32(bytes, 60, 2)
  writeU64(bytes, 64, 0x60000)
  writeU64(bytes, 0x60000, 0x30000)
  writeU32(bytes, 0x60008, 1)
  writeU32(bytes, 0x60024, 16)
  writeU64(bytes, 0x60038, 0x70000)
  writeU32(bytes, 0x60040, 1)
  bytes.set([0, 3, 0, 5], 0x60044)
  writeU64(bytes, 0x70000, 0x40000)
  const { driver } = openStack(bytes, { open: { overlapCheck: 'all' } })
  const { places } = driver.image
  assert.equal(places.inactiveL1, [
    { offsetBytes: 0x30000, lengthBytes: 8 },
    { offsetBytes: 0x70000, lengthBytes: 8 },
  ])
  assert.equal(places.snapshotTable, { offsetBytes: 0x60000, lengthBytes: 56 + 48 })
  assert.is(places.placeIn(0x40000, 1, Place.ActiveL2), Place.InactiveL2)
})

test('places know snapshots and bitmaps too', () => {
  const places = new PlaceMap(512, OVERLAP_TEMPLATES.all)
  places.snapshotTable = { offsetBytes: 1024, lengthBytes: 40 }
  places.bitmapDirectory = { offsetBytes: 2048, lengthBytes: 600 }
  places.inactiveL1 = [{ offsetBytes: 4096, lengthBytes: 8 }]
  places.inactiveL2Tables.fill([5120])
  const found = [1500, 2700, 4607, 5121, 512].map((offset) => places.placeIn(offset, 1, Place.None))
  assert.equal(found, [Place.SnapshotTable, Place.BitmapDirectory, Place.InactiveL1, Place.InactiveL2, Place.None])
  assert.is(places.placeIn(511, 2, Place.None), Place.Header)
  assert.is(places.placeIn(511, 2, Place.Header), Place.None)
})

test('a set of offsets finds old and new ones', () => {
  const set = new OffsetSet()
  set.fill([5000, 0, 1000, 3000])
  for (let offset = 10000; offset < 10100; offset++) set.add(offset)
  assert.equal([set.hits(0, 1000), set.hits(0, 1001), set.hits(1001, 3000), set.hits(3000, 3001)], [false, true, false, true])
  set.remove(3000)
  set.remove(10050)
  set.remove(7)
  assert.equal(
    [set.hits(2000, 4000), set.hits(10050, 10051), set.hits(10051, 10052), set.hits(5000, 5001)],
    [false, false, true, true],
  )
  assert.equal([set.hits(10099, 10100), set.hits(10100, 20000)], [true, false])
})

test.run()
