// A client and a server over links that delay, split and break: what is read is what was written, and so is the disk.
import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockBackend, Permission, RequestFlag } from '../block'
import { type Co, makeLabel, OK } from '../co'
import { openNbd } from './driver'
import { Dice } from './fuzz/testing'
import { ADDRESS, serverBench, TestHost } from './testing'

const WORKERS = 4
const SHARE_BYTES = 8 * 1024
const DISK_BYTES = WORKERS * SHARE_BYTES

interface Step {
  kind: 'read' | 'write' | 'zero' | 'discard' | 'flush'
  at: number
  length: number
  value: number
  flags: number
}

const stepArbitrary: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('read', 'write', 'write', 'zero', 'discard', 'flush'),
  at: fc.nat(999),
  length: fc.nat(999),
  value: fc.integer({ min: 1, max: 255 }),
  flags: fc.constantFrom(0, RequestFlag.MayUnmap, RequestFlag.Fua),
})

const caseArbitrary = fc.record({
  seed: fc.nat(),
  steps: fc.array(fc.array(stepArbitrary, { maxLength: 12 }), { minLength: WORKERS, maxLength: WORKERS }),
  alignmentBytes: fc.constantFrom(1, 512, 4096),
  capacityBytes: fc.constantFrom(64, 1000, 100_000),
  delayNs: fc.constantFrom(0, 10, 10_000),
  diskNs: fc.constantFrom(0, 10, 10_000, 100_000),
  cutsNs: fc.array(fc.nat(200_000), { maxLength: 6 }),
})
type Case = typeof caseArbitrary extends fc.Arbitrary<infer T> ? T : never

function run(given: Case): void {
  const bench = serverBench(DISK_BYTES, {}, {}, { requestAlignmentBytes: given.alignmentBytes })
  const { kernel, graph, disk } = bench
  const host = new TestHost(kernel, (stream) => bench.server.serve(stream))
  const dice = new Dice(given.seed)
  // Requests overtake each other.
  disk.fail = () => {
    disk.latencyNs = dice.below(given.diskNs + 1)
    return OK
  }
  host.link = {
    capacityBytes: given.capacityBytes,
    delayNs: () => (given.delayNs === 0 ? 0 : dice.below(given.delayNs)),
    pieceBytes: (_, bytes) => (dice.isOneIn(3) ? 1 + dice.below(bytes) : bytes),
  }
  const model = new Uint8Array(DISK_BYTES)
  let ended = 0
  function* worker(backend: BlockBackend, firstBytes: number, steps: readonly Step[]): Co<void> {
    for (const step of steps) {
      const at = firstBytes + Math.floor((step.at * SHARE_BYTES) / 1000)
      const bytes = Math.max(1, Math.floor((step.length * (firstBytes + SHARE_BYTES - at)) / 1000))
      const part = model.subarray(at, at + bytes)
      if (step.kind === 'write') {
        part.fill(step.value)
        assert.is(yield* backend.pwrite(at, part.slice(), step.flags & RequestFlag.Fua), OK)
      } else if (step.kind === 'zero') {
        part.fill(0)
        assert.is(yield* backend.pwriteZeroes(at, bytes, step.flags), OK)
      } else if (step.kind === 'discard') {
        // What a discarded range reads is nobody's promise.
        assert.is(yield* backend.pdiscard(at, bytes), OK)
        part.fill(0)
        assert.is(yield* backend.pwriteZeroes(at, bytes), OK)
      } else if (step.kind === 'flush') assert.is(yield* backend.flush(), OK)
      else {
        const read = new Uint8Array(bytes)
        assert.is(yield* backend.pread(at, read), OK)
        assert.ok(Buffer.from(read).equals(part), `read ${at}+${bytes}`)
      }
    }
    ended++
  }
  function* cut(atNs: number): Co<void> {
    yield* kernel.sleepNs(atNs)
    host.pairs.at(-1)?.cut()
  }
  const label = makeLabel('test')
  function* main(): Co<void> {
    const driver = yield* openNbd(kernel, host, {
      server: ADDRESS,
      exportName: 'disk',
      readOnly: false,
      reconnectDelaySeconds: 1000,
    })
    const node = graph.addNode({ name: 'remote', driver, options: { discard: 'unmap' } })
    const backend = new BlockBackend(graph, '')
    backend.attach(node, Permission.ConsistentRead | Permission.Write, Permission.All)
    for (const cutNs of given.cutsNs) kernel.spawn(cut(cutNs), label)
    const workers = given.steps.map((steps, index) => kernel.spawn(worker(backend, index * SHARE_BYTES, steps), label))
    for (const each of workers) yield* kernel.join(each)
    backend.dispose()
    yield* graph.removeNode(node)
  }
  kernel.spawn(main(), label)
  bench.clock.run()
  assert.is(ended, WORKERS)
  assert.is(bench.server.connectionCount, 0)
  assert.ok(Buffer.from(disk.data).equals(model), 'the disk holds what was written')
}

test('what is written through links that break is what is read, and what the disk holds', () => {
  fc.assert(fc.property(caseArbitrary, run), { numRuns: 150, seed: 9 })
})

test.run()
