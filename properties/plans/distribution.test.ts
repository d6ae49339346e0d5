/** The mixture as it comes out: shares of 2,000 plans, each within a band, so that a change of a number shows what it did. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Plan, ThrottlePlan } from '../../sim/plan'
import { planOfSeed } from '.'

const PLANS = 2000
const KiB = 1024

function sample(profile: 'default' | 'faults'): Plan[] {
  return Array.from({ length: PLANS }, (_, index) => planOfSeed(`distribution.${index}`, profile))
}

const plans = sample('default')
const operations = plans.flatMap((plan) => plan.guest.map((operation) => ({ plan, operation })))
const controls = plans.flatMap(({ control }) => control)

/** A share in percent, one decimal. */
function share<T>(list: readonly T[], has: (element: T) => boolean): number {
  return Math.round((list.filter(has).length / list.length) * 1000) / 10
}

type Band = readonly [least: number, most: number]

function within(what: string, value: number, [least, most]: Band): void {
  assert.ok(value >= least && value <= most, `${what}: ${value} is not within ${least} and ${most}`)
}

/** Every value named occurs with a share in its band, and no other value occurs. */
function shares<T, V extends string | number | boolean>(
  what: string,
  list: readonly T[],
  read: (element: T) => V,
  bands: ReadonlyArray<readonly [V, Band]>,
): void {
  for (const [value, band] of bands)
    within(
      `${what} ${value}`,
      share(list, (element) => read(element) === value),
      band,
    )
  const named = new Set(bands.map(([value]) => value))
  const other = list.find((element) => !named.has(read(element)))
  assert.is(other, undefined, `${what}: a value that no band names`)
}

const granularityOf = ({ mirror }: Plan): number => (mirror.granularityBytes === 0 ? 64 * KiB : mirror.granularityBytes)
const average = (list: readonly number[]): number => list.reduce((sum, value) => sum + value, 0) / list.length

test('styles are mixed as the table says', () => {
  shares('style', plans, ({ profile }) => profile, [
    ['default/uniform', [46, 54]],
    ['default/swarm', [36, 44]],
    ['default/extreme', [8, 12]],
  ])
})

test('disks are small, and most of them end inside a chunk', () => {
  within('mean length in KiB', average(plans.map(({ source }) => source.lengthBytes / KiB)), [80, 150])
  within(
    'shorter than 32 KiB',
    share(plans, ({ source }) => source.lengthBytes < 32 * KiB),
    [0, 0],
  )
  within(
    'longer than 1 MiB',
    share(plans, ({ source }) => source.lengthBytes > 1024 * KiB),
    [0, 0],
  )
  within(
    'short tail',
    share(plans, (plan) => plan.source.lengthBytes % granularityOf(plan) !== 0),
    [30, 55],
  )
  within(
    'one chunk',
    share(plans, (plan) => plan.source.lengthBytes <= granularityOf(plan)),
    [1, 8],
  )
  within(
    'more than 64 chunks',
    share(plans, (plan) => plan.source.lengthBytes > 64 * granularityOf(plan)),
    [4, 20],
  )
})

test('every granularity occurs', () => {
  shares('granularity', plans, ({ mirror }) => mirror.granularityBytes, [
    [512, [12, 20]],
    [1 * KiB, [6, 13]],
    [2 * KiB, [6, 13]],
    [4 * KiB, [22, 34]],
    [8 * KiB, [7, 15]],
    [16 * KiB, [7, 15]],
    [32 * KiB, [3, 9]],
    [64 * KiB, [4, 11]],
    [0, [2, 7]],
  ])
})

