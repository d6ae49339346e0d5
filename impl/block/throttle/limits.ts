/**
 * The limits of a throttle group by their names in QMP (`limits` of the object throttle-group), what combinations of them
 * make sense, and QEMU's texts for those that do not.
 */
import { assert } from '../../co'
import { BlockError } from '../error'
import { RATE_MAX } from './bucket'

export const BUCKET_NAMES = ['bps-total', 'bps-read', 'bps-write', 'iops-total', 'iops-read', 'iops-write'] as const
export type BucketName = (typeof BUCKET_NAMES)[number]
export type LimitName = BucketName | `${BucketName}-max` | `${BucketName}-max-length` | 'iops-size'

/** Rates per second, lengths of bursts in seconds, `iops-size` in bytes. 0 is no limit; lengths are 1 if absent. */
export type ThrottleLimits = Partial<Record<LimitName, number>>

/** In QEMU's order. */
export const LIMIT_NAMES: readonly LimitName[] = [
  ...BUCKET_NAMES.flatMap((name) => [name, `${name}-max`, `${name}-max-length`] as const),
  'iops-size',
]
const LENGTH_MAX_SECONDS = 2 ** 32 - 1
const QOM_PREFIX = 'x-'

/** Every limit with its value, defaults included. */
export function completeLimits(limits: ThrottleLimits): Record<LimitName, number> {
  const complete = {} as Record<LimitName, number>
  for (const name of LIMIT_NAMES) complete[name] = limits[name] ?? (isLength(name) ? 1 : 0)
  assert(Object.keys(complete).length === LIMIT_NAMES.length, 'limits-complete')
  return complete
}

function isLength(name: LimitName): boolean {
  return name.endsWith('-max-length')
}

/** Throws BlockError for limits that exclude each other or are out of range. */
export function checkLimits(limits: ThrottleLimits): void {
  const all = completeLimits(limits)
  for (const name of LIMIT_NAMES) checkValue(name, all[name])
  for (const [kind, suffix] of [
    ['bps', ''],
    ['iops', ''],
    ['bps', '-max'],
    ['iops', '-max'],
  ] as const) {
    if (all[`${kind}-total${suffix}`] > 0 && (all[`${kind}-read${suffix}`] > 0 || all[`${kind}-write${suffix}`] > 0)) {
      throw new BlockError('bps/iops/max total values and read/write values cannot be used at the same time')
    }
  }
  if (all['iops-size'] > 0 && all['iops-total'] === 0 && all['iops-read'] === 0 && all['iops-write'] === 0) {
    throw new BlockError('iops size requires an iops value to be set')
  }
  for (const name of BUCKET_NAMES) checkBucket(all[name], all[`${name}-max`], all[`${name}-max-length`])
}

function checkValue(name: LimitName, value: number): void {
  if (value < 0) throw new BlockError('Property values cannot be negative')
  if (isLength(name) && value > LENGTH_MAX_SECONDS) {
    throw new BlockError(`${name} value must be in the range [0, ${LENGTH_MAX_SECONDS}]`)
  }
  if (!Number.isSafeInteger(value)) throw new BlockError(`bps/iops/max values must be within [0, ${RATE_MAX}]`)
}

function checkBucket(average: number, max: number, lengthSeconds: number): void {
  const wrong =
    average > RATE_MAX || max > RATE_MAX
      ? `bps/iops/max values must be within [0, ${RATE_MAX}]`
      : lengthSeconds === 0
        ? 'the burst length cannot be 0'
        : lengthSeconds > 1 && max === 0
          ? 'burst length set without burst rate'
          : max > 0 && lengthSeconds > RATE_MAX / max
            ? 'burst length too high for this burst rate'
            : max > 0 && average === 0
              ? 'bps_max/iops_max require corresponding bps/iops values'
              : max > 0 && max < average
                ? 'bps_max/iops_max cannot be lower than bps/iops'
                : null
  if (wrong !== null) throw new BlockError(wrong)
}

/** The limit behind a property of the object, `x-bps-total` or `x-iops-size`, or null. */
export function limitOfProperty(property: string): LimitName | null {
  if (!property.startsWith(QOM_PREFIX)) return null
  const name = property.slice(QOM_PREFIX.length)
  return LIMIT_NAMES.find((known) => known === name) ?? null
}
