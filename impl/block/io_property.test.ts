// Random requests with random limits against an array of bytes.
import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, makeLabel, OK } from '../co'
import { DirtyBitmap } from './dirty_bitmap'
import { type BlockLimits, RequestFlag } from './flags'
import type { NodeOptions } from './node'
import { type MemoryStack, memoryStack } from './testing'

const DISK_BYTES = 16 * 1024

interface Step {
  kind: 'read' | 'write' | 'zero' | 'discard' | 'flush'
  /** Within the range that the coroutine owns, in 1/1000. */
  at: number
  length: number
  value: number
  flags: number
  latencyNs: number
}

const power = (min: number, max: number): fc.Arbitrary<number> => fc.integer({ min, max }).map((exponent) => 2 ** exponent)
const limitsArbitrary: fc.Arbitrary<Partial<BlockLimits>> = fc
  .record({ align: power(0, 12), transfer: fc.integer({ min: 0, max: 5 }), zero: power(0, 13), discard: power(0, 13) })
  .map(({ align, transfer, zero, discard }) => ({
    requestAlignmentBytes: align,
    maxTransferBytes: transfer * align,
    pwriteZeroesAlignmentBytes: zero,
    maxPwriteZeroesBytes: transfer * Math.max(zero, align),
    pdiscardAlignmentBytes: discard,
    maxPdiscardBytes: transfer * Math.max(discard, align),
  }))
const optionsArbitrary: fc.Arbitrary<Partial<NodeOptions>> = fc.constantFrom(
  { discard: 'unmap', detectZeroes: 'unmap' },
  { discard: 'unmap', detectZeroes: 'on' },
  { discard: 'ignore', detectZeroes: 'off' },
)
const stepArbitrary: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('read', 'write', 'write', 'zero', 'discard', 'flush'),
  at: fc.nat(999),
  length: fc.nat(999),
  value: fc.nat(3),
  flags: fc.constantFrom(0, RequestFlag.MayUnmap, RequestFlag.Fua),
  latencyNs: fc.nat(50),
})

/** Latencies go round a list, so that completions overtake each other. */
function withLatencies(stack: MemoryStack, latencies: readonly number[]): void {
  let next = 0
  stack.disk.fail = () => {
    stack.disk.latencyNs = latencies[next++ % latencies.length]!
    return OK
  }
}

/** One coroutine in its own range [first, end) of the disk: everything it reads is what it wrote. */
function* worker(stack: MemoryStack, model: Uint8Array, firstBytes: number, endBytes: number, steps: Step[]): Co<void> {
  const { backend } = stack
  for (const step of steps) {
    const offset = firstBytes + Math.floor(((endBytes - firstBytes) * step.at) / 1000)
    const length = Math.floor(((endBytes - offset) * step.length) / 1000)
    const range = model.subarray(offset, offset + length)
    if (step.kind === 'write') {
      range.fill(step.value)
      assert.is(yield* backend.pwrite(offset, range.slice(), step.flags & RequestFlag.Fua), OK)
    } else if (step.kind === 'zero') {
      range.fill(0)
      assert.is(yield* backend.pwriteZeroes(offset, length, step.flags), OK)
    } else if (step.kind === 'flush') assert.is(yield* backend.flush(), OK)
    else {
      if (step.kind === 'discard') assert.is(yield* backend.pdiscard(offset, length), OK)
      const buffer = new Uint8Array(length).fill(0xee)
      assert.is(yield* backend.pread(offset, buffer), OK)
      for (let index = 0; index < length; index++) {
        // Discarded bytes may have become zero, each for itself.
        if (step.kind === 'discard' && buffer[index] === 0) range[index] = 0
        if (buffer[index] !== range[index]) assert.unreachable(`byte ${offset + index}: ${buffer[index]}, not ${range[index]}`)
      }
    }
  }
}

