/**
 * Checks a plan that comes from outside: a report, a file written by hand. Whatever passes can be run; whatever does not
 * gets one line that says where and why.
 */
import { faultOf, type OwnFault } from './faults'
import {
  type BackingPlan,
  type ControlOperation,
  type DiskPlan,
  type FaultPlan,
  type FormatPlan,
  type GuestOperation,
  type InitialExtent,
  type JobPlan,
  type OwnFaultPlan,
  type Plan,
  SECTOR_BYTES,
  type ThrottlePlan,
} from './plan'

/** Most bytes of a simulated disk: all of them are in memory. */
const DISK_BYTES_MAX = 1 << 30
const ALIGNMENT_BYTES_MAX = 1 << 20
const LANES_MAX = 256
const QUEUES_MAX = 64
const QUEUE_SIZE_MAX = 1024
const SEGMENTS_MAX = 126
const RATE_MAX = 10 ** 12
const SCHEDULE_DEPTH_MAX = 16

class PlanError extends Error {}

/**
 * null: the value is a plan that can be run. Otherwise `plan.guest[3].offsetBytes: not a multiple of 512`. `own`: faults that
 * are brought along when it runs.
 */
export function checkPlan(value: unknown, own: readonly OwnFault[] = []): string | null {
  try {
    planShape(value, 'plan')
    checkWhole(value as Plan, own)
    return null
  } catch (error) {
    if (error instanceof PlanError) return error.message
    throw error
  }
}

function fail(path: string, what: string): never {
  throw new PlanError(`${path}: ${what}`)
}
function demand(condition: boolean, path: string, what: string): void {
  if (!condition) fail(path, what)
}

// ------------------------------------------------------------------------------------------------------------- the shape

/** Throws PlanError unless the value has the right shape. */
type Shape = (value: unknown, path: string) => void

const text: Shape = (value, path) => demand(typeof value === 'string', path, 'not a text')
const flag: Shape = (value, path) => demand(typeof value === 'boolean', path, 'neither true nor false')
const identifier: Shape = (value, path) =>
  demand(typeof value === 'string' && /^[A-Za-z0-9._-]{1,64}$/.test(value), path, 'not an id of letters, digits, ".", "_", "-"')

function integer(least: number, most = Number.MAX_SAFE_INTEGER): Shape {
  return (value, path) => {
    const isInside = Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most
    demand(isInside, path, `not an integer from ${least} to ${most}`)
  }
}
const count = integer(0)

function powerOfTwo(least: number, most: number): Shape {
  return (value, path) => {
    integer(least, most)(value, path)
    demand(((value as number) & ((value as number) - 1)) === 0, path, 'not a power of two')
  }
}
function zeroOr(shape: Shape): Shape {
  return (value, path) => (value === 0 ? undefined : shape(value, path))
}
function optional(shape: Shape): Shape {
  return (value, path) => (value === undefined ? undefined : shape(value, path))
}
function oneOf(...values: ReadonlyArray<string | number>): Shape {
  return (value, path) => demand(values.includes(value as string), path, `not one of ${values.join(', ')}`)
}
function listOf(shape: Shape): Shape {
  return (value, path) => {
    if (!Array.isArray(value)) fail(path, 'not a list')
    for (const [index, element] of value.entries()) shape(element, `${path}[${index}]`)
  }
}
function record(fields: Readonly<Record<string, Shape>>): Shape {
  return (value, path) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) fail(path, 'not an object')
    for (const name of Object.keys(value)) demand(Object.hasOwn(fields, name), `${path}.${name}`, 'unknown')
    for (const [name, shape] of Object.entries(fields)) shape((value as Record<string, unknown>)[name], `${path}.${name}`)
  }
}

const alignment = powerOfTwo(1, ALIGNMENT_BYTES_MAX)
const errorPolicy = oneOf('report', 'ignore', 'stop', 'enospc')
const copyMode = oneOf('background', 'write-blocking')

const rate = integer(0, RATE_MAX)

