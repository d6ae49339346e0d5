/** Checks of damaged images: what is found, in whose words, and that a repair leaves nothing to be found. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EIO, OK } from '../../../co'
import type { CheckFix, CheckResult } from '../../driver'
import { readU32, readU64, writeBits, writeU32, writeU64 } from './layout'
import { checkRefcounts, newStack, openStack, randomFrom } from './testing'

const CLUSTER = 65536
/** Two L2 tables long. */
const DISK_BYTES = CLUSTER * 8192 * 2
const L1 = 0x30000
const L2 = 0x40000

/** Clusters 0 and 1 of the disk at 0x50000 and 0x60000, with a snapshot where asked for, and then changed. */
function image(change: (bytes: Uint8Array) => void, snapshot = false): Uint8Array {
  const stack = newStack({ sizeBytes: DISK_BYTES })
  assert.is(stack.run(stack.backend.pwrite(0, new Uint8Array(CLUSTER * 2).fill(5))), OK)
  if (snapshot) {
    const { driver } = stack
    const wanted = { name: 'a', dateSeconds: 1, dateNanoseconds: 0, vmClockNs: 0n, vmStateBytes: 0, icount: null }
    assert.is(stack.run(driver.snapshotCreate(wanted)), OK)
  }
  const bytes = stack.close()
  assert.is(readU32(bytes, L1 + 4), L2)
  change(bytes)
  return bytes
}

interface Found {
  result: CheckResult
  lines: string[]
  bytes: Uint8Array
}

function check(bytes: Uint8Array, fix: CheckFix = 'none'): Found {
  const stack = openStack(bytes, { open: { readOnly: fix === 'none', forCheck: true } })
  const lines: string[] = []
  const result = stack.run(stack.driver.checkImage(fix, (line) => lines.push(line)))
  return { result, lines, bytes: stack.close() }
}

function counts({ result }: Found): number[] {
  return [result.corruptions, result.leaks, result.checkErrors, result.corruptionsFixed, result.leaksFixed]
}

/** Repairs, and looks again. */
function assertRepaired(bytes: Uint8Array, corruptions: number, leaks: number): Found {
  const repaired = check(bytes, 'all')
  assert.is(repaired.result.errno, OK, repaired.lines.join('\n'))
  assert.equal(counts(repaired), [0, 0, 0, corruptions, leaks], repaired.lines.join('\n'))
  const again = check(repaired.bytes)
  assert.equal([...counts(again), again.lines.length], [0, 0, 0, 0, 0, 0], again.lines.join('\n'))
  checkRefcounts(repaired.bytes, true)
  return repaired
}

test('a sound image is described', () => {
  const { result, lines } = check(image(() => {}))
  assert.equal(lines, [])
  assert.equal(result, {
    ...{ errno: OK, corruptions: 0, leaks: 0, checkErrors: 0, corruptionsFixed: 0, leaksFixed: 0 },
    ...{ imageEndOffsetBytes: 0x70000, totalClusters: 16384, allocatedClusters: 2, fragmentedClusters: 0, compressedClusters: 0 },
  })
})

test('clusters that nobody uses are leaks', () => {
  const bytes = image((content) => {
    content[0x20000 + 9 * 2 + 1] = 3
    content[0x20000 + 5 * 2 + 1] = 2
  })
  // The file has to reach cluster 9 for anybody to look there.
  const longer = new Uint8Array(CLUSTER * 10)
  longer.set(bytes)
  const found = check(longer.slice())
  assert.equal(counts(found), [1, 2, 0, 0, 0])
  assert.equal(found.lines, [
    'Leaked cluster 5 refcount=2 reference=1',
    'Leaked cluster 9 refcount=3 reference=0',
    'ERROR OFLAG_COPIED data cluster: l2_entry=8000000000050000 refcount=2',
  ])
  const repaired = check(longer.slice(), 'leaks')
  assert.equal(counts(repaired), [0, 0, 0, 0, 2])
  assert.ok(repaired.lines.includes('Repairing cluster 9 refcount=3 reference=0'))
  assert.is(check(repaired.bytes).lines.length, 0)
})

