/** Bitmaps that an image keeps: what was dirty is dirty again, and a power cut makes them inconsistent, never wrong. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { OK } from '../../../co'
import { addBitmap, listBitmaps, type NewBitmap, removeBitmap } from '../../index'
import type { Qcow2CreateOptions } from './index'
import { AUTOCLEAR_BITMAPS, readBits, readU32, readU64, writeBits, writeU32, writeU64 } from './layout'
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

function add(stack: ImageStack, name: string, more: Partial<NewBitmap> = {}): void {
  stack.run(addBitmap(stack.node, { name, persistent: true, ...more }))
}
function write(stack: ImageStack, at: number, length: number): void {
  assert.is(stack.run(stack.backend.pwrite(at, new Uint8Array(length).fill(7))), OK)
}
function refusal(body: () => unknown): string {
  try {
    body()
  } catch (error) {
    return (error as Error).message
  }
  return 'taken'
}
function chunks(stack: ImageStack, name: string): number[] {
  const { bits } = stack.node.namedBitmaps.get(name)!
  const found: number[] = []
  for (let at = bits.nextDirty(0); at >= 0; at = bits.nextDirty(at + bits.granularityBytes)) found.push(at)
  return found
}
function assertSound(bytes: Uint8Array): void {
  const stack = openStack(bytes.slice(), { open: { readOnly: true, forCheck: true } })
  const lines: string[] = []
  const { errno, corruptions, leaks } = stack.run(stack.driver.checkImage('none', (line) => lines.push(line)))
  assert.equal([errno, corruptions, leaks], [OK, 0, 0], lines.join('\n'))
}
/** Where the entry of the first bitmap lies. */
function directoryOf(bytes: Uint8Array): number {
  return openStack(bytes.slice(), { open: { readOnly: true } }).driver.header.bitmaps!.directoryOffsetBytes
}

test('what was dirty is dirty again, and disabled stays disabled', () => {
  const stack = newStack({ sizeBytes: 2 ** 20 })
  add(stack, 'first', { granularityBytes: 512 })
  add(stack, 'second', { granularityBytes: 65536, disabled: true })
  stack.run(addBitmap(stack.node, { name: 'in memory' }))
  write(stack, 1024, 1024)
  write(stack, 2 ** 20 - 512, 512)
  const bytes = stack.close()
  assertSound(bytes)
  const again = openStack(bytes)
  assert.equal(
    listBitmaps(again.node).map(({ name, count, granularity, recording, persistent }) => [
      name,
      count,
      granularity,
      recording,
      persistent,
    ]),
    [
      ['first', 1536, 512, true, true],
      ['second', 0, 65536, false, true],
    ],
  )
  assert.equal(chunks(again, 'first'), [1024, 1536, 2 ** 20 - 512])
  write(again, 0, 512)
  const third = openStack(again.close())
  assert.equal(chunks(third, 'first'), [0, 1024, 1536, 2 ** 20 - 512])
  assertSound(third.close())
})

test('info tells what the directory says', () => {
  const stack = newStack({ sizeBytes: 2 ** 20 })
  add(stack, 'a')
  assert.is(stack.driver.specificInfo().bitmaps, undefined)
  const bytes = stack.close()
  const shown = openStack(bytes.slice(), { open: { readOnly: true } })
  assert.equal(shown.driver.specificInfo().bitmaps, [{ name: 'a', granularity: 65536, flags: ['auto'] }])
  assert.is(listBitmaps(shown.node)[0]!.count, 0)
  assert.is(
    refusal(() => shown.run(removeBitmap(shown.node, 'a'))),
    "Bitmap 'a' is readonly and cannot be modified",
  )
  const used = openStack(bytes)
  assert.equal(used.driver.specificInfo().bitmaps, [{ name: 'a', granularity: 65536, flags: ['in-use', 'auto'] }])
})