const extents = listOf(
  record({
    id: identifier,
    offsetBytes: count,
    lengthBytes: integer(1),
    content: oneOf('data', 'zero', 'compressed', 'hole'),
  }),
)

const diskShape = record({
  lengthBytes: integer(SECTOR_BYTES, DISK_BYTES_MAX),
  requestAlignmentBytes: alignment,
  maxTransferBytes: count,
  maxWriteZeroesBytes: count,
  writeZeroesAlignmentBytes: zeroOr(alignment),
  maxDiscardBytes: count,
  discardAlignmentBytes: zeroOr(alignment),
  allocationUnitBytes: integer(SECTOR_BYTES),
  writeZeroes: oneOf('none', 'allocating', 'unmapping'),
  discard: oneOf('none', 'reads-zero', 'reads-old', 'reads-garbage'),
  reportsHoles: flag,
  holesReadZero: flag,
  node: record({ discard: oneOf('ignore', 'unmap'), detectZeroes: oneOf('off', 'on', 'unmap'), readOnly: optional(flag) }),
  latency: record({ minNs: count, stepNs: count, steps: integer(1, 1 << 20) }),
  initial: extents,
  raw: optional(flag),
  throttle: optional(
    record({
      at: oneOf('top', 'file'),
      bytesPerSecond: rate,
      requestsPerSecond: rate,
      burstBytesPerSecond: rate,
      burstRequestsPerSecond: rate,
      joinsSource: flag,
    }),
  ),
  format: optional(
    record({
      kind: oneOf('qcow2'),
      version: oneOf(2, 3),
      clusterBytes: powerOfTwo(512, 1 << 21),
      extendedL2: flag,
      refcountBits: powerOfTwo(1, 64),
      lazyRefcounts: flag,
      discardNoUnref: flag,
      preallocation: oneOf('off', 'metadata', 'falloc', 'full'),
      dataFile: oneOf('none', 'external', 'raw'),
      backing: optional(
        record({
          format: oneOf('raw', 'qcow2'),
          lengthBytes: integer(SECTOR_BYTES, DISK_BYTES_MAX),
          initial: extents,
          isDetached: flag,
        }),
      ),
    }),
  ),
})

const guestShape = record({
  id: identifier,
  kind: oneOf('read', 'write', 'write-zeroes', 'discard', 'flush', 'get-id'),
  lane: integer(0, LANES_MAX - 1),
  offsetBytes: count,
  lengthBytes: count,
  thinkNs: count,
  unmap: optional(flag),
  zeroData: optional(flag),
})

/** What each kind of control operation has beside `id`, `when` and `kind`. */
const CONTROL_FIELDS: Readonly<Record<ControlOperation['kind'], Readonly<Record<string, Shape>>>> = {
  'mirror-start': {},
  pause: {},
  resume: {},
  'set-speed': { speedBytesPerSecond: count },
  'change-copy-mode': { copyMode },
  complete: {},
  cancel: { force: flag },
  finalize: {},
  dismiss: {},
  drain: { durationNs: count },
  'device-reset': {},
  resize: {},
  'link-backing': { disk: oneOf('source', 'destination') },
  'power-cut': {},
}

const moment: Shape = (value, path) => {
  if (typeof value === 'string')
    return oneOf('start', 'mirror-started', 'ready', 'guest-done', 'ending', 'concluded')(value, path)
  const isControl = typeof value === 'object' && value !== null && 'controlDone' in value
  record(isControl ? { controlDone: identifier } : { operationDone: identifier })(value, path)
}

const controlShape: Shape = (value, path) => {
  if (typeof value !== 'object' || value === null) fail(path, 'not an object')
  const kind = 'kind' in value ? value.kind : undefined
  oneOf(...Object.keys(CONTROL_FIELDS))(kind, `${path}.kind`)
  const fields = CONTROL_FIELDS[kind as ControlOperation['kind']]
  record({ id: identifier, when: record({ on: moment, afterNs: count }), kind: text, ...fields })(value, path)
}

