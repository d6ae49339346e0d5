import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ErrorFaultPlan, Plan } from './plan'
import { checkPlan } from './plan_check'
import { PLAIN_DISK, smallPlan } from './testing'

// biome-ignore lint/suspicious/noExplicitAny: the point is to break types
type Anything = any

/** A plan as it comes out of a file, with one thing changed. */
function broken(change: (plan: Anything) => void): unknown {
  const plan: Anything = JSON.parse(JSON.stringify(smallPlan({ faults: [FAULT] })))
  change(plan)
  return plan
}

const FAULT: Plan['faults'][number] = {
  id: 'f1',
  kind: 'error',
  disk: 'source',
  operation: 'write',
  errno: 'EIO',
  offsetBytes: 0,
  lengthBytes: 512,
  skip: 0,
  times: 1,
  torn: true,
}

test('a good plan passes, also with everything that is optional', () => {
  const plan = broken((good) => {
    good.mirror.replaces = 'source'
    good.source.node.readOnly = false
    good.guest[0].zeroData = true
    good.control.push({ id: 'c2', when: { on: { operationDone: 'g1' }, afterNs: 1 }, kind: 'drain', durationNs: 5 })
    good.control.push({ id: 'c3', when: { on: { controlDone: 'c2' }, afterNs: 1 }, kind: 'cancel', force: true })
  })
  assert.is(checkPlan(plan), null)
})

