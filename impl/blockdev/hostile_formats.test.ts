/**
 * Images of all formats with a few of their fields changed: each is refused in words, gives errors, or works. Fields are
 * found without knowing the format: words of headers and tables are those that are not zero. Nothing may be thrown but
 * BlockError, and no file may grow without bound.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockError } from '../block'
import { randomFrom } from '../block/drivers/qcow2/testing'
import { OK } from '../co'
import { type BlockdevBench, blockdevBench } from './testing'
import { close, KiB, MiB, make, type Opened, open, SHAPES, type Shape, shapeName } from './testing_formats'

const SEEDS = 120
const HEADER_BYTES = 128
/** Data that was written is no field. */
const DATA = 1

type Random = (end: number) => number

/** A sound image with a little data, in all of its files. */
function soundImage(shape: Shape): Map<string, Uint8Array> {
  const bench = blockdevBench()
  make(bench, shape)
  const opened = open(bench, shape.format)
  for (const at of [0, MiB]) assert.is(bench.run(opened.backend.pwrite(at, new Uint8Array(3 * KiB).fill(DATA))), OK)
  assert.is(bench.run(opened.backend.pwriteZeroes(512 * KiB, 128 * KiB)), OK)
  close(bench, opened)
  return bench.files.contents
}

/** Where a word of a header or a table begins. */
function fieldsOf(bytes: Uint8Array): number[] {
  const fields: number[] = []
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 0; at + 8 <= bytes.length; at += 4) {
    const word = view.getUint32(at)
    if (at < HEADER_BYTES || (word !== 0 && word !== DATA * 0x01010101)) fields.push(at)
  }
  return fields
}

function damage(bytes: Uint8Array, fields: readonly number[], random: Random): void {
  if (fields.length === 0) return
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  // Early fields are headers more often than not.
  const at = fields[random(2) === 0 ? random(Math.min(40, fields.length)) : random(fields.length)]!
  const values = [0, 1, 0xffffffff, 0x7fffffff, bytes.length, bytes.length >>> 9, random(300), 2 ** random(32), random(2 ** 31)]
  const value = values[random(values.length)]! >>> 0
  const isLittle = random(2) === 0
  if (random(3) === 0) view.setBigUint64(at, BigInt(value) << BigInt(random(2) * 32), isLittle)
  else if (random(4) === 0) view.setUint8(at + random(8), value & 255)
  else view.setUint32(at, value, isLittle)
}

/** How often the damage was noticed. */
function use(bench: BlockdevBench, { node, backend }: Opened): number {
  // A length that a header makes up is not gone through.
  const endBytes = Math.min(node.lengthBytes, 8 * MiB)
  let failures = 0
  const count = (errno: number): void => {
    if (errno !== OK) failures++
  }
  for (let at = 0; at + 4096 <= endBytes; at += 512 * KiB) {
    count(bench.run(backend.pread(at, new Uint8Array(4096))))
    count(bench.run(backend.pwrite(at, new Uint8Array(4096).fill(2))))
    count(bench.run(backend.pwriteZeroes(at, Math.min(64 * KiB, endBytes - at))))
    const status = bench.run(node.blockStatus('want-zero', at, endBytes - at))
    assert.ok(status.errno !== OK || status.bytes > 0)
  }
  const fix = node.options.readOnly ? 'none' : 'all'
  count(bench.run(node.driver.checkImage(fix, () => {})).errno)
  return failures
}

for (const shape of SHAPES) {
  test(`${shapeName(shape)}: damaged fields are noticed, or do no harm`, () => {
    const sound = soundImage(shape)
    const fields = new Map([...sound].map(([name, bytes]) => [name, fieldsOf(bytes)]))
    let noticed = 0
    for (let seed = 1; seed <= SEEDS; seed++) {
      const random = randomFrom(seed)
      const bench = blockdevBench()
      for (const [name, bytes] of sound) {
        const copy = bytes.slice(0, random(12) === 0 ? random(bytes.length) : bytes.length)
        for (let count = 1 + random(3); count > 0; count--) {
          const known = fields.get(name)!.filter((at) => at + 8 <= copy.length)
          damage(copy, known, random)
        }
        bench.files.contents.set(name, copy)
      }
      try {
        const opened = open(bench, shape.format)
        noticed += use(bench, opened)
        close(bench, opened)
      } catch (error) {
        if (!(error instanceof BlockError)) throw error
        noticed++
      }
    }
    assert.ok(noticed > 0, 'some damage is noticed')
  })
}

test.run()