const settings: Shape = (value, path) => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) fail(path, 'not an object')
  for (const [name, number] of Object.entries(value)) demand(Number.isSafeInteger(number), `${path}.${name}`, 'not an integer')
}

const occasion: Readonly<Record<string, Shape>> = {
  id: identifier,
  disk: oneOf('source', 'destination'),
  operation: oneOf('read', 'write', 'write-zeroes', 'discard', 'flush', 'status'),
  offsetBytes: count,
  lengthBytes: count,
  skip: count,
  times: count,
}

/** What each kind of fault has beside what all occasions have. */
const FAULT_FIELDS: Readonly<Record<FaultPlan['kind'], Readonly<Record<string, Shape>>>> = {
  error: { errno: oneOf('EIO', 'ENOSPC'), torn: optional(flag) },
  'misdirected-write': { byBytes: integer(SECTOR_BYTES) },
  'short-transfer': {},
  'memory-pressure': {},
  'lost-write': {},
  'stale-read': {},
  'bit-rot': {},
  'lying-flush': {},
  own: { name: identifier, promise: oneOf('survived', 'reported', 'silent'), settings: optional(settings) },
}

const faultShape: Shape = (value, path) => {
  if (typeof value !== 'object' || value === null) fail(path, 'not an object')
  const kind = 'kind' in value ? value.kind : undefined
  oneOf(...Object.keys(FAULT_FIELDS))(kind, `${path}.kind`)
  record({ ...occasion, kind: text, ...FAULT_FIELDS[kind as FaultPlan['kind']] })(value, path)
}

const scheduleShape: Shape = (value, path) => {
  const isDeep = typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'pct'
  if (isDeep) record({ kind: text, depth: integer(1, SCHEDULE_DEPTH_MAX) })(value, path)
  else record({ kind: oneOf('latency', 'uniform', 'pct', 'pos', 'few') })(value, path)
}

const linkShape = record({ capacityBytes: integer(1), stepNs: count, steps: count, isCut: flag })
const planShape = record({
  format: oneOf('mirrorsim-plan'),
  version: oneOf(1, 2, 3, 4, 5, 6),
  seed: text,
  profile: text,
  device: record({
    queueCount: integer(1, QUEUES_MAX),
    queueSize: powerOfTwo(2, QUEUE_SIZE_MAX),
    blockBytes: oneOf(512, 4096),
    indirect: flag,
    eventIndex: flag,
    segmentsMax: integer(1, SEGMENTS_MAX),
    writeCache: flag,
  }),
  source: diskShape,
  destination: diskShape,
  mirror: record({
    sync: oneOf('full', 'top', 'none'),
    copyMode,
    granularityBytes: count,
    bufferBytes: count,
    speedBytesPerSecond: count,
    unmap: flag,
    targetIsZero: flag,
    onSourceError: errorPolicy,
    onTargetError: errorPolicy,
    autoFinalize: flag,
    replaces: optional(text),
  }),
  guest: listOf(guestShape),
  control: listOf(controlShape),
  damage: optional(
    listOf(
      record({
        id: identifier,
        target: oneOf(
          ...(['header', 'extensions', 'l1', 'l2', 'refcount-table', 'refcount-block', 'snapshots', 'snapshot-l1'] as const),
          ...(['bitmaps', 'bitmap-table', 'anywhere', 'length'] as const),
        ),
        index: count,
        widthBytes: oneOf(1, 2, 4, 8),
        value: (value, path) =>
          demand(
            typeof value === 'string' && /^[0-9a-f]{1,16}$/.test(value),
            path,
            'not a number of up to 16 hexadecimal digits',
          ),
      }),
    ),
  ),
  damageUse: optional(
    record({
      snapshots: count,
      bitmaps: count,
      check: oneOf('skip', 'none', 'leaks', 'all'),
      snapshotUse: oneOf('none', 'create', 'apply', 'delete', 'show'),
      bitmapUse: oneOf('none', 'add', 'remove'),
    }),
  ),
  job: optional(
    record({
      kind: oneOf('commit', 'active-commit', 'stream', 'backup'),
      sync: oneOf('full', 'top', 'none'),
      onError: errorPolicy,
      speedBytesPerSecond: count,
      autoFinalize: flag,
      overlay: optional(record({ longerBytes: count, keepsBase: flag })),
    }),
  ),
  monitor: optional(
    record({
      users: listOf(
        record({
          id: identifier,
          leavesAfter: optional(count),
          commands: listOf(
            record({ id: identifier, afterNs: count, isPatient: flag, text, expects: oneOf('return', 'error', 'any') }),
          ),
        }),
      ),
      link: linkShape,
    }),
  ),
  nbd: optional(
    record({
      clients: listOf(
        record({
          lane: count,
          headers: oneOf('simple', 'structured', 'extended'),
          allocation: flag,
          depth: integer(1),
          fua: flag,
          fastZero: flag,
          oddities: listOf(
            record({
              id: identifier,
              before: count,
              kind: oneOf('magic', 'write-beyond', 'read-beyond', 'command', 'flags', 'read-too-long'),
            }),
          ),
        }),
      ),
      link: linkShape,
      cuts: listOf(
        record({
          id: identifier,
          link: (value, path) => (value === 'target' ? undefined : count(value, path)),
          afterNs: count,
          downNs: count,
        }),
      ),
      reconnectDelaySeconds: count,
    }),
  ),
  faults: listOf(faultShape),
  stalls: optional(listOf(record({ ...occasion, delayNs: count }))),
  schedule: optional(scheduleShape),
  bounds: record({ eventsMax: integer(1), timeMaxNs: integer(1) }),
})

