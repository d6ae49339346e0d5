import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { anyWorld, build, checkDisk, give, guest, settle, type World, watch } from '../property/testing'
import { startStream } from './index'

interface Case {
  world: World
  /** Of the image that is filled, and of its base among the layers; with `isWhole` there is none. */
  device: number
  span: number
  isWhole: boolean
  byBottom: boolean
}

const anyCase = fc.record<Case>({
  world: anyWorld(2, 4),
  device: fc.nat(3),
  span: fc.nat(3),
  isWhole: fc.boolean(),
  byBottom: fc.boolean(),
})

function run({ world, device: wanted, span, isWhole, byBottom }: Case): void {
  const count = world.lengths.length
  const device = wanted % (count - 1)
  const base = isWhole ? count : device + 1 + (span % (count - device - 1))
  const bench = build(world)
  const below = byBottom ? { bottom: bench.nodes[base - 1]! } : { base: bench.nodes[base] ?? null }
  const job = bench.begin(
    startStream(bench.graph, bench.jobs, {
      jobId: 'j',
      device: bench.nodes[device]!,
      ...below,
      speedBytesPerSecond: world.speed,
      onError: world.policy,
      autoFinalize: world.autoFinalize,
      autoDismiss: true,
    }),
  )
  watch(bench, () => checkDisk(bench))
  bench.spawn('guest', guest(bench, world.guest))
  bench.spawn('orders', give(bench, job, world.orders))
  settle(bench, job)
  checkDisk(bench)
  assert.is(bench.graph.nodes.size, count, 'the filter is gone')
  const isDone = job.errorText === null && !bench.story().includes('BLOCK_JOB_CANCELLED')
  const next = bench.nodes[device]!.below()
  assert.is(next, isDone ? (bench.nodes[base] ?? null) : bench.nodes[device + 1])
  assert.is(bench.nodes[device]!.options.readOnly, device > 0)
  const isMoved = isDone && base !== device + 1
  if (isMoved) assert.equal(bench.layers[device]!.backing, base === count ? [null, null] : [bench.layers[base]!.file, 'memory'])
  if (isMoved) assert.is(job.progress.offsetBytes, job.progress.lengthBytes)
  for (const [index, layer] of bench.layers.entries()) {
    // The layers below are only read.
    if (index !== device && index > 0) assert.equal([...layer.requests('write'), ...layer.requests('zero')], [])
  }
}

test('whatever happens meanwhile, the image stands on its base alone or is where it was, and reads the same', () => {
  fc.assert(fc.property(anyCase, run), { seed: 20253, numRuns: 200 })
})

test.run()