test('the mirror runs in every mode', () => {
  shares('sync', plans, ({ mirror }) => mirror.sync, [
    ['full', [82, 90]],
    ['top', [4, 10]],
    ['none', [4, 10]],
  ])
  shares('copy mode', plans, ({ mirror }) => mirror.copyMode, [
    ['write-blocking', [56, 66]],
    ['background', [34, 44]],
  ])
  for (const [what, errors] of [['source', 'onSourceError'] as const, ['target', 'onTargetError'] as const]) {
    shares(`policy for ${what} errors`, plans, ({ mirror }) => mirror[errors], [
      ['report', [33, 44]],
      ['ignore', [16, 25]],
      ['stop', [16, 25]],
      ['enospc', [16, 25]],
    ])
  }
  within(
    'speed limit',
    share(plans, ({ mirror }) => mirror.speedBytesPerSecond > 0),
    [12, 22],
  )
  within(
    'unmap',
    share(plans, ({ mirror }) => mirror.unmap),
    [80, 90],
  )
  within(
    'target is zero',
    share(plans, ({ mirror }) => mirror.targetIsZero),
    [15, 30],
  )
  within(
    'one chunk of buffer',
    share(plans, (plan) => plan.mirror.bufferBytes === granularityOf(plan)),
    [8, 25],
  )
  within(
    'default buffer',
    share(plans, ({ mirror }) => mirror.bufferBytes === 0),
    [8, 18],
  )
  within(
    'finalised by hand',
    share(plans, ({ mirror }) => !mirror.autoFinalize),
    [7, 13],
  )
})

test('disks have all capabilities and lack all of them', () => {
  for (const name of ['source', 'destination'] as const) {
    const disks = plans.map((plan) => plan[name])
    shares(`${name} writeZeroes`, disks, ({ writeZeroes }) => writeZeroes, [
      ['unmapping', [54, 66]],
      ['allocating', [19, 28]],
      ['none', [12, 21]],
    ])
    shares(`${name} discard`, disks, ({ discard }) => discard, [
      ['reads-zero', [42, 52]],
      ['reads-old', [12, 20]],
      ['reads-garbage', [8, 15]],
      ['none', [21, 30]],
    ])
    shares(`${name} discard option`, disks, ({ node }) => node.discard, [
      ['unmap', [73, 83]],
      ['ignore', [17, 27]],
    ])
    shares(`${name} detect-zeroes`, disks, ({ node }) => node.detectZeroes, [
      ['off', [56, 67]],
      ['on', [14, 26]],
      ['unmap', [14, 25]],
    ])
    shares(`${name} allocation unit`, disks, ({ allocationUnitBytes }) => allocationUnitBytes, [
      [512, [20, 31]],
      [4 * KiB, [36, 47]],
      [16 * KiB, [14, 23]],
      [64 * KiB, [10, 20]],
    ])
    shares(`${name} request alignment`, disks, ({ requestAlignmentBytes }) => requestAlignmentBytes, [
      [1, [20, 30]],
      [512, [50, 63]],
      [4 * KiB, [14, 23]],
    ])
    within(
      `${name} short transfers`,
      share(disks, ({ maxTransferBytes }) => maxTransferBytes > 0),
      [19, 30],
    )
    within(
      `${name} holes reported`,
      share(disks, ({ reportsHoles }) => reportsHoles),
      [78, 86],
    )
    within(
      `${name} holes zero`,
      share(disks, ({ holesReadZero }) => holesReadZero),
      [84, 92],
    )
    within(
      `${name} empty`,
      share(disks, ({ initial }) => initial.length === 0),
      [8, 65],
    )
    within(
      `${name} zero extents`,
      share(disks, ({ initial }) => initial.some(({ content }) => content === 'zero')),
      [12, 45],
    )
    within(
      `${name} all at once`,
      share(disks, ({ latency }) => latency.minNs + latency.stepNs === 0),
      [6, 14],
    )
  }
})