const CASES: ReadonlyArray<readonly [expected: string, change: (plan: Anything) => void]> = [
  ['plan.format: not one of mirrorsim-plan', (plan) => (plan.format = 'other')],
  ['plan.version: not one of 1, 2, 3, 4, 5, 6', (plan) => (plan.version = 7)],
  ['plan.version: stalls came with version 3', (plan) => Object.assign(plan, { version: 2, stalls: [] })],
  ['plan.version: throttles came with version 3', (plan) => throttled(plan, { version: 2 }, {})],
  ['plan.version: overlays of jobs came with version 5', (plan) => withOverlay(plan, { version: 4 }, {}, {})],
  ['plan.job.overlay: a backup has none', (plan) => withOverlay(plan, {}, { kind: 'backup' }, {})],
  ['plan.job.overlay.longerBytes: not whole sectors up to 16777216', (plan) => withOverlay(plan, {}, {}, { longerBytes: 7 })],
  [
    'plan.job.overlay.keepsBase: only a stream can leave a layer below',
    (plan) => withOverlay(plan, {}, { kind: 'commit' }, { keepsBase: true }),
  ],
  ['plan.source.raw: neither true nor false', (plan) => (plan.source.raw = 1)],
  ['plan.source.throttle.at: a plain disk has no file', (plan) => throttled(plan, {}, { at: 'file' })],
  ['plan.source.throttle.joinsSource: only a destination can do so', (plan) => throttled(plan, {}, { joinsSource: true })],
  [
    'plan.source.throttle.burstBytesPerSecond: less than bytesPerSecond, or without it',
    (plan) => throttled(plan, {}, { burstBytesPerSecond: 4 }),
  ],
  ['plan.seed: not a text', (plan) => (plan.seed = 7)],
  ['plan.more: unknown', (plan) => (plan.more = 1)],
  ['plan.device: not an object', (plan) => (plan.device = [])],
  ['plan.device.queueSize: not a power of two', (plan) => (plan.device.queueSize = 17)],
  ['plan.device.queueSize: a request takes 10 descriptors', (plan) => Object.assign(plan.device, NARROW)],
  ['plan.device.blockBytes: not one of 512, 4096', (plan) => (plan.device.blockBytes = 1024)],
  ['plan.device.indirect: neither true nor false', (plan) => (plan.device.indirect = 'yes')],
  ['plan.source.lengthBytes: not an integer from 512 to 1073741824', (plan) => (plan.source.lengthBytes = 0)],
  ['plan.source.lengthBytes: not a multiple of 512', (plan) => (plan.source.lengthBytes = 16_000)],
  ['plan.source.lengthBytes: not a multiple of the blocks of the device', (plan) => blocksOf4096(plan)],
  ['plan.source.requestAlignmentBytes: not a power of two', (plan) => (plan.source.requestAlignmentBytes = 3)],
  ['plan.destination.maxTransferBytes: not a multiple of 512', (plan) => (plan.destination.maxTransferBytes = 513)],
  ['plan.destination.maxDiscardBytes: not a multiple of 4096', (plan) => Object.assign(plan.destination, CROOKED_DISCARD)],
  [
    'plan.source.writeZeroesAlignmentBytes: less than requestAlignmentBytes',
    (plan) => (plan.source.writeZeroesAlignmentBytes = 256),
  ],
  ['plan.source.allocationUnitBytes: not a multiple of 512', (plan) => (plan.source.allocationUnitBytes = 1000)],
  ['plan.source.discard: not one of none, reads-zero, reads-old, reads-garbage', (plan) => (plan.source.discard = 'maybe')],
  ['plan.source.node.detectZeroes: unmap needs discard: unmap', (plan) => (plan.source.node = CONTRADICTION)],
  ['plan.source.latency.steps: not an integer from 1 to 1048576', (plan) => (plan.source.latency.steps = 0)],
  ['plan.source.initial[0]: reaches beyond the end of the disk', (plan) => (plan.source.initial[0].offsetBytes = 16_384)],
  ['plan.source.initial[0].lengthBytes: not a multiple of 512', (plan) => (plan.source.initial[0].lengthBytes = 100)],
  ['plan.mirror.sync: not one of full, top, none', (plan) => (plan.mirror.sync = 'incremental')],
  ['plan.mirror.unmap: neither true nor false', (plan) => delete plan.mirror.unmap],
  ['plan.guest: not a list', (plan) => (plan.guest = {})],
  ['plan.guest[1].kind: not one of read, write, write-zeroes, discard, flush, get-id', (plan) => (plan.guest[1].kind = 'trim')],
  ['plan.guest[3].offsetBytes: not a multiple of 512', (plan) => (plan.guest[3].offsetBytes = 100)],
  ['plan.guest[3].offsetBytes: not an integer from 0 to 9007199254740991', (plan) => (plan.guest[3].offsetBytes = -512)],
  ['plan.guest[0].lengthBytes: not a positive multiple of 512', (plan) => (plan.guest[0].lengthBytes = 0)],
  ['plan.guest[0]: reaches beyond the end of the disk', (plan) => (plan.guest[0].offsetBytes = 16_384)],
  ['plan.guest[0].lengthBytes: not 0 for flush', (plan) => (plan.guest[0].kind = 'flush')],
  ['plan.guest[2].id: occurs twice in the plan', (plan) => (plan.guest[2].id = 'g1')],
  ['plan.guest[2].id: not an id of letters, digits, ".", "_", "-"', (plan) => (plan.guest[2].id = 'g/1')],
  ['plan.control[0].id: occurs twice in the plan', (plan) => (plan.control[0].id = 'g1')],
  ['plan.control[0].kind: not one of mirror-start, pause', (plan) => (plan.control[0].kind = 'stop')],
  ['plan.control[0].when.on: not one of start, mirror-started, ready, guest-done', (plan) => (plan.control[0].when.on = 'now')],
  ['plan.control[0].when.on: nothing in the plan has that id', (plan) => (plan.control[0].when.on = { operationDone: 'g9' })],
  ['plan.control[0].when.on: nothing in the plan has that id', (plan) => (plan.control[0].when.on = { controlDone: 'g1' })],
  ['plan.control[0].force: unknown', (plan) => (plan.control[0].force = true)],
  ['plan.control[0].force: neither true nor false', (plan) => (plan.control[0].kind = 'cancel')],
  ['plan.faults[0].errno: not one of EIO, ENOSPC', (plan) => (plan.faults[0].errno = 'EPERM')],
  ['plan.faults[0].kind: not one of error, misdirected-write', (plan) => (plan.faults[0].kind = 'gremlin')],
  ['plan.version: lost-write came with version 4', (plan) => newFault(plan, {}, 1)],
  ['plan.faults[0].operation: not one of write, write-zeroes', (plan) => newFault(plan, { operation: 'flush' })],
  ['plan.faults[0].byBytes: not an integer from 512', (plan) => newFault(plan, { kind: 'misdirected-write', byBytes: 3 })],
  ['plan.faults[0].byBytes: not a multiple of 512', (plan) => newFault(plan, { kind: 'misdirected-write', byBytes: 600 })],
  ['plan.faults[0].byBytes: unknown', (plan) => newFault(plan, { byBytes: 512 })],
  ['plan.version: faults from outside came with version 6', (plan) => newFault(plan, OWN, 5)],
  ['plan.faults[0].name: gremlin is a fault from outside, and is not here', (plan) => newFault(plan, OWN, 6)],
  ['plan.faults[0].settings.size: not an integer', (plan) => newFault(plan, { ...OWN, settings: { size: 0.5 } }, 6)],
  ['plan.faults[0].settings: not an object', (plan) => newFault(plan, { ...OWN, settings: [] }, 6)],
  ['plan.faults[0].times: not an integer from 0 to 9007199254740991', (plan) => (plan.faults[0].times = 1.5)],
  ['plan.bounds.eventsMax: not an integer from 1 to 9007199254740991', (plan) => (plan.bounds.eventsMax = 0)],
]
/** A job on a chain, with an image above it. */
function withOverlay(plan: Anything, change: object, job: object, overlay: object): void {
  Object.assign(plan, { version: 5 }, change)
  plan.source.format = { ...QCOW2, backing: BELOW }
  plan.source.initial = []
  const settings = { kind: 'stream', sync: 'full', onError: 'report', speedBytesPerSecond: 0, autoFinalize: true }
  plan.job = { ...settings, ...job, overlay: { longerBytes: 512, keepsBase: false, ...overlay } }
}