// ------------------------------------------------------------------------------------------------- what fits what else

const LONGER_BYTES_MAX = 16 * 1024 * 1024

function checkJob({ source, version }: Plan, { kind, overlay }: JobPlan): void {
  demand(source.format?.backing !== undefined, 'plan.job', 'the source has no image below it')
  if (overlay === undefined) return
  const { longerBytes, keepsBase } = overlay
  const isLength = longerBytes % SECTOR_BYTES === 0 && longerBytes <= LONGER_BYTES_MAX
  demand(version >= 5, 'plan.version', 'overlays of jobs came with version 5')
  demand(kind !== 'backup', 'plan.job.overlay', 'a backup has none')
  demand(isLength, 'plan.job.overlay.longerBytes', `not whole sectors up to ${LONGER_BYTES_MAX}`)
  demand(!keepsBase || kind === 'stream', 'plan.job.overlay.keepsBase', 'only a stream can leave a layer below')
}

function checkWhole(plan: Plan, own: readonly OwnFault[]): void {
  if (plan.damage !== undefined)
    demand(plan.source.format !== undefined, 'plan.damage', 'only an image can be damaged: the source has no format')
  if (plan.job !== undefined) checkJob(plan, plan.job)
  if (plan.nbd !== undefined || plan.monitor !== undefined)
    demand(
      plan.source.format === undefined && plan.destination.format === undefined,
      'plan.source.format',
      'the disks must be plain',
    )
  demand(plan.damageUse === undefined || plan.damage !== undefined, 'plan.damageUse', 'no image is damaged')
  const { device, source, destination, guest, control } = plan
  checkDisk(source, 'plan.source')
  checkDisk(destination, 'plan.destination')
  demand(source.lengthBytes % device.blockBytes === 0, 'plan.source.lengthBytes', 'not a multiple of the blocks of the device')
  const descriptors = device.indirect ? 1 : device.segmentsMax + 2
  demand(descriptors <= device.queueSize, 'plan.device.queueSize', `a request takes ${descriptors} descriptors`)
  for (const [index, operation] of guest.entries()) checkGuest(operation, plan, `plan.guest[${index}]`)
  checkFormats(plan)
  demand(plan.version >= 4 || plan.schedule === undefined, 'plan.version', 'schedules came with version 4')
  for (const [index, fault] of plan.faults.entries()) checkFault(fault, plan, `plan.faults[${index}]`, own)
  checkIds(plan)
  const guestIds = new Set(guest.map(({ id }) => id))
  const controlIds = new Set(control.map(({ id }) => id))
  for (const [index, { when }] of control.entries()) {
    const { on } = when
    if (typeof on === 'string') continue
    const isKnown = 'controlDone' in on ? controlIds.has(on.controlDone) : guestIds.has(on.operationDone)
    demand(isKnown, `plan.control[${index}].when.on`, 'nothing in the plan has that id')
  }
}

