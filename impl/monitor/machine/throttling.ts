/** Limits of backends, as block_set_io_throttle and `-drive` set them. */
import { BlockError } from '../../block'
import { BUCKET_NAMES, RATE_MAX, ThrottleGroup, type ThrottleLimits } from '../../block/throttle'
import type { BackendState, Machine } from './machine'

/**
 * The backend obeys `limits` from now on, in a group that all of its members share; no limit at all ends that. Throws
 * BlockError.
 */
export function setThrottle(machine: Machine, state: BackendState, limits: ThrottleLimits, groupName: string): void {
  const { throttleGroups } = machine.environment.context
  const { backend } = state
  if (Object.values(limits).some((value) => value < 0)) {
    throw new BlockError(`bps/iops/max values must be within [0, ${RATE_MAX}]`)
  }
  // Refuses what makes no sense, before anything has changed.
  new ThrottleGroup(backend.graph.kernel, groupName, limits)
  const isLimited = BUCKET_NAMES.some((name) => (limits[name] ?? 0) > 0)
  if (!isLimited || state.throttle?.group.name !== groupName) leave(machine, state)
  if (!isLimited) return
  if (state.throttle === null) {
    state.throttle = throttleGroups.join(groupName)
    backend.setThrottle(state.throttle)
  }
  state.throttle.group.setLimits(limits)
}

function leave(machine: Machine, state: BackendState): void {
  const { throttle, backend } = state
  if (throttle === null) return
  backend.setThrottle(null)
  state.throttle = null
  machine.environment.context.throttleGroups.leave(throttle)
}

const QMP_NAMES = { total: '', read: '_rd', write: '_wr' } as const

/** Names of QMP's BlockIOThrottle for the limits of a group. */
export function limitNames(): Array<readonly [qmp: string, limit: keyof ThrottleLimits]> {
  return [
    ...BUCKET_NAMES.flatMap((name) => {
      const [kind, what] = name.split('-') as [string, keyof typeof QMP_NAMES]
      const qmp = `${kind}${QMP_NAMES[what]}`
      return [
        [qmp, name],
        [`${qmp}_max`, `${name}-max`],
        [`${qmp}_max_length`, `${name}-max-length`],
      ] as Array<readonly [string, keyof ThrottleLimits]>
    }),
    ['iops_size', 'iops-size'] as const,
  ]
}

/** What BlockDeviceInfo tells of the limits of a backend. */
export function throttleInfo({ throttle }: BackendState): Record<string, unknown> {
  if (throttle === null) return {}
  const { limits, name } = throttle.group
  const told: Record<string, unknown> = { group: name }
  for (const [qmp, limit] of limitNames()) {
    const value = limits[limit]
    const isRate = !qmp.includes('_max') && qmp !== 'iops_size'
    // Lengths of bursts are told where there are bursts.
    const isLength = qmp.endsWith('_max_length')
    const isBurst = isLength && limits[limit.replace('-length', '') as keyof typeof limits] > 0
    if (isRate || isBurst || (!isLength && value > 0)) told[qmp] = value
  }
  return told
}

/** Throws BlockError without a medium. */
export function demandMedium({ backend }: BackendState, name: string): void {
  if (backend.root === null) throw new BlockError(`Device '${name}' has no medium`)
}