function throttled(plan: Anything, change: object, throttle: object): void {
  const limits = { bytesPerSecond: 0, requestsPerSecond: 5, burstBytesPerSecond: 0, burstRequestsPerSecond: 0 }
  Object.assign(plan, { version: 3, ...change })
  plan.source.throttle = { at: 'top', ...limits, joinsSource: false, ...throttle }
}
const OWN = { kind: 'own', name: 'gremlin', promise: 'silent' }
function newFault(plan: Anything, change: object, version = 4): void {
  const { errno: _, torn: __, ...occasion } = FAULT as ErrorFaultPlan
  Object.assign(plan, { version, faults: [{ ...occasion, kind: 'lost-write', ...change }] })
}
const NARROW = { indirect: false, segmentsMax: 8, queueSize: 8 }
const CROOKED_DISCARD = { discardAlignmentBytes: 4096, maxDiscardBytes: 5120 }
const CONTRADICTION = { discard: 'ignore', detectZeroes: 'unmap' }
function blocksOf4096(plan: Anything): void {
  plan.device.blockBytes = 4096
  plan.guest = []
  plan.source = { ...PLAIN_DISK, lengthBytes: 8192 + 512 }
}

for (const [expected, change] of CASES) {
  test(`says ${expected}`, () => {
    const reason = checkPlan(broken(change))
    assert.ok(reason?.startsWith(expected), `${reason}`)
    assert.not.match(reason!, /\n/)
  })
}

for (const value of [null, undefined, 7, 'plan', []]) {
  test(`${JSON.stringify(value)} is no plan`, () => assert.is(checkPlan(value), 'plan: not an object'))
}

// ------------------------------------------------------------------------------------------------------------- formats

const QCOW2 = {
  kind: 'qcow2',
  version: 3,
  clusterBytes: 65536,
  extendedL2: false,
  refcountBits: 16,
  lazyRefcounts: false,
  discardNoUnref: false,
  preallocation: 'off',
  dataFile: 'none',
}
const BELOW = { format: 'raw', lengthBytes: 8192, initial: [], isDetached: false }

/** Both disks are images, and one thing is changed. */
function withImages(change: (plan: Anything) => void): unknown {
  return broken((plan) => {
    plan.version = 2
    plan.source.format = { ...QCOW2 }
    plan.destination.format = { ...QCOW2 }
    change(plan)
  })
}

const IMAGE_FAULTS: ReadonlyArray<readonly [string, (plan: Anything) => void]> = [
  ['plan.version: formats came with version 2', (plan) => (plan.version = 1)],
  ['plan.source.format.clusterBytes: not a power of two', (plan) => (plan.source.format.clusterBytes = 3000)],
  [
    'plan.source.format: has what version 2 does not know',
    (plan) => Object.assign(plan.source.format, { version: 2, lazyRefcounts: true }),
  ],
  [
    'plan.source.format.clusterBytes: less than 16384 with extendedL2',
    (plan) => Object.assign(plan.source.format, { clusterBytes: 4096, extendedL2: true }),
  ],
  [
    'plan.source.initial[0].content: "hole" needs version 3',
    (plan) => {
      plan.source.format.version = 2
      plan.source.initial[0].content = 'hole'
    },
  ],
  [
    'plan.source.initial[0].content: "compressed" goes into the image, and the data does not',
    (plan) => {
      plan.source.format.dataFile = 'external'
      plan.source.initial[0].content = 'compressed'
    },
  ],
  [
    'plan.source.format.backing: a raw data file shows what a guest sees, without anything below',
    (plan) => Object.assign(plan.source.format, { dataFile: 'raw', backing: BELOW }),
  ],
  [
    'plan.source.format.preallocation: hides the backing image, except with extendedL2',
    (plan) => Object.assign(plan.source.format, { preallocation: 'metadata', backing: BELOW }),
  ],
  [
    'plan.source.format.backing.isDetached: only a destination can do without',
    (plan) => (plan.source.format.backing = { ...BELOW, isDetached: true }),
  ],
  [
    'plan.mirror.sync: top copies one layer: the destination needs the backing image of the source',
    (plan) => {
      plan.mirror.sync = 'top'
      plan.source.format.backing = BELOW
    },
  ],
  [
    'plan.control[1]: would put the guest on a destination without its backing image',
    (plan) => {
      plan.destination.format.backing = { ...BELOW, isDetached: true }
      plan.control.push({ id: 'c2', when: { on: 'ready', afterNs: 0 }, kind: 'complete' })
    },
  ],
]

test('images pass, also with one below that both share', () => {
  assert.is(checkPlan(withImages(() => undefined)), null)
  const shared = withImages((plan) => {
    const initial = [{ id: 'b1', offsetBytes: 0, lengthBytes: 512, content: 'data' }]
    plan.mirror.sync = 'top'
    plan.source.format.backing = { ...BELOW, initial }
    plan.destination.format.backing = { ...BELOW, initial, isDetached: true }
  })
  assert.is(checkPlan(shared), null)
})

for (const [text, change] of IMAGE_FAULTS) {
  test(`says ${text}`, () => {
    assert.is(checkPlan(withImages(change)), text)
  })
}

test('content that only images have needs one', () => {
  const plain = broken((plan) => (plan.source.initial[0].content = 'hole'))
  assert.is(checkPlan(plain), 'plan.source.initial[0].content: "hole" needs an image')
})

test.run()