function checkDisk(disk: DiskPlan, path: string): void {
  const { lengthBytes, requestAlignmentBytes, node } = disk
  const isMultiple = (bytes: number, unitBytes: number, name: string): void =>
    demand(bytes % unitBytes === 0, `${path}.${name}`, `not a multiple of ${unitBytes}`)
  isMultiple(lengthBytes, disk.format === undefined ? Math.max(requestAlignmentBytes, SECTOR_BYTES) : SECTOR_BYTES, 'lengthBytes')
  isMultiple(disk.maxTransferBytes, requestAlignmentBytes, 'maxTransferBytes')
  isMultiple(disk.allocationUnitBytes, SECTOR_BYTES, 'allocationUnitBytes')
  isMultiple(disk.maxWriteZeroesBytes, Math.max(disk.writeZeroesAlignmentBytes, requestAlignmentBytes), 'maxWriteZeroesBytes')
  isMultiple(disk.maxDiscardBytes, Math.max(disk.discardAlignmentBytes, requestAlignmentBytes), 'maxDiscardBytes')
  for (const name of ['writeZeroesAlignmentBytes', 'discardAlignmentBytes'] as const)
    demand(disk[name] === 0 || disk[name] >= requestAlignmentBytes, `${path}.${name}`, 'less than requestAlignmentBytes')
  const contradicts = node.detectZeroes === 'unmap' && node.discard === 'ignore'
  demand(!contradicts, `${path}.node.detectZeroes`, 'unmap needs discard: unmap')
  checkExtents(disk.initial, lengthBytes, `${path}.initial`)
  if (disk.format === undefined) checkPlainExtents(disk.initial, `${path}.initial`)
  else checkFormat(disk, disk.format, path)
  demand(disk.raw !== true || disk.format === undefined, `${path}.raw`, 'the disk has another format')
  if (disk.throttle !== undefined) checkThrottle(disk.throttle, disk.format !== undefined, `${path}.throttle`)
}

function checkThrottle(throttle: ThrottlePlan, hasFile: boolean, path: string): void {
  demand(throttle.at === 'top' || hasFile, `${path}.at`, 'a plain disk has no file')
  for (const [name, burst] of [
    ['bytesPerSecond', 'burstBytesPerSecond'],
    ['requestsPerSecond', 'burstRequestsPerSecond'],
  ] as const) {
    const isBurst = throttle[burst] === 0 || (throttle[name] > 0 && throttle[burst] >= throttle[name])
    demand(isBurst, `${path}.${burst}`, `less than ${name}, or without it`)
  }
}

function checkExtents(initial: readonly InitialExtent[], endBytes: number, path: string): void {
  for (const [index, { offsetBytes, lengthBytes }] of initial.entries()) {
    demand(offsetBytes % SECTOR_BYTES === 0, `${path}[${index}].offsetBytes`, `not a multiple of ${SECTOR_BYTES}`)
    demand(lengthBytes % SECTOR_BYTES === 0, `${path}[${index}].lengthBytes`, `not a multiple of ${SECTOR_BYTES}`)
    demand(offsetBytes + lengthBytes <= endBytes, `${path}[${index}]`, 'reaches beyond the end of the disk')
  }
}

function checkPlainExtents(initial: readonly InitialExtent[], path: string): void {
  for (const [index, { content }] of initial.entries()) {
    demand(content === 'data' || content === 'zero', `${path}[${index}].content`, `"${content}" needs an image`)
  }
}