test('a refcount that is too low cannot be put right without new tables where it is 0', () => {
  const bytes = image((content) => content.fill(0, 0x20000 + 5 * 2, 0x20000 + 6 * 2))
  const found = check(bytes.slice())
  assert.equal(counts(found), [2, 0, 0, 0, 0])
  assert.equal(found.lines, [
    'ERROR cluster 5 refcount=0 reference=1',
    'ERROR OFLAG_COPIED data cluster: l2_entry=8000000000050000 refcount=0',
  ])
  const refused = check(bytes.slice(), 'leaks')
  assert.is(refused.result.errno, EIO)
  assert.ok(refused.lines.includes('ERROR need to rebuild refcount structures'))
  const repaired = assertRepaired(bytes, 1, 0)
  assert.ok(repaired.lines.includes('Rebuilding refcount structure'))
})

test('two entries for one cluster', () => {
  const bytes = image((content) => writeU32(content, L2 + 12, 0x50000))
  const found = check(bytes.slice())
  assert.equal(found.lines, ['ERROR cluster 5 refcount=1 reference=2', 'Leaked cluster 6 refcount=1 reference=0'])
  const repaired = assertRepaired(bytes, 3, 1)
  assert.ok(repaired.lines.includes('Repairing OFLAG_COPIED data cluster: l2_entry=8000000000050000 refcount=2'))
  const stack = openStack(repaired.bytes)
  assert.is(stack.run(stack.backend.pwrite(0, new Uint8Array(512).fill(9))), OK)
  const other = new Uint8Array(512)
  assert.is(stack.run(stack.backend.pread(CLUSTER, other)), OK)
  assert.is(other[0], 5, 'they are not one any more')
})

test('entries that break the rules are told with their value', () => {
  const bytes = image((content) => {
    writeU32(content, L1 + 12, 0x12345678)
    writeU32(content, L2 + 4, 0x50200)
    writeU32(content, L2 + 12, 0x60002)
  })
  const { lines, result } = check(bytes)
  assert.is(result.corruptions, lines.filter((line) => line.startsWith('ERROR')).length)
  for (const line of [
    'ERROR offset=50200: Data cluster is not properly aligned; L2 entry corrupted.',
    'ERROR found l2 entry with reserved bits set: 8000000000060002',
    'ERROR found L1 entry with reserved bits set: 12345678',
    'ERROR l2_offset=12345600: Table is not cluster aligned; L1 entry corrupted',
    'ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0x12345600 size 0x10000',
  ]) {
    assert.ok(lines.includes(line), `${line}\n${lines.join('\n')}`)
  }
})

test('a place without data is given up in a repair', () => {
  const bytes = image((content) => writeU32(content, L2 + 4, 0x50201))
  assert.ok(
    check(bytes.slice()).lines.includes('ERROR offset=50200: Preallocated cluster is not properly aligned; L2 entry corrupted.'),
  )
  const repaired = assertRepaired(bytes, 1, 1)
  assert.equal([readU32(repaired.bytes, L2), readU32(repaired.bytes, L2 + 4)], [0, 1])
})

test('refcount blocks that lie nowhere are made anew', () => {
  for (const [entry, line] of [
    [0x20200, 'ERROR refcount block 0 is not cluster aligned; refcount table entry corrupted'],
    [0x20001, 'ERROR refcount table entry 0 has reserved bits set'],
    [0x30000, 'ERROR refcount block 0 refcount=2'],
  ] as const) {
    const bytes = image((content) => writeU64(content, 0x10000, entry))
    assert.ok(check(bytes.slice()).lines.includes(line), line)
    const repaired = check(bytes, 'all')
    assert.is(repaired.result.errno, OK)
    assert.equal(counts(check(repaired.bytes)), [0, 0, 0, 0, 0])
    checkRefcounts(repaired.bytes, true)
  }
})