test('coroutines side by side in one disk, however their borders fall into blocks, never disturb each other', () => {
  fc.assert(
    fc.property(
      limitsArbitrary,
      optionsArbitrary,
      fc.array(fc.array(stepArbitrary, { maxLength: 8 }), { minLength: 1, maxLength: 5 }),
      fc.boolean(),
      (limits, options, scripts, canZero) => {
        const stack = memoryStack(DISK_BYTES, limits, options)
        stack.disk.canZero = canZero
        withLatencies(stack, [0, ...scripts.flat().map((step) => step.latencyNs)])
        stack.disk.data.fill(9)
        stack.disk.allocated.fill(1)
        const model = new Uint8Array(DISK_BYTES).fill(9)
        const share = Math.floor(DISK_BYTES / scripts.length) - 1
        const bitmap = new DirtyBitmap(DISK_BYTES, 512)
        stack.node.dirtyBitmaps.add(bitmap)
        for (const [index, steps] of scripts.entries()) {
          const first = index * share
          stack.kernel.spawn(worker(stack, model, first, first + share, steps), makeLabel(`worker${index}`))
        }
        stack.clock.run()
        assert.is(stack.kernel.live.size, 0)
        assert.is(stack.node.inFlight + stack.backend.inFlight + stack.node.requests.count, 0)
        assert.equal(Buffer.compare(stack.disk.data, model), 0)
        for (let at = 0; at < DISK_BYTES; at += 512) {
          const isChanged = model.subarray(at, at + 512).some((byte) => byte !== 9)
          assert.ok(bitmap.get(at) || !isChanged, `a change at ${at} without its dirty bit`)
        }
      },
    ),
    { seed: 20261123, numRuns: 100 },
  )
})

test('the driver sees only what its limits allow', () => {
  fc.assert(
    fc.property(limitsArbitrary, optionsArbitrary, fc.array(stepArbitrary, { maxLength: 12 }), (limits, options, steps) => {
      const stack = memoryStack(DISK_BYTES, limits, options)
      const model = new Uint8Array(DISK_BYTES)
      stack.run(worker(stack, model, 0, DISK_BYTES, steps))
      const { requestAlignmentBytes: align } = stack.node.limits
      for (const { kind, offsetBytes, lengthBytes } of stack.disk.log) {
        if (kind === 'flush') continue
        assert.is(offsetBytes % align, 0)
        assert.is(lengthBytes % align, 0)
        assert.ok(lengthBytes > 0 && offsetBytes + lengthBytes <= DISK_BYTES)
        const max = { read: limits.maxTransferBytes, write: limits.maxTransferBytes, status: 0 }
        const most = kind === 'zero' ? limits.maxPwriteZeroesBytes : kind === 'discard' ? limits.maxPdiscardBytes : max[kind]
        assert.ok(!most || lengthBytes <= most, `${kind} of ${lengthBytes}`)
        const unit = kind === 'zero' ? limits.pwriteZeroesAlignmentBytes! : limits.pdiscardAlignmentBytes!
        if ((kind === 'zero' || kind === 'discard') && lengthBytes > unit) {
          assert.is(offsetBytes % unit, 0)
          assert.is(lengthBytes % unit, 0)
        }
      }
    }),
    { seed: 20261124, numRuns: 100 },
  )
})

test('of two writes at once, every byte is one or the other’s, and bytes of neither are untouched', () => {
  const range = fc.record({ at: fc.nat(4095), length: fc.integer({ min: 1, max: 4096 }), zero: fc.boolean() })
  fc.assert(
    fc.property(limitsArbitrary, range, range, fc.array(fc.nat(40), { minLength: 1 }), (limits, left, right, latencies) => {
      const stack = memoryStack(8192, limits)
      stack.disk.data.fill(9)
      withLatencies(stack, latencies)
      for (const [index, { at, length, zero }] of [left, right].entries()) {
        function* write(): Co<void> {
          const data = new Uint8Array(length).fill(index + 1)
          assert.is(yield* zero ? stack.backend.pwriteZeroes(at, length) : stack.backend.pwrite(at, data), OK)
        }
        stack.kernel.spawn(write(), makeLabel(`w${index}`))
      }
      stack.clock.run()
      assert.is(stack.kernel.live.size, 0)
      for (const [at, byte] of stack.disk.data.entries()) {
        const legal = [left, right].flatMap((write, index) =>
          at >= write.at && at < write.at + write.length ? [write.zero ? 0 : index + 1] : [],
        )
        assert.ok(legal.length === 0 ? byte === 9 : legal.includes(byte), `byte ${at} is ${byte}`)
      }
    }),
    { seed: 20261125, numRuns: 100 },
  )
})

test.run()