test('the device is set up in every way', () => {
  const devices = plans.map(({ device }) => device)
  within(
    'blocks of 4 KiB',
    share(devices, ({ blockBytes }) => blockBytes === 4 * KiB),
    [18, 28],
  )
  within(
    'one queue',
    share(devices, ({ queueCount }) => queueCount === 1),
    [62, 72],
  )
  within(
    'rings of 8',
    share(devices, ({ queueSize }) => queueSize === 8),
    [10, 19],
  )
  within(
    'indirect',
    share(devices, ({ indirect }) => indirect),
    [45, 55],
  )
  within(
    'event index',
    share(devices, ({ eventIndex }) => eventIndex),
    [45, 55],
  )
  within(
    'one segment',
    share(devices, ({ segmentsMax }) => segmentsMax === 1),
    [36, 47],
  )
  within(
    'write cache',
    share(devices, ({ writeCache }) => writeCache),
    [75, 85],
  )
})

test('guests are busy with everything', () => {
  within('operations', average(plans.map(({ guest }) => guest.length)), [33, 43])
  shares('kind', operations, ({ operation }) => operation.kind, [
    ['write', [36, 48]],
    ['write-zeroes', [18, 27]],
    ['discard', [9, 18]],
    ['read', [10, 19]],
    ['flush', [4, 11]],
    ['get-id', [0.4, 3]],
  ])
  const zeroing = operations.filter(({ operation }) => operation.kind === 'write-zeroes')
  within(
    'zeroing may unmap',
    share(zeroing, ({ operation }) => operation.unmap === true),
    [55, 65],
  )
  const writes = operations.filter(({ operation }) => operation.kind === 'write')
  within(
    'writes of zeroes',
    share(writes, ({ operation }) => operation.zeroData === true),
    [12, 18],
  )
  within(
    'waits',
    share(operations, ({ operation }) => operation.thinkNs > 0),
    [22, 42],
  )
  within(
    'queue depth above 4',
    share(plans, ({ guest }) => guest.some(({ lane }) => lane >= 4)),
    [20, 40],
  )
})

test('operations hit chunks in part, in full, over their boundaries, at the end, and again and again', () => {
  const ranged = operations.filter(({ operation }) => operation.lengthBytes > 0)
  const chunksOf = ({ plan, operation }: (typeof ranged)[number]): number => {
    const size = granularityOf(plan)
    return Math.floor((operation.offsetBytes + operation.lengthBytes - 1) / size) - Math.floor(operation.offsetBytes / size)
  }
  within(
    'inside one chunk',
    share(ranged, (entry) => chunksOf(entry) === 0),
    [38, 62],
  )
  within(
    'over a boundary',
    share(ranged, (entry) => chunksOf(entry) > 0),
    [38, 62],
  )
  const isAligned = ({ plan, operation }: (typeof ranged)[number]): boolean =>
    operation.offsetBytes % granularityOf(plan) === 0 && operation.lengthBytes % granularityOf(plan) === 0
  within('whole chunks', share(ranged, isAligned), [30, 48])
  const isAtEnd = ({ plan, operation }: (typeof ranged)[number]): boolean =>
    operation.offsetBytes + operation.lengthBytes === plan.source.lengthBytes
  within('at the end', share(ranged, isAtEnd), [15, 35])
  const hasHotSpot = (plan: Plan): boolean => {
    const kinds = new Map<number, Set<string>>()
    for (const { kind, offsetBytes } of plan.guest) {
      const chunk = Math.floor(offsetBytes / granularityOf(plan))
      kinds.set(chunk, (kinds.get(chunk) ?? new Set()).add(kind))
    }
    return [...kinds.values()].some((seen) => seen.has('write') && seen.has('write-zeroes') && seen.has('discard'))
  }
  within('a chunk written, zeroed and discarded', share(plans, hasHotSpot), [38, 65])
})

test('some mirrors are refused, and some have little to do', () => {
  shares('replaces', plans, ({ mirror }) => mirror.replaces ?? 'the source', [
    ['the source', [88, 96]],
    ['source', [3, 9]],
    ['destination', [0.5, 3]],
    ['nowhere', [0.5, 3]],
  ])
  within(
    'read-only',
    share(plans, ({ source }) => source.node.readOnly === true),
    [1, 3.5],
  )
  const differs = (sign: number): number =>
    share(plans, ({ source, destination }) => Math.sign(destination.lengthBytes - source.lengthBytes) === sign)
  within('longer destinations', differs(1), [0.2, 1.5])
  within('shorter destinations', differs(-1), [0.1, 1.5])
})