test('bitmaps of an image that was not closed are inconsistent, and can be removed', () => {
  const stack = newStack({ sizeBytes: 2 ** 20 })
  add(stack, 'a')
  const used = openStack(stack.close())
  write(used, 0, 512)
  const left = openStack(used.file.data.slice())
  const [info] = listBitmaps(left.node)
  assert.equal([info!.inconsistent, info!.recording], [true, false])
  assert.is(left.run(left.backend.truncate(2 ** 21, false, 'off')) !== OK, true, 'it could not follow')
  left.run(removeBitmap(left.node, 'a'))
  assert.is(left.run(left.backend.truncate(2 ** 21, false, 'off')), OK)
  const bytes = left.close()
  assert.is(readBits(bytes, 88) & AUTOCLEAR_BITMAPS, 0n)
  assert.equal(listBitmaps(openStack(bytes).node), [])
})

test('who does not know bitmaps clears the bit, and they are gone', () => {
  const stack = newStack({ sizeBytes: 2 ** 20 })
  add(stack, 'a')
  const bytes = stack.close()
  assert.is(readBits(bytes, 88), AUTOCLEAR_BITMAPS)
  writeBits(bytes, 88, 0n)
  const again = openStack(bytes)
  assert.equal(listBitmaps(again.node), [])
  add(again, 'a', { granularityBytes: 512 })
  assert.equal(
    listBitmaps(openStack(again.close()).node).map(({ granularity }) => granularity),
    [512],
  )
})

test('bitmaps follow another length of the disk', () => {
  const stack = newStack({ sizeBytes: 2 ** 20, clusterBytes: 512 })
  add(stack, 'a', { granularityBytes: 512 })
  write(stack, 2 ** 19, 512)
  const again = openStack(stack.close())
  assert.is(again.run(again.backend.truncate(2 ** 22, false, 'off')), OK)
  write(again, 2 ** 22 - 512, 512)
  const bytes = again.close()
  assertSound(bytes)
  assert.equal(chunks(openStack(bytes), 'a'), [2 ** 19, 2 ** 22 - 512])
})

test('what cannot be stored is refused in QEMU’s words', () => {
  const stack = newStack({ sizeBytes: 2 ** 20, version: 2 })
  assert.throws(
    () => add(stack, 'a'),
    (error: Error) =>
      error.message === "Can't make bitmap 'a' persistent in '#block001': Cannot store dirty bitmaps in qcow2 v2 files",
  )
  const other = newStack({ sizeBytes: 2 ** 20 })
  assert.match(
    refusal(() => add(other, 'a', { granularityBytes: 2 ** 32 })),
    'Granularity exceeds maximum (2147483648 bytes)',
  )
})

test('directories that break the rules are refused in words', () => {
  const stack = newStack({ sizeBytes: 2 ** 20 })
  add(stack, 'first')
  const bytes = stack.close()
  const at = directoryOf(bytes)
  const cases: Array<[what: string, change: (content: Uint8Array) => void]> = [
    ["Bitmap 'first' doesn't satisfy the constraints", (content) => writeU64(content, at, 100)],
    ["Bitmap 'first' doesn't satisfy the constraints", (content) => writeU32(content, at + 8, 0)],
    ["Bitmap 'first' doesn't satisfy the constraints", (content) => writeU32(content, at + 8, 0xffffffff)],
    ["Bitmap 'first' doesn't satisfy the constraints", (content) => writeU32(content, at + 12, 4)],
    ["Bitmap 'first' doesn't satisfy the constraints", (content) => content.fill(8, at + 17, at + 18)],
    ["Bitmap 'first' doesn't satisfy the constraints", (content) => content.fill(2, at + 16, at + 17)],
    ['Broken bitmap directory', (content) => content.fill(9, at + 18, at + 19)],
    ['Bitmap extra data is not supported', (content) => content.fill(1, at + 23, at + 24)],
    ['Could not read bitmap', (content) => writeU64(content, readU64(content, at), 512)],
  ]
  for (const [text, change] of cases) {
    const content = bytes.slice()
    change(content)
    assert.match(
      refusal(() => openStack(content.slice())),
      text,
    )
    assert.match(
      refusal(() => openStack(content, { open: { readOnly: true } })),
      text,
    )
  }
})

interface Life {
  stack: ImageStack
  dirty: Map<string, Set<number>>
}