/** What the format itself forbids. */
function checkFormat({ initial }: DiskPlan, format: FormatPlan, diskPath: string): void {
  const path = `${diskPath}.format`
  const { version, clusterBytes, extendedL2, refcountBits, lazyRefcounts, dataFile, preallocation, backing } = format
  if (version === 2) {
    demand(!extendedL2 && !lazyRefcounts && dataFile === 'none' && refcountBits === 16, path, 'has what version 2 does not know')
    const hole = initial.findIndex(({ content }) => content === 'hole')
    demand(hole < 0, `${diskPath}.initial[${hole}].content`, '"hole" needs version 3')
  }
  demand(!extendedL2 || clusterBytes >= 16384, `${path}.clusterBytes`, 'less than 16384 with extendedL2')
  const compressed = dataFile === 'none' ? -1 : initial.findIndex(({ content }) => content === 'compressed')
  demand(compressed < 0, `${diskPath}.initial[${compressed}].content`, '"compressed" goes into the image, and the data does not')
  if (backing === undefined) return
  demand(dataFile !== 'raw', `${path}.backing`, 'a raw data file shows what a guest sees, without anything below')
  demand(preallocation === 'off' || extendedL2, `${path}.preallocation`, 'hides the backing image, except with extendedL2')
  demand(backing.lengthBytes % SECTOR_BYTES === 0, `${path}.backing.lengthBytes`, `not a multiple of ${SECTOR_BYTES}`)
  checkExtents(backing.initial, backing.lengthBytes, `${path}.backing.initial`)
  if (backing.format === 'raw') checkPlainExtents(backing.initial, `${path}.backing.initial`)
}

/** What the formats of both disks, the mirror and the operator must agree on. */
function checkFormats({ version, source, destination, mirror, control, stalls }: Plan): void {
  const isNew = version >= 3
  demand(isNew || (source.throttle ?? destination.throttle) === undefined, 'plan.version', 'throttles came with version 3')
  demand(isNew || stalls === undefined, 'plan.version', 'stalls came with version 3')
  demand(source.throttle?.joinsSource !== true, 'plan.source.throttle.joinsSource', 'only a destination can do so')
  const isOld = version === 1
  demand(!isOld || (source.format ?? destination.format) === undefined, 'plan.version', 'formats came with version 2')
  demand(
    source.format?.backing?.isDetached !== true,
    'plan.source.format.backing.isDetached',
    'only a destination can do without',
  )
  const below = source.format?.backing
  const backing = destination.format?.backing
  if (mirror.sync === 'top' && below !== undefined) {
    const isSame = backing !== undefined && sameImage(below, backing)
    demand(isSame, 'plan.mirror.sync', 'top copies one layer: the destination needs the backing image of the source')
    demand(destination.initial.length === 0, 'plan.destination.initial', 'would show where sync=top copies nothing')
  }
  for (const [index, operation] of control.entries()) {
    if (operation.kind !== 'link-backing') continue
    demand(isNew, 'plan.version', 'link-backing came with version 3')
    const isThere = (operation.disk === 'source' ? below : backing) !== undefined
    demand(isThere, `plan.control[${index}].disk`, 'has no image below')
  }
  if (backing?.isDetached !== true) return
  const attaching = new Set(control.filter((operation) => isAttaching(operation)).map(({ id }) => id))
  const early = control.findIndex(({ kind, when: { on } }) => {
    return kind === 'complete' && !(typeof on === 'object' && 'controlDone' in on && attaching.has(on.controlDone))
  })
  demand(early < 0, `plan.control[${early}]`, 'would put the guest on a destination without its backing image')
}

