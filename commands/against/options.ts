/**
 * What a lifecycle on a real daemon has beside its plan: the command that starts the mirror, when the guest makes its
 * requests, and throttles that stretch races, since a real disk in memory has no latency of its own. Plain data, drawn from
 * the plan's seed and kept in the report.
 */

import { Choices, type Table } from '../../properties/plans/choices'
import type { Plan } from '../../sim/plan'

export type MirrorCommand = 'blockdev-mirror' | 'drive-mirror-existing' | 'drive-mirror-absolute-paths'

export interface RealOptions {
  command: MirrorCommand
  /**
   * `burst`: the guest makes its requests as the plan says, without waiting for the job. `phased`: they are spread over the
   * job's life, so that there are clients in each of its states.
   */
  pace: 'burst' | 'phased'
  /** Throttle filters above the disks, in requests a second; 0: none. */
  sourceRequestsPerSecond: number
  targetRequestsPerSecond: number
  /**
   * `quiet`: the guest's requests have ended when a job is cancelled by force, and it makes none until the job has gone.
   * `loaded`: they have not, which spoils the heap of all versions that were tried (docs/qemu-findings.md).
   */
  forcedEnd: 'quiet' | 'loaded'
  /** Connections that the guest's lanes are shared out to. */
  connections: number
}

export const DULL_OPTIONS: RealOptions = {
  command: 'blockdev-mirror',
  pace: 'phased',
  sourceRequestsPerSecond: 0,
  targetRequestsPerSecond: 0,
  forcedEnd: 'quiet',
  connections: 1,
}

const COMMAND: Table<MirrorCommand> = [
  ['blockdev-mirror', 76, 60],
  ['drive-mirror-existing', 12, 20],
  ['drive-mirror-absolute-paths', 12, 20],
]
const PACE: Table<RealOptions['pace']> = [
  ['phased', 80, 60],
  ['burst', 20, 40],
]
const RATE: Table<number> = [
  [0, 82, 60],
  [300, 3, 10],
  [1000, 7, 10],
  [4000, 8, 20],
]
const FORCED_END: Table<RealOptions['forcedEnd']> = [
  ['quiet', 97, 90],
  ['loaded', 3, 10],
]
const CONNECTIONS: Table<number> = [
  [1, 60, 50],
  [2, 25, 20],
  [4, 15, 30],
]

export function drawOptions({ seed, destination, mirror }: Plan): RealOptions {
  const choices = new Choices(seed, 'against', 'uniform')
  const command = choices.pick(COMMAND)
  // Only the other command can tell that an image reads zero.
  const isForced =
    mirror.targetIsZero || destination.node.readOnly === true || (destination.format?.dataFile ?? 'none') !== 'none'
  const isNew = command === 'drive-mirror-absolute-paths'
  // A new image that holds a part only names what lies below, which a plain file cannot.
  const cannotName = mirror.sync !== 'full' && destination.format === undefined
  return {
    command: isForced || (isNew && cannotName) ? 'blockdev-mirror' : command,
    pace: choices.pick(PACE),
    sourceRequestsPerSecond: choices.pick(RATE),
    targetRequestsPerSecond: choices.pick(RATE),
    connections: choices.pick(CONNECTIONS),
    forcedEnd: choices.pick(FORCED_END),
  }
}
