import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { DiskPlan, FormatPlan, Plan, ThrottlePlan } from './plan'
import { checkPlan } from './plan_check'
import { KIB, PLAIN_DISK, smallPlan } from './testing'
import type { WorldResult } from './verdict'
import { runWorld } from './world'

const SLOW: ThrottlePlan = {
  at: 'top',
  bytesPerSecond: 4 * KIB,
  requestsPerSecond: 0,
  burstBytesPerSecond: 0,
  burstRequestsPerSecond: 0,
  joinsSource: false,
}
const IMAGE: FormatPlan = {
  kind: 'qcow2',
  version: 3,
  clusterBytes: 4096,
  extendedL2: false,
  refcountBits: 16,
  lazyRefcounts: false,
  discardNoUnref: false,
  preallocation: 'off',
  dataFile: 'none',
}

function run(changes: Partial<Plan>): WorldResult {
  const plan = smallPlan({ version: 3, ...changes })
  assert.is(checkPlan(plan), null)
  const result = runWorld(plan)
  assert.is(result.failure, null, result.failure?.text)
  assert.is(result.end.jobStatus, 'completed')
  return result
}
const destination = (throttle: ThrottlePlan, more: Partial<DiskPlan> = {}): DiskPlan => ({ ...PLAIN_DISK, throttle, ...more })

test('a throttled destination is written to as slowly as its limit says', () => {
  const free = run({})
  const held = run({ destination: destination(SLOW) })
  assert.is(free.probes['disk/throttled'], undefined)
  assert.ok(held.probes['disk/throttled']! > 0)
  assert.ok(held.timeNs > free.timeNs + 100_000_000, `${held.timeNs}`)
})

test('a throttle lies above an image, or between it and its file', () => {
  for (const at of ['top', 'file'] as const) {
    const held = run({ destination: destination({ ...SLOW, at }, { format: IMAGE }) })
    assert.ok(held.probes['disk/throttled']! > 0, at)
  }
})

test('both disks share a group', () => {
  const source: DiskPlan = { ...smallPlan().source, throttle: SLOW }
  const apart = run({ source, destination: destination(SLOW) })
  const together = run({ source, destination: destination({ ...SLOW, bytesPerSecond: 1, joinsSource: true }) })
  // What is read counts against what is written: two limits in one. The second's own does not count.
  assert.ok(together.timeNs > apart.timeNs)
  assert.ok(together.timeNs < 10 * apart.timeNs)
})

test('one request takes longer than all the others', () => {
  const stall = { id: 'y1', disk: 'destination', operation: 'write', offsetBytes: 0, lengthBytes: 16 * KIB } as const
  const stalled = run({ stalls: [{ ...stall, skip: 1, times: 1, delayNs: 7_000_000_000 }] })
  assert.is(stalled.probes['disk/stalled'], 1)
  assert.ok(stalled.timeNs >= 7_000_000_000)
  const missed = run({ stalls: [{ ...stall, skip: 10_000, times: 1, delayNs: 7_000_000_000 }] })
  assert.is(missed.probes['disk/stalled'], undefined)
})

test.run()