test('bitmaps remember what was written, over many lives of an image', () => {
  for (let seed = 1; seed <= 25; seed++) {
    const random = randomFrom(seed * 611953)
    const clusterBytes = SECTOR << random(5)
    const sizeBytes = SECTOR * (20 + random(2000))
    const life: Life = { stack: newStack({ sizeBytes, clusterBytes, refcountBits: 1 << random(7) }), dirty: new Map() }
    for (let step = 0; step < 40; step++) {
      const { stack, dirty } = life
      const kind = random(10)
      const names = [...dirty.keys()]
      if (kind < 6) {
        const at = random(sizeBytes / SECTOR) * SECTOR
        const length = Math.min(sizeBytes - at, SECTOR * (1 + random(30)))
        write(stack, at, length)
        for (const set of dirty.values()) for (let byte = at; byte < at + length; byte += SECTOR) set.add(byte)
      } else if (kind < 7 && names.length < 5) {
        add(stack, `b${step}`, { granularityBytes: SECTOR })
        dirty.set(`b${step}`, new Set())
      } else if (kind < 8 && names.length > 0) {
        const name = names[random(names.length)]!
        stack.run(removeBitmap(stack.node, name))
        dirty.delete(name)
      } else {
        const bytes = stack.close()
        assertSound(bytes)
        life.stack = openStack(bytes)
      }
    }
    const last = openStack(life.stack.close())
    for (const [name, set] of life.dirty)
      assert.equal(
        chunks(last, name),
        [...set].sort((left, right) => left - right),
        `seed ${seed}`,
      )
    assert.is(last.node.namedBitmaps.size, life.dirty.size)
  }
})

/** Stores and removes bitmaps on a file that records, and looks at every cut. */
function cutEverywhere(seed: number, options: Qcow2CreateOptions): number {
  const random = randomFrom(seed)
  const first = newStack(options)
  add(first, 'kept', { granularityBytes: SECTOR })
  write(first, 0, SECTOR)
  const start = first.close().slice()
  const file = new RecordingFile(start)
  const stack = openStack(start, { file })
  add(stack, 'new', { granularityBytes: SECTOR })
  write(stack, SECTOR * 4, SECTOR)
  assert.is(stack.run(stack.backend.flush()), OK)
  if (random(2) === 0) stack.run(removeBitmap(stack.node, 'kept'))
  stack.close()
  file.events.push('end')
  let count = 0
  for (let cut = 0; cut < file.events.length; cut++) {
    for (const keeps of someChoices(file.events, cut, random)) {
      const state = stateAt({ start, events: file.events }, cut, keeps)
      const left = openStack(state, { file: new GrowingFile(state) })
      for (const { name, inconsistent } of listBitmaps(left.node)) {
        if (inconsistent === true) continue
        const dirty = chunks(left, name)
        const where = `seed ${seed}, cut ${cut} of ${file.events.length}: ${name} ${dirty}`
        // Nothing was written yet, or all that was written is known.
        const isOld = name === 'kept' && dirty.join() === '0'
        assert.ok(isOld || dirty.join() === (name === 'kept' ? `0,${SECTOR * 4}` : `${SECTOR * 4}`), where)
        const data = new Uint8Array(1)
        assert.is(left.run(left.backend.pread(SECTOR * 4, data)), OK)
        assert.ok(!isOld || data[0] === 0, where)
      }
      const bytes = left.close()
      const checked = openStack(bytes, { open: { readOnly: true, forCheck: true } })
      const { corruptions } = checked.run(checked.driver.checkImage('none', () => {}))
      assert.is(corruptions, 0, `seed ${seed}, cut ${cut}`)
      count++
    }
  }
  return count
}

test('a power cut leaves bitmaps that are right, or inconsistent, or gone', () => {
  let count = 0
  for (let seed = 1; seed <= 6; seed++)
    count += cutEverywhere(seed, { sizeBytes: 64 * SECTOR, clusterBytes: SECTOR << (seed % 3) })
  assert.ok(count > 300, `${count} states`)
})

test('an image without bitmaps is as it was made', () => {
  const bytes = newImage({ sizeBytes: 2 ** 20 })
  assert.is(Buffer.compare(openStack(bytes.slice()).close(), bytes), 0)
  assert.is(readU32(bytes, 60), 0)
})

test.run()