test('the operator does everything, at every moment', () => {
  within('control operations', average(plans.map(({ control }) => control.length)), [3, 5])
  const kinds = new Set(controls.map(({ kind }) => kind))
  for (const kind of [
    'pause',
    'resume',
    'set-speed',
    'change-copy-mode',
    'complete',
    'drain',
    'device-reset',
    'resize',
  ] as const) {
    assert.ok(kinds.has(kind), kind)
    within(
      `worlds with ${kind}`,
      share(plans, ({ control }) => control.some((operation) => operation.kind === kind)),
      [9, 45],
    )
  }
  for (const kind of ['finalize', 'dismiss'] as const) {
    within(
      `worlds with ${kind}`,
      share(plans, ({ control }) => control.some((operation) => operation.kind === kind)),
      [4, 15],
    )
  }
  const cancels = (isForced: boolean): number =>
    share(plans, ({ control }) => control.some((operation) => operation.kind === 'cancel' && operation.force === isForced))
  within('forced cancels', cancels(true), [5, 11])
  within('soft cancels', cancels(false), [7, 13])
  const moments = new Set(controls.map(({ when: { on } }) => (typeof on === 'string' ? on : Object.keys(on)[0])))
  assert.equal([...moments].sort(), [
    'concluded',
    'controlDone',
    'ending',
    'guest-done',
    'mirror-started',
    'operationDone',
    'ready',
    'start',
  ])
  within(
    'a second mirror',
    share(plans, ({ control }) => control.filter(({ kind }) => kind === 'mirror-start').length === 2),
    [2, 7],
  )
  const isLate = ({ control }: Plan): boolean => control[0]!.when.on !== 'start'
  within('mirror starts late', share(plans, isLate), [18, 30])
})

test('disk errors are of every kind, in some worlds of the default profile and all of another', () => {
  within(
    'faulty worlds',
    share(plans, ({ faults }) => faults.length > 0),
    [9, 15],
  )
  const faults = sample('faults').flatMap((plan) => plan.faults.flatMap((fault) => (fault.kind === 'error' ? [fault] : [])))
  const sites = new Set(faults.map(({ disk, operation }) => `${disk} ${operation}`))
  assert.is(sites.size, 12)
  within(
    'at the destination',
    share(faults, ({ disk }) => disk === 'destination'),
    [45, 60],
  )
  within(
    'no space',
    share(faults, ({ errno }) => errno === 'ENOSPC'),
    [12, 26],
  )
  within(
    'torn',
    share(faults, ({ torn }) => torn === true),
    [14, 27],
  )
})

test('some disks are throttled, and some requests take long', () => {
  const throttles = plans.flatMap(({ source, destination }) => [source.throttle ?? [], destination.throttle ?? []].flat())
  within('throttled disks', (throttles.length / plans.length) * 100, [5, 14])
  within(
    'both in one group',
    share(plans, ({ destination }) => destination.throttle?.joinsSource === true),
    [0.3, 3],
  )
  for (const [what, has] of [
    ['bytes', ({ bytesPerSecond }) => bytesPerSecond > 0],
    ['requests', ({ requestsPerSecond }) => requestsPerSecond > 0],
    ['bursts', ({ burstBytesPerSecond, burstRequestsPerSecond }) => burstBytesPerSecond + burstRequestsPerSecond > 0],
  ] as ReadonlyArray<readonly [string, (throttle: ThrottlePlan) => boolean]>)
    within(`limits of ${what}`, share(throttles, has), [25, 75])
  within(
    'used through raw',
    share(plans, ({ source, destination }) => source.raw === true || destination.raw === true),
    [10, 21],
  )
  within(
    'stalls',
    share(plans, ({ stalls }) => stalls !== undefined),
    [3, 8],
  )
})

test.run()
