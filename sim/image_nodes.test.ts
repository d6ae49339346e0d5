import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { BackingPlan, ControlOperation, DiskName, DiskPlan, FormatPlan, Plan } from './plan'
import { checkPlan } from './plan_check'
import { KIB, operation, PLAIN_DISK, smallPlan } from './testing'
import type { WorldResult } from './verdict'
import { runWorld } from './world'

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
const BELOW: BackingPlan = {
  format: 'qcow2',
  lengthBytes: 16 * KIB,
  initial: [{ id: 'b1', offsetBytes: 0, lengthBytes: 16 * KIB, content: 'data' }],
  isDetached: false,
}

const over = (backing: BackingPlan): DiskPlan => ({ ...PLAIN_DISK, format: { ...IMAGE, backing } })
const link = (id: string, disk: DiskName, on: 'start' | 'ready'): ControlOperation => ({
  id,
  when: { on, afterNs: 0 },
  kind: 'link-backing',
  disk,
})
const START: ControlOperation = { id: 'c1', when: { on: 'start', afterNs: 0 }, kind: 'mirror-start' }

function run(changes: Partial<Plan>): WorldResult {
  const plan = smallPlan({ version: 3, ...changes })
  assert.is(checkPlan(plan), null)
  const result = runWorld(plan)
  assert.is(result.failure, null, result.failure?.text)
  return result
}

test('an image below is replaced while the mirror runs, as often as one likes', () => {
  const control = [START, link('k1', 'source', 'ready'), link('k2', 'source', 'ready'), link('k3', 'destination', 'ready')]
  const { probes, end } = run({
    source: over(BELOW),
    destination: over(BELOW),
    mirror: { ...smallPlan().mirror, sync: 'top' },
    control,
  })
  assert.is(probes['backing/replaced-in-job'], 3)
  assert.is(end.jobStatus, 'completed')
})

test('an image below is attached, and the guest that moves finds it', () => {
  const complete: ControlOperation = { id: 'c2', when: { on: { controlDone: 'k1' }, afterNs: 0 }, kind: 'complete' }
  const { probes, end } = run({
    source: over(BELOW),
    destination: over({ ...BELOW, isDetached: true }),
    mirror: { ...smallPlan().mirror, sync: 'top' },
    guest: [operation('g1', 'write', 512, 512), operation('g2', 'read', 0, 16 * KIB, { thinkNs: 50_000_000 })],
    control: [START, link('k1', 'destination', 'ready'), complete],
  })
  assert.is(probes['backing/attached-in-job'], 1)
  assert.is(end.jobStatus, 'completed')
  assert.is(end.guestOperationsDone, 2)
})

test('nobody completes onto an image whose image below is not attached', () => {
  const destination = over({ ...BELOW, isDetached: true })
  const early: ControlOperation = { id: 'c2', when: { on: 'ready', afterNs: 0 }, kind: 'complete' }
  const reason = checkPlan(smallPlan({ version: 3, destination, control: [START, link('k1', 'destination', 'start'), early] }))
  assert.is(reason, 'plan.control[2]: would put the guest on a destination without its backing image')
  const none = checkPlan(smallPlan({ version: 3, control: [START, link('k1', 'source', 'ready')] }))
  assert.is(none, 'plan.control[1].disk: has no image below')
})

test.run()
