/** Plans of mirrors between NBD servers: plain disks, several guests, links that delay and break. */
import type { CutPlan, NbdClientPlan, NbdOddityPlan, NbdPlan, Plan, StallPlan } from '../../sim/plan'
import { Choices, type Table } from './choices'
import { withShortTransfers } from './disk_faults'
import { planOfSeed } from './index'
import { drawOrders } from './jobs'
import { plain } from './plain'

const CUT_NS_MAX = 3_000_000
const HEADERS: Table<NbdClientPlan['headers']> = [
  ['simple', 30, 1],
  ['structured', 40, 1],
  ['extended', 30, 1],
]
const ODDITY: Table<NbdOddityPlan['kind']> = [
  ['magic', 10, 1],
  ['write-beyond', 20, 1],
  ['read-beyond', 20, 1],
  ['command', 20, 1],
  ['flags', 15, 1],
  ['read-too-long', 15, 1],
]
const CUTS: Table<number> = [
  [0, 35, 1],
  [1, 30, 1],
  [2, 20, 1],
  [5, 15, 1],
]
const CAPACITY: Table<number> = [
  [500, 5, 1],
  [4096, 25, 1],
  [65_536, 70, 1],
]
const DOWN_NS: Table<number> = [
  [0, 40, 1],
  [200_000, 30, 1],
  [2_000_000_000, 20, 1],
  [9_000_000_000, 10, 1],
]
const RECONNECT_SECONDS: Table<number> = [
  [0, 20, 1],
  [1, 30, 1],
  [60, 50, 1],
]
const DEPTH: Table<number> = [
  [1, 30, 1],
  [4, 40, 1],
  [16, 30, 1],
]
const ODD_PERCENT = 20
const STALLS_PERCENT = 40
const EVERYWHERE_BYTES = 2 ** 40
/** Long enough for a link to break and come back meanwhile. */
const STALL_NS_MAX = 4_000_000
/** Time for a few handshakes that nobody ends, and for all delays of reconnecting. */
const TIME_MAX_NS = 3_600_000_000_000
const EVENTS_MAX = 400_000

export function nbdPlanOfSeed(seed: string): Plan {
  const { stalls: _stalls, ...plan } = planOfSeed(seed, 'default')
  const choices = new Choices(seed, 'nbd', 'uniform')
  const source = plain(plan.source)
  const lanes = [...new Set(plan.guest.map(({ lane }) => lane))]
  const { replaces: _replaces, ...mirror } = plan.mirror
  return withShortTransfers(new Choices(seed, 'short', 'uniform'), {
    ...plan,
    profile: 'nbd',
    source: {
      ...source,
      requestAlignmentBytes: plan.device.blockBytes,
      node: { ...source.node, discard: 'unmap', readOnly: false },
    },
    // A destination of another length is the business of other worlds.
    destination: { ...plain(plan.destination), lengthBytes: source.lengthBytes, initial: clipped(plan) },
    mirror: { ...mirror, sync: 'full', targetIsZero: false },
    control: drawOrders(choices),
    nbd: drawNbd(choices, lanes),
    stalls: choices.chance(STALLS_PERCENT) ? drawStalls(choices) : [],
    bounds: { eventsMax: EVENTS_MAX, timeMaxNs: TIME_MAX_NS },
  })
}

function clipped({ source, destination }: Plan): Plan['destination']['initial'] {
  return plain(destination).initial.filter(({ offsetBytes, lengthBytes }) => offsetBytes + lengthBytes <= source.lengthBytes)
}

function drawNbd(choices: Choices, lanes: readonly number[]): NbdPlan {
  const clients = lanes.map((lane): NbdClientPlan => {
    const headers = choices.pick(HEADERS)
    return {
      lane,
      headers,
      allocation: headers !== 'simple' && choices.chance(60),
      depth: choices.pick(DEPTH),
      fua: choices.chance(20),
      fastZero: choices.chance(20),
      oddities: choices.chance(ODD_PERCENT) ? drawOddities(choices, lane) : [],
    }
  })
  return {
    clients,
    link: {
      capacityBytes: choices.pick(CAPACITY),
      stepNs: choices.between(1, 20) * 1000,
      steps: choices.between(1, 6),
      isCut: choices.chance(50),
    },
    cuts: drawCuts(choices, lanes),
    reconnectDelaySeconds: choices.pick(RECONNECT_SECONDS),
  }
}

/** Changes of the destination that take so long that those of a later connection overtake them. */
function drawStalls(choices: Choices): StallPlan[] {
  const stalls: StallPlan[] = []
  for (let number = choices.between(1, 4); number > 0; number--) {
    stalls.push({
      id: `y${number}`,
      disk: 'destination',
      operation: choices.chance(60) ? 'write' : 'write-zeroes',
      offsetBytes: 0,
      lengthBytes: EVERYWHERE_BYTES,
      skip: choices.below(12),
      times: choices.between(1, 3),
      delayNs: choices.below(STALL_NS_MAX),
    })
  }
  return stalls
}

function drawOddities(choices: Choices, lane: number): NbdOddityPlan[] {
  const oddities: NbdOddityPlan[] = []
  for (let number = choices.between(1, 2); number > 0; number--)
    oddities.push({ id: `o${lane}.${number}`, before: choices.below(6), kind: choices.pick(ODDITY) })
  return oddities
}

function drawCuts(choices: Choices, lanes: readonly number[]): CutPlan[] {
  const cuts: CutPlan[] = []
  for (let number = choices.pick(CUTS); number > 0; number--) {
    const isTarget = lanes.length === 0 || choices.chance(65)
    const link = isTarget ? ('target' as const) : lanes[choices.below(lanes.length)]!
    cuts.push({ id: `x${number}`, link, afterNs: choices.below(CUT_NS_MAX), downNs: choices.pick(DOWN_NS) })
  }
  return cuts
}