/** Faults other than errors came with version 4, and most of them hit bytes of the disk itself, not those of a file. */
function checkFault(fault: FaultPlan, plan: Plan, path: string, own: readonly OwnFault[]): void {
  if (fault.kind === 'error') return
  const isWorld = plan.job === undefined && plan.nbd === undefined && plan.monitor === undefined && plan.damage === undefined
  if (fault.kind === 'own') {
    checkOwnFault(fault, plan, path, own)
    demand(isWorld, path, 'only worlds of mirrors know faults from outside')
    return
  }
  demand(plan.version >= 4, 'plan.version', `${fault.kind} came with version 4`)
  const { operations } = faultOf(fault)
  demand(operations.includes(fault.operation), `${path}.operation`, `not one of ${operations.join(', ')}`)
  if (fault.kind === 'short-transfer') return
  demand(plan[fault.disk].format === undefined, `${path}.disk`, 'has a format: only a plain disk can meet this')
  if (fault.kind === 'misdirected-write') demand(fault.byBytes % SECTOR_BYTES === 0, `${path}.byBytes`, 'not a multiple of 512')
  demand(isWorld || fault.kind === 'memory-pressure', path, 'nobody but the worlds of mirrors can tell what it has hit')
}

/** What the entry says of a fault that is brought along is what the fault says. */
function checkOwnFault(entry: OwnFaultPlan, plan: Plan, path: string, own: readonly OwnFault[]): void {
  const { name, promise, operation, disk } = entry
  demand(plan.version >= 6, 'plan.version', 'faults from outside came with version 6')
  const fault = own.find((one) => one.name === name)
  if (fault === undefined)
    fail(`${path}.name`, `${name} is a fault from outside, and is not here: run the plan where it is known`)
  demand(fault.promise === promise, `${path}.promise`, `${name} says ${fault.promise}`)
  demand(fault.operations.includes(operation), `${path}.operation`, `not one of ${fault.operations.join(', ')}`)
  const isPlain = promise !== 'silent' || plan[disk].format === undefined
  demand(isPlain, `${path}.disk`, 'has a format: only a plain disk can meet a silent fault')
}

function isAttaching(operation: ControlOperation): boolean {
  return operation.kind === 'link-backing' && operation.disk === 'destination'
}

function sameImage(left: BackingPlan, right: BackingPlan): boolean {
  return JSON.stringify({ ...left, isDetached: false }) === JSON.stringify({ ...right, isDetached: false })
}

function checkGuest(operation: GuestOperation, plan: Plan, path: string): void {
  const { kind, offsetBytes, lengthBytes } = operation
  const { blockBytes } = plan.device
  if (kind === 'flush' || kind === 'get-id') {
    demand(offsetBytes === 0, `${path}.offsetBytes`, `not 0 for ${kind}`)
    demand(lengthBytes === 0, `${path}.lengthBytes`, `not 0 for ${kind}`)
    return
  }
  demand(offsetBytes % blockBytes === 0, `${path}.offsetBytes`, `not a multiple of ${blockBytes}`)
  demand(lengthBytes > 0 && lengthBytes % blockBytes === 0, `${path}.lengthBytes`, `not a positive multiple of ${blockBytes}`)
  demand(offsetBytes + lengthBytes <= plan.source.lengthBytes, path, 'reaches beyond the end of the disk')
}

function checkIds({ guest, control, faults, stalls = [], source, destination }: Plan): void {
  const seen = new Set<string>()
  const lists = {
    guest,
    control,
    faults,
    stalls,
    'source.initial': source.initial,
    'destination.initial': destination.initial,
    'source.format.backing.initial': source.format?.backing?.initial ?? [],
    // An image that both disks share has the same content twice.
    'destination.format.backing.initial': ownBelow(source, destination),
  }
  for (const [name, list] of Object.entries(lists)) {
    for (const [index, { id }] of list.entries()) {
      demand(!seen.has(id), `plan.${name}[${index}].id`, 'occurs twice in the plan')
      seen.add(id)
    }
  }
}

function ownBelow(source: DiskPlan, destination: DiskPlan): InitialExtent[] {
  const below = source.format?.backing
  const backing = destination.format?.backing
  if (backing === undefined || (below !== undefined && sameImage(below, backing))) return []
  return backing.initial
}
