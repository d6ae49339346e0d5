import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, type Errno, OK } from '../impl/co'
import type { Decider } from './decider'
import { dullDecider } from './decider'
import type { DiskPlan } from './plan'
import { WriteCache } from './power'
import { type DiskBench, diskBench, KIB, PLAIN_DISK } from './testing'

/** A bench whose disk has a cache that a power cut empties. */
function bench(changes: Partial<DiskPlan> = {}): DiskBench & { cut(decider?: Decider): Uint8Array; hits: string[] } {
  const made = diskBench(changes)
  const hits: string[] = []
  const cache = new WriteCache(made.store, { ...PLAIN_DISK, ...changes })
  made.disk.cache = cache
  const cut = (decider = dullDecider): Uint8Array => {
    made.kernel.destroy()
    cache.cut(decider, (probe) => hits.push(probe), null)
    return cache.medium.bytes
  }
  return { ...made, cut, hits }
}
/** The first decision is about the whole disk, the next ones about single changes and sectors. */
function deciding(...choices: number[]): Decider {
  return { decide: () => choices.shift() ?? 0 }
}
function data(value: number, lengthBytes: number): Uint8Array {
  return new Uint8Array(lengthBytes).fill(value)
}
/** First bytes of the first sectors. */
function sectors(bytes: Uint8Array, count: number): number[] {
  return Array.from({ length: count }, (_, index) => bytes[index * 512]!)
}

test('the dull cut keeps what has ended and loses what was in flight', () => {
  const { run, backend, kernel, clockwork, cut } = bench()
  run(backend.pwrite(0, data(1, 512)))
  kernel.spawn(ignore(backend.pwrite(512, data(2, 512))), { id: 'late', hash: 1 })
  clockwork.step(kernel, clockwork.nextNs())
  assert.equal(sectors(cut(), 2), [1, 0])
})

test('what a flush has covered survives every cut, and what came after it may go', () => {
  const made = bench()
  made.run(made.backend.pwrite(0, data(1, 512)))
  made.run(made.backend.flush())
  made.run(made.backend.pwrite(512, data(2, 512)))
  assert.equal(sectors(made.cut(deciding(1)), 2), [1, 0])
  assert.equal(made.hits, ['power/unflushed-lost'])
})

test('a change that ended while a flush was on its way is not covered by it', () => {
  const { run, backend, cut } = bench({ latency: { minNs: 10_000, stepNs: 0, steps: 1 } })
  run(backend.pwrite(0, data(1, 512)))
  run(backend.flush(), backend.pwrite(512, data(2, 512)))
  assert.equal(sectors(cut(deciding(1)), 2), [1, 0])
})

test('what was in flight may be there', () => {
  const { backend, kernel, clockwork, cut, hits } = bench()
  kernel.spawn(ignore(backend.pwrite(0, data(2, 512))), { id: 'late', hash: 1 })
  clockwork.step(kernel, clockwork.nextNs())
  assert.equal(sectors(cut(deciding(2)), 1), [2])
  assert.equal(hits, ['power/in-flight-kept'])
})

test('a change may be torn at any sector', () => {
  const { run, backend, cut, hits } = bench()
  run(backend.pwrite(0, data(1, 2 * KIB)))
  assert.equal(sectors(cut(deciding(3, 2, 0, 1, 1, 0)), 4), [1, 0, 0, 1])
  assert.equal(hits, ['power/torn'])
})

test('zeroes and discards come and go like data', () => {
  const made = bench({ initial: [{ id: 's1', offsetBytes: 0, lengthBytes: 16 * KIB, content: 'data' }] })
  made.run(made.backend.pdiscard(0, 4 * KIB))
  made.run(made.backend.pwriteZeroes(4 * KIB, 1 * KIB))
  // Each has its own fate: the discard is lost, the first sector of the zeroes stays.
  const bytes = made.cut(deciding(3, 1, 2, 0, 1))
  assert.is.not(bytes[0], 0)
  assert.is(bytes[4 * KIB], 0)
  assert.is.not(bytes[4 * KIB + 512], 0)
})

test('bytes are those of the end of a request, whoever uses its memory afterwards', () => {
  const { run, backend, cut } = bench()
  const memory = Buffer.from(data(1, 512))
  run(backend.pwrite(0, memory))
  memory.fill(9)
  assert.equal(sectors(cut(), 1), [1])
})

function* ignore(body: Co<Errno>): Co<void> {
  const errno = yield* body
  assert.is(errno, OK)
}

test.run()
