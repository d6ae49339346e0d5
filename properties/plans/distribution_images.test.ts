/** The mixture of images as it comes out, in the profile that has most of everything: shares of 2,000 plans within bands. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { DiskPlan, FormatPlan, InitialExtent, Plan } from '../../sim/plan'
import { planOfSeed } from '.'

const PLANS = 2000
const KiB = 1024
const MiB = 1024 * KiB

const plans = Array.from({ length: PLANS }, (_, index) => planOfSeed(`distribution.${index}`, 'chains'))
const images = plans
  .flatMap(({ source, destination }) => [source, destination])
  .filter((disk): disk is DiskPlan & { format: FormatPlan } => disk.format !== undefined)
const copies = plans.filter(({ destination }) => destination.format !== undefined)

type Band = readonly [least: number, most: number]

/** Shares in percent, each with its band. */
function within<T>(
  list: readonly T[],
  bands: ReadonlyArray<readonly [what: string, band: Band, has: (element: T) => boolean]>,
): void {
  for (const [what, [least, most], has] of bands) {
    const share = (list.filter(has).length / list.length) * 100
    assert.ok(share >= least && share <= most, `${what}: ${share.toFixed(1)} is not within ${least} and ${most}`)
  }
}
function each<V extends string | number>(
  name: string,
  bands: ReadonlyArray<readonly [V, Band]>,
  read: (format: FormatPlan) => V,
): void {
  within(
    images,
    bands.map(([value, band]) => [`${name} ${value}`, band, ({ format }) => read(format) === value] as const),
  )
  const named = new Set(bands.map(([value]) => value))
  assert.is(images.find(({ format }) => !named.has(read(format)))?.format, undefined, `${name}: a value that no band names`)
}
const overlap = (left: InitialExtent, right: InitialExtent): boolean =>
  left.offsetBytes < right.offsetBytes + right.lengthBytes && right.offsetBytes < left.offsetBytes + left.lengthBytes
const isData = ({ content }: InitialExtent): boolean => content === 'data' || content === 'compressed'

test('every pair of formats occurs', () => {
  within(plans, [
    ['plain to image', [25, 45], ({ source, destination }) => source.format === undefined && destination.format !== undefined],
    ['image to plain', [12, 30], ({ source, destination }) => source.format !== undefined && destination.format === undefined],
    ['image to image', [35, 60], ({ source, destination }) => source.format !== undefined && destination.format !== undefined],
  ])
})

test('images are created with every option', () => {
  each(
    'version',
    [
      [2, [10, 20]],
      [3, [80, 90]],
    ],
    ({ version }) => version,
  )
  each(
    'clusters of',
    [
      [512, [8, 18]],
      [1 * KiB, [3, 10]],
      [2 * KiB, [3, 11]],
      [4 * KiB, [17, 30]],
      [8 * KiB, [3, 11]],
      [16 * KiB, [11, 23]],
      [32 * KiB, [3, 11]],
      [64 * KiB, [11, 23]],
      [256 * KiB, [1, 6]],
      [2 * MiB, [0.4, 3]],
    ],
    ({ clusterBytes }) => clusterBytes,
  )
  each(
    'refcounts of',
    [
      [1, [5, 15]],
      [2, [2, 10]],
      [4, [2, 10]],
      [8, [3, 12]],
      [16, [50, 70]],
      [32, [3, 12]],
      [64, [3, 12]],
    ],
    ({ refcountBits }) => refcountBits,
  )
  each(
    'preallocation',
    [
      ['off', [60, 77]],
      ['metadata', [10, 20]],
      ['falloc', [5, 13]],
      ['full', [5, 13]],
    ],
    ({ preallocation }) => preallocation,
  )
  each(
    'data file',
    [
      ['none', [70, 85]],
      ['external', [7, 16]],
      ['raw', [7, 16]],
    ],
    ({ dataFile }) => dataFile,
  )
  within(images, [
    ['extended L2', [10, 22], ({ format }) => format.extendedL2],
    ['lazy refcounts', [12, 23], ({ format }) => format.lazyRefcounts],
    ['discard-no-unref', [7, 17], ({ format }) => format.discardNoUnref],
    ['compressed clusters', [8, 20], ({ initial }) => initial.some(({ content }) => content === 'compressed')],
    ['last cluster is short', [35, 55], ({ lengthBytes, format }) => lengthBytes % format.clusterBytes !== 0],
  ])
})

test('there is something below most images, longer, shorter, hidden and shown', () => {
  within(images, [
    ['an image below', [50, 75], ({ format }) => format.backing !== undefined],
    ['a longer one', [10, 25], ({ format, lengthBytes }) => (format.backing?.lengthBytes ?? 0) > lengthBytes],
    ['a shorter one', [17, 32], ({ format, lengthBytes }) => (format.backing?.lengthBytes ?? lengthBytes) < lengthBytes],
    ['one with a format', [25, 40], ({ format }) => format.backing?.format === 'qcow2'],
    [
      'holes that hide its data',
      [6, 20],
      ({ format, initial }) =>
        initial.some(
          (hole) => hole.content === 'hole' && format.backing?.initial.some((data) => isData(data) && overlap(hole, data)),
        ),
    ],
  ])
  const orders = (plan: Plan, disk: DiskPlan): boolean =>
    plan.control.some((operation) => operation.kind === 'link-backing' && plan[operation.disk] === disk)
  within(plans, [
    ['above a base', [9, 20], ({ mirror, source }) => mirror.sync === 'top' && source.format?.backing !== undefined],
    ['detached', [12, 25], ({ destination }) => destination.format?.backing?.isDetached === true],
    ['replaced below the source', [5, 15], (plan) => orders(plan, plan.source)],
    [
      'replaced below the destination',
      [3, 12],
      (plan) => plan.destination.format?.backing?.isDetached === false && orders(plan, plan.destination),
    ],
    ['attached', [5, 15], (plan) => plan.destination.format?.backing?.isDetached === true && orders(plan, plan.destination)],
  ])
})

test('destinations are empty, preallocated and stale, with chunks smaller and larger than their clusters', () => {
  within(copies, [
    ['preallocated', [20, 40], ({ destination }) => destination.format!.preallocation !== 'off'],
    ['stale', [18, 40], ({ destination }) => destination.initial.some(isData)],
    ['extended L2', [10, 22], ({ destination }) => destination.format!.extendedL2],
    [
      'chunks smaller than clusters',
      [30, 50],
      ({ mirror, destination }) => mirror.granularityBytes > 0 && mirror.granularityBytes < destination.format!.clusterBytes,
    ],
    [
      'chunks larger than clusters',
      [25, 50],
      ({ mirror, destination }) => mirror.granularityBytes > destination.format!.clusterBytes,
    ],
    ['chunks of 64 MiB', [1, 5], ({ mirror }) => mirror.granularityBytes === 64 * MiB],
    ['the default', [7, 16], ({ mirror }) => mirror.granularityBytes === 0],
    [
      'parts of clusters above what comes later',
      [5, 15],
      ({ mirror, destination: { format } }) =>
        format?.backing?.isDetached === true && mirror.granularityBytes > 0 && mirror.granularityBytes < format.clusterBytes,
    ],
    ['throttled below the image', [1, 6], ({ destination }) => destination.throttle?.at === 'file'],
  ])
})

test.run()