test('an image without refcount table gets one', () => {
  const bytes = image((content) => {
    content.fill(0, 0x10000, 0x30000)
    writeU32(content, 56, 0)
  })
  assert.throws(() => openStack(bytes.slice()), /Image does not contain a reference count table/)
  const repaired = check(bytes, 'all')
  assert.is(repaired.result.errno, OK, repaired.lines.join('\n'))
  checkRefcounts(repaired.bytes, true)
})

test('dirty and corrupt bit go with what they stand for', () => {
  const bytes = image((content) => {
    writeBits(content, 72, 3n)
    content[0x20000 + 5 * 2 + 1] = 2
  })
  assert.throws(() => openStack(bytes.slice()), /Image is corrupt; cannot be opened read\/write/)
  assert.is(readU32(check(bytes.slice()).bytes, 76), 3, 'looking changes nothing')
  assert.is(readU32(check(bytes, 'all').bytes, 76), 0)
})

test('a corruption that stays keeps the bits', () => {
  const bytes = image((content) => {
    writeBits(content, 72, 3n)
    writeU32(content, L2 + 4, 0x50200)
  })
  const { result, bytes: after } = check(bytes, 'all')
  assert.ok(result.corruptions > 0)
  assert.is(readU32(after, 76), 3)
})

test('what entries of the snapshot table lack is added', () => {
  const bytes = image((content) => {
    // The entry without its extra data: id and name move up.
    const at = readU64(content, 64)
    writeU32(content, at + 36, 0)
    content.copyWithin(at + 40, at + 64, at + 66)
  }, true)
  assert.ok(check(bytes.slice()).lines.includes('ERROR snapshot table entry 0 is incomplete'))
  const repaired = check(bytes, 'all')
  assert.equal(counts(repaired), [0, 0, 0, 1, 0], repaired.lines.join('\n'))
  const again = check(repaired.bytes)
  assert.equal(counts(again), [0, 0, 0, 0, 0], again.lines.join('\n'))
  const [snapshot] = openStack(repaired.bytes).driver.snapshots()
  assert.equal([snapshot!.id, snapshot!.name, snapshot!.diskBytes], ['1', 'a', DISK_BYTES])
})

test('a snapshot table that has no end is refused, and cut by a repair', () => {
  const bytes = image((content) => writeU32(content, 60, 70000), true)
  const found = check(bytes.slice())
  assert.equal(found.lines, [
    'ERROR snapshot table too large',
    'You can force-remove all 4464 overhanging snapshots with qemu-img check -r all',
  ])
  assert.is(found.result.checkErrors, 1)
  assert.ok(check(bytes, 'all').lines.includes('Discarding 4464 overhanging snapshots'))
})

test('whatever is changed in an image, its repair ends and leaves nothing that it could repair', () => {
  const seen = { sound: 0, corrupt: 0, refused: 0 }
  for (let seed = 1; seed <= 150; seed++) {
    const random = randomFrom(seed * 31337)
    const bytes = image((content) => {
      for (let count = 1 + random(3); count > 0; count--) {
        const table = [L1, L2, 0x20000, 0x10000][random(4)]!
        const at = table + random(8) * 8
        const value = [0, random(16) * CLUSTER, random(2 ** 24), 0xffffffff][random(4)]!
        writeU32(content, at + 4, value)
        if (random(2) === 0) writeU32(content, at, [0, 0x80000000, 0xffffffff][random(3)]!)
      }
    }, random(2) === 0)
    const repaired = check(bytes, 'all')
    if (repaired.result.errno !== OK) {
      seen.refused++
      continue
    }
    const again = check(repaired.bytes, 'none')
    const { corruptions, leaks } = again.result
    if (corruptions === 0) seen.sound++
    else seen.corrupt++
    assert.is(again.result.corruptions <= repaired.result.corruptions, true, `seed ${seed}: ${again.lines.join('\n')}`)
    assert.is(leaks, 0, `seed ${seed}: ${repaired.lines.join('\n')}\n--\n${again.lines.join('\n')}`)
  }
  assert.ok(seen.sound > 30 && seen.corrupt > 10, JSON.stringify(seen))
})

test.run()
