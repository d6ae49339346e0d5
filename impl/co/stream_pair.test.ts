import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ECANCELED, ECONNRESET, EPIPE, OK } from './errno'
import type { Co } from './kernel'
import { makeLabel } from './label'
import type { ByteStream } from './stream'
import { type LinkOptions, type StreamPair, streamPair } from './stream_pair'
import { testKernel } from './testing'

const LABEL = makeLabel('test')

function bench(options: LinkOptions = {}): StreamPair & ReturnType<typeof testKernel> {
  const made = testKernel()
  return { ...made, ...streamPair(made.kernel, 'link', options) }
}

const counting = (length: number): Uint8Array => Uint8Array.from({ length }, (_, index) => index % 251)

/** Reads to the end in steps of `stepBytes`; the last answer, 0 or a negative errno, goes to `ended`. */
function* readAll(stream: ByteStream, stepBytes: number, into: number[], ended: (result: number) => void): Co<void> {
  const buffer = new Uint8Array(stepBytes)
  while (true) {
    const count = yield* stream.read(buffer)
    if (count <= 0) return ended(count)
    into.push(...buffer.subarray(0, count))
  }
}

for (const options of [
  {},
  { capacityBytes: 7 },
  { pieceBytes: () => 3 },
  { delayNs: () => 1000 },
  { capacityBytes: 10, pieceBytes: () => 4, delayNs: (_: number, bytes: number) => 100 - bytes },
]) {
  test(`what is written is read, in order, to its end: ${Object.keys(options).join(' ')}`, () => {
    const { kernel, run, near, far } = bench(options)
    const sent = counting(1000)
    const received: number[] = []
    let end = -1
    function* writer(): Co<void> {
      assert.is(yield* near.write(sent.subarray(0, 400)), OK)
      assert.is(yield* near.writeParts([sent.subarray(400, 401), sent.subarray(401)]), OK)
      assert.is(yield* near.endWrite(), OK)
    }
    kernel.spawn(writer(), LABEL)
    kernel.spawn(
      readAll(far, 13, received, (result) => {
        end = result
      }),
      LABEL,
    )
    run()
    assert.is(kernel.failure, null)
    assert.is(end, 0)
    assert.equal(received, [...sent])
  })
}

test('a writer waits for room, and holds no more than the capacity', () => {
  const { kernel, run, near, far } = bench({ capacityBytes: 8 })
  let isDone = false
  function* writer(): Co<void> {
    yield* near.write(counting(9))
    isDone = true
  }
  kernel.spawn(writer(), LABEL)
  run()
  assert.is(isDone, false)
  function* reader(): Co<void> {
    assert.is(yield* far.read(new Uint8Array(20)), 8)
  }
  kernel.spawn(reader(), LABEL)
  run()
  assert.is(isDone, true)
})

test('a piece arrives after its delay, and none overtakes another', () => {
  const delays = [500, 100]
  const { kernel, run, near, far } = bench({ delayNs: () => delays.shift() ?? 0 })
  const arrivals: number[] = []
  function* writer(): Co<void> {
    yield* near.write(counting(2))
    yield* near.write(counting(3))
  }
  function* reader(): Co<void> {
    for (let at = 0; at < 5; ) {
      at += yield* far.read(new Uint8Array(5))
      arrivals.push(kernel.nowNs(), at)
    }
  }
  kernel.spawn(reader(), LABEL)
  kernel.spawn(writer(), LABEL)
  run()
  assert.equal(arrivals, [500, 5])
})

test('half a stream can end while the other half goes on', () => {
  const { kernel, run, near, far } = bench()
  const got: number[] = []
  function* body(): Co<void> {
    yield* near.endWrite()
    yield* near.endWrite()
    got.push(yield* far.read(new Uint8Array(1)), yield* far.write(counting(3)), yield* near.read(new Uint8Array(9)))
  }
  kernel.spawn(body(), LABEL)
  run()
  assert.equal(got, [0, OK, 3])
})

test('close wakes who waits at this end, and ends the other', () => {
  const { kernel, run, near, far } = bench({ capacityBytes: 4 })
  const got: Record<string, number> = {}
  function* note(name: string, body: Co<number>): Co<void> {
    got[name] = yield* body
  }
  kernel.spawn(note('near read', near.read(new Uint8Array(1))), LABEL)
  kernel.spawn(note('near write', near.write(counting(9))), LABEL)
  run()
  near.close()
  near.close()
  kernel.spawn(note('far write', far.write(counting(9))), LABEL)
  kernel.spawn(note('near end', near.endWrite()), LABEL)
  run()
  kernel.spawn(note('far read', far.read(new Uint8Array(9))), LABEL)
  run()
  kernel.spawn(note('far end', far.read(new Uint8Array(9))), LABEL)
  run()
  assert.equal(got, {
    'near read': -ECANCELED,
    'near write': ECANCELED,
    'near end': ECANCELED,
    'far write': EPIPE,
    'far read': 4,
    'far end': 0,
  })
})

test('a cut link fails everything at both ends, and loses what was under way', () => {
  const { kernel, run, near, far, cut } = bench({ delayNs: () => 1000 })
  const got: number[] = []
  function* reader(): Co<void> {
    got.push(yield* far.read(new Uint8Array(9)))
    got.push(yield* far.write(counting(1)), yield* near.write(counting(1)), yield* near.read(new Uint8Array(1)))
  }
  function* writer(): Co<void> {
    yield* near.write(counting(5))
    yield* kernel.sleepNs(10)
    cut()
  }
  kernel.spawn(reader(), LABEL)
  kernel.spawn(writer(), LABEL)
  run()
  assert.equal(got, [-ECONNRESET, ECONNRESET, ECONNRESET, -ECONNRESET])
})

test.run()
