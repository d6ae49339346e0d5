/** Worlds over images: they run, they agree with themselves, and what they show is what a fresh open reads. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { FormatPlan, Plan } from './plan'
import { checkPlan } from './plan_check'
import { KIB, operation, PLAIN_DISK, smallPlan } from './testing'
import { runWorld } from './world'

const QCOW2: FormatPlan = {
  kind: 'qcow2',
  version: 3,
  clusterBytes: 1 * KIB,
  extendedL2: false,
  refcountBits: 16,
  lazyRefcounts: false,
  discardNoUnref: false,
  preallocation: 'off',
  dataFile: 'none',
}
const BELOW = { format: 'qcow2', lengthBytes: 12 * KIB, isDetached: false } as const
const DATA_BELOW = [{ id: 'b1', offsetBytes: 512, lengthBytes: 8 * KIB, content: 'data' } as const]

function planOn(source: Partial<FormatPlan> | null, destination: Partial<FormatPlan> | null, changes: Partial<Plan> = {}): Plan {
  const plan = smallPlan({ version: 2, ...changes })
  if (source !== null) plan.source = { ...plan.source, format: { ...QCOW2, ...source } }
  if (destination !== null) plan.destination = { ...plan.destination, format: { ...QCOW2, ...destination } }
  return plan
}

/** Runs the plan with an eye on both disks: what they show last is what is read afresh at the end. */
function run(plan: Plan): ReturnType<typeof runWorld> {
  assert.is(checkPlan(plan), null)
  const result = runWorld(plan, {
    checkers: [
      (world) => ({
        name: 'shown',
        atEnd({ source, destination }) {
          assert.is(Buffer.compare(world.source.bytes, source), 0, 'source')
          assert.is(Buffer.compare(world.destination.bytes, destination), 0, 'destination')
          assert.is(Buffer.compare(source, destination), 0, 'copy')
          return null
        },
      }),
    ],
  })
  assert.is(result.failure, null)
  assert.is(result.end.jobStatus, 'completed')
  assert.is(runWorld(plan).hash, result.hash)
  return result
}

const GUEST = [
  operation('g1', 'write', 0, 1536),
  operation('g2', 'write-zeroes', 2 * KIB, 2 * KIB, { unmap: true }),
  operation('g3', 'discard', 4 * KIB, 1 * KIB),
  operation('g4', 'write', 15 * KIB, 512, { lane: 1 }),
  operation('g5', 'flush'),
  operation('g6', 'read', 0, 16 * KIB),
]

test('a disk may be an image, and so may its copy', () => {
  run(planOn({}, null))
  run(planOn(null, {}))
  run(planOn({}, {}, { guest: GUEST }))
})

test('every option of creation makes a world', () => {
  const options: Array<Partial<FormatPlan>> = [
    { version: 2 },
    { clusterBytes: 512 },
    { clusterBytes: 2048 * KIB },
    { extendedL2: true, clusterBytes: 16 * KIB },
    { refcountBits: 1 },
    { refcountBits: 64 },
    { lazyRefcounts: true },
    { discardNoUnref: true },
    { preallocation: 'metadata' },
    { preallocation: 'falloc' },
    { preallocation: 'full' },
    { dataFile: 'external' },
    { dataFile: 'raw' },
  ]
  for (const option of options) run(planOn(option, option, { guest: GUEST }))
})

test('an image shows what lies below it, and covers it with zeroes and data', () => {
  const plan = planOn({ backing: { ...BELOW, initial: DATA_BELOW } }, {}, { guest: GUEST })
  plan.source.initial = [
    { id: 's1', offsetBytes: 1 * KIB, lengthBytes: 512, content: 'data' },
    { id: 's2', offsetBytes: 5 * KIB, lengthBytes: 1 * KIB, content: 'hole' },
    { id: 's3', offsetBytes: 6 * KIB, lengthBytes: 2 * KIB, content: 'compressed' },
  ]
  run(plan)
})

test('a copy of everything hides what lies below the destination', () => {
  run(planOn(null, { backing: { ...BELOW, initial: DATA_BELOW } }, { guest: GUEST }))
  run(planOn(null, { version: 2, backing: { ...BELOW, format: 'raw', initial: DATA_BELOW } }, { guest: GUEST }))
})

test('a copy of one layer reads the same above the same image, attached or not', () => {
  for (const isDetached of [false, true]) {
    const below = { ...BELOW, initial: DATA_BELOW }
    const plan = planOn({ backing: below }, { clusterBytes: 4 * KIB, backing: { ...below, isDetached } }, { guest: GUEST })
    plan.mirror = { ...plan.mirror, sync: 'top', granularityBytes: 1 * KIB }
    const { end } = run(plan)
    assert.ok(end.copiedBytes > 0)
  }
})

test('space is counted in clusters', () => {
  const plan = planOn(null, { clusterBytes: 2 * KIB }, { guest: [] })
  plan.source.initial = [{ id: 's1', offsetBytes: 5 * KIB, lengthBytes: 512, content: 'data' }]
  plan.source.allocationUnitBytes = 512
  assert.is(run(plan).end.destinationAllocatedBytes, 2 * KIB)
})

test('disks of odd sizes can be images', () => {
  const lengthBytes = 11 * KIB + 512
  const disk = { ...PLAIN_DISK, lengthBytes }
  const guest = [operation('g1', 'write', lengthBytes - 512, 512), operation('g2', 'discard', 8 * KIB, 3 * KIB + 512)]
  run(planOn({ clusterBytes: 4 * KIB }, { clusterBytes: 8 * KIB }, { source: disk, destination: disk, guest }))
})

test('after a power cut an image is opened from what has reached its file', () => {
  const control: Plan['control'] = [
    { id: 'c1', when: { on: 'start', afterNs: 0 }, kind: 'mirror-start' },
    { id: 'p1', when: { on: { operationDone: 'g5' }, afterNs: 0 }, kind: 'power-cut' },
  ]
  const plan = planOn({}, {}, { guest: GUEST, control })
  let images = 0
  const result = runWorld(plan, {
    checkers: [
      () => ({
        name: 'images',
        powerCut({ source, files }) {
          images++
          assert.is(source.length, 16 * KIB)
          assert.ok(files.source !== null && files.source.length > 4 * KIB)
          return null
        },
      }),
    ],
  })
  assert.is(result.failure, null)
  assert.is(images, 1)
})

test.run()
