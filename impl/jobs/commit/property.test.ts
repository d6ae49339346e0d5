import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { anyWorld, build, checkDisk, give, guest, peek, settle, type World, watch } from '../property/testing'
import { SECTOR } from '../testing'
import { startCommit } from './index'

interface Case {
  world: World
  /** Of `top` and `base` among the layers. */
  top: number
  span: number
}

const anyCase = fc.record<Case>({ world: anyWorld(2, 4), top: fc.nat(3), span: fc.nat(3) })

/** A layer may be shorter than others; an active one that is shorter than its base would change the guest's disk. */
function run({ world, top: wantedTop, span }: Case, isActive: boolean): void {
  const count = world.lengths.length
  const top = isActive ? 0 : 1 + (wantedTop % (count - 2))
  const base = top + 1 + (span % (count - top - 1))
  const lengths = [...world.lengths]
  if (isActive) lengths[0] = Math.max(...lengths)
  const bench = build({ ...world, lengths })
  const job = bench.begin(
    startCommit(bench.graph, bench.jobs, {
      jobId: 'j',
      device: bench.nodes[0]!,
      top: bench.nodes[top]!,
      base: bench.nodes[base]!,
      speedBytesPerSecond: world.speed,
      onError: world.policy,
      autoFinalize: world.autoFinalize,
      autoDismiss: true,
    }),
  )
  const before = isActive ? null : peek(bench.nodes[top]!, lengths[top]! * SECTOR)
  watch(bench, () => {
    // A layer that grows excludes its readers until what it has gained reads zero.
    if (!bench.nodes[base]!.requests.hasSerialising) checkDisk(bench)
  })
  bench.spawn('guest', guest(bench, world.guest))
  bench.spawn('orders', give(bench, job, world.orders))
  settle(bench, job)
  checkDisk(bench)
  assert.is(bench.graph.nodes.size, count, 'the filter is gone')
  const isShort = job.errorText === null && !bench.story().includes('BLOCK_JOB_CANCELLED')
  const chain = []
  for (let node = bench.device.root!.node; ; node = node.below()!) {
    chain.push(bench.nodes.indexOf(node))
    if (node.below() === null) break
  }
  const gone = new Set(bench.nodes.keys())
  for (const index of chain) gone.delete(index)
  const isSwitched = isShort && (!isActive || job.isCompleteRequested)
  const expected = isSwitched ? base - top : 0
  assert.is(gone.size, expected, `${chain.join()} of ${top}..${base}`)
  const isBaseActive = isActive && isSwitched
  assert.is(bench.nodes[base]!.options.readOnly, !isBaseActive)
  if (before !== null && isSwitched) {
    assert.equal(peek(bench.nodes[base]!, before.length), before)
    assert.equal(bench.layers[top - 1]!.backing, [bench.layers[base]!.file, 'memory'])
    assert.is(job.progress.offsetBytes, job.progress.lengthBytes)
  }
}

test('whatever happens meanwhile, layers that nobody writes to are committed or are where they were', () => {
  const cases = anyCase.filter(({ world }) => world.lengths.length > 2)
  fc.assert(
    fc.property(cases, (chosen) => run(chosen, false)),
    { seed: 20251, numRuns: 200 },
  )
})

test('whatever happens meanwhile, an active layer is committed or is where it was', () => {
  fc.assert(
    fc.property(anyCase, (chosen) => run(chosen, true)),
    { seed: 20252, numRuns: 200 },
  )
})

test.run()
