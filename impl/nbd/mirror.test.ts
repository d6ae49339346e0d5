/** Mirrors onto an export behind links that delay and break: the end of it is what the source holds. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockBackend, type BlockNode, Permission, RequestFlag } from '../block'
import { MemoryDriver } from '../block/testing'
import { type Co, makeLabel, OK } from '../co'
import { JobManager } from '../jobs'
import { type MirrorJob, type MirrorOptions, startMirror } from '../jobs/mirror'
import { openNbd } from './driver'
import { Dice } from './fuzz/testing'
import { ADDRESS, serverBench, TestHost } from './testing'

const KIB = 1024
const DISK_BYTES = 128 * KIB
const LABEL = makeLabel('test')
const CASES = 60

interface Case {
  seed: number
  copyMode: 'background' | 'write-blocking'
  cuts: number
}

function optionsOf(source: BlockNode, target: BlockNode, copyMode: Case['copyMode']): MirrorOptions {
  return {
    jobId: 'job0',
    source,
    target,
    sync: 'full',
    copyMode,
    granularityBytes: 4 * KIB,
    speedBytesPerSecond: 0,
    unmap: true,
    targetIsZero: false,
    onSourceError: 'report',
    onTargetError: 'report',
    autoFinalize: true,
    autoDismiss: true,
  }
}

/** Mirrors a disk that a guest writes to all the while, switches over, and lets the guest write on. */
function mirrorCase({ seed, copyMode, cuts }: Case): void {
  const dice = new Dice(seed)
  const bench = serverBench(DISK_BYTES)
  const { kernel, graph, disk: remoteDisk } = bench
  const host = new TestHost(kernel, (stream) => bench.server.serve(stream))
  host.link = { capacityBytes: dice.pick([1000, 100_000]), delayNs: () => dice.below(20_000) }
  const sourceDisk = new MemoryDriver(DISK_BYTES)
  for (const [index] of sourceDisk.data.entries()) sourceDisk.data[index] = index < DISK_BYTES / 2 ? 1 + (index % 7) : 0
  sourceDisk.allocated.fill(1, 0, DISK_BYTES / 1024)
  const model = sourceDisk.data.slice()
  sourceDisk.fail = remoteDisk.fail = () => OK
  remoteDisk.latencyNs = dice.below(5000)
  const source = graph.addNode({ name: 'src', driver: sourceDisk, options: { discard: 'unmap' } })
  const device = new BlockBackend(graph, 'guest0')
  device.attach(source, Permission.ConsistentRead | Permission.Write, Permission.All)
  let completed = false
  const jobs = new JobManager(kernel, ({ event, data }) => {
    if (event === 'BLOCK_JOB_COMPLETED') completed = data['error'] === undefined
  })
  function* guest(rounds: number): Co<void> {
    for (let round = 0; round < rounds; round++) {
      const at = dice.below(DISK_BYTES / 512) * 512
      const bytes = Math.min(DISK_BYTES - at, 512 * (1 + dice.below(16)))
      const value = dice.below(3)
      const write =
        value === 0 ? device.pwriteZeroes(at, bytes, RequestFlag.MayUnmap) : device.pwrite(at, new Uint8Array(bytes).fill(value))
      assert.is(yield* write, OK)
      model.fill(value, at, at + bytes)
      yield* kernel.sleepNs(dice.below(50_000))
    }
  }
  function* cutter(): Co<void> {
    for (let count = 0; count < cuts; count++) {
      yield* kernel.sleepNs(1 + dice.below(1_000_000))
      host.pairs.at(-1)?.cut()
    }
  }
  function* main(): Co<void> {
    const driver = yield* openNbd(kernel, host, {
      server: ADDRESS,
      exportName: 'disk',
      readOnly: false,
      reconnectDelaySeconds: 1000,
    })
    const target = graph.addNode({ name: 'tgt', driver, options: { discard: 'unmap' } })
    const job: MirrorJob = yield* startMirror(graph, jobs, optionsOf(source, target, copyMode))
    kernel.spawn(cutter(), LABEL)
    const writing = kernel.spawn(guest(30), LABEL)
    while (job.status !== 'ready') yield* kernel.sleepNs(100_000)
    yield* kernel.join(writing)
    job.complete()
    while (!completed) yield* kernel.sleepNs(100_000)
    assert.ok(Buffer.from(remoteDisk.data).equals(model), 'the export holds what the source does')
    // The device stands on the export now.
    yield* guest(10)
    assert.is(device.root?.node, target)
    assert.ok(Buffer.from(remoteDisk.data).equals(model), 'the export holds what was written after the switch')
    device.dispose()
    yield* graph.removeNode(target)
  }
  const coroutine = kernel.spawn(main(), LABEL)
  bench.clock.run()
  assert.not(kernel.live.has(coroutine), `stuck: ${coroutine.waitsFor?.describe()}`)
}

test('a forced cancel does not wait for a server that is gone', () => {
  const bench = serverBench(DISK_BYTES)
  const { kernel, graph } = bench
  const host = new TestHost(kernel, (stream) => bench.server.serve(stream))
  const source = graph.addNode({ name: 'src', driver: new MemoryDriver(DISK_BYTES) })
  ;(source.driver as MemoryDriver).allocated.fill(1)
  let endNs = -1
  function* main(): Co<void> {
    const driver = yield* openNbd(kernel, host, {
      server: ADDRESS,
      exportName: 'disk',
      readOnly: false,
      reconnectDelaySeconds: 1000,
    })
    const target = graph.addNode({ name: 'tgt', driver })
    host.refuse = true
    host.pairs[0]!.cut()
    const jobs = new JobManager(kernel, ({ event }) => {
      if (event === 'BLOCK_JOB_CANCELLED') endNs = kernel.nowNs()
    })
    const job: MirrorJob = yield* startMirror(graph, jobs, optionsOf(source, target, 'background'))
    yield* kernel.sleepNs(3_000_000_000)
    job.cancel(true)
    yield* kernel.sleepNs(1_000_000_000)
    assert.ok(endNs >= 3_000_000_000 && endNs < 4_000_000_000, `ended at ${endNs}`)
  }
  kernel.spawn(main(), LABEL)
  bench.clock.run()
})

for (const copyMode of ['background', 'write-blocking'] as const) {
  test(`${copyMode}: ${CASES} mirrors onto an export, whose links break and come back`, () => {
    for (let seed = 0; seed < CASES; seed++) {
      try {
        mirrorCase({ seed, copyMode, cuts: seed % 5 })
      } catch (error) {
        assert.unreachable(`seed ${seed}: ${(error as Error).stack}`)
      }
    }
  })
}

test.run()
