/**
 * Plans of damaged images: a small sound image with clusters of every kind, one to four of its fields changed, and a few
 * operations on what is left of it. Values are those that parsers trip over: ends of ranges, off by one, unaligned, huge.
 */
import type { DamagePlan, DamageUsePlan, Plan } from '../../sim/plan'
import { Choices, type Table } from './choices'
import { planOfSeed } from './index'

const OPERATIONS_MAX = 12
const OPERATION_BYTES_MAX = 128 * 1024
const READ_ONLY_PERCENT = 25
const INDEX_MAX = 2 ** 20

const TARGET: Table<DamagePlan['target']> = [
  ['header', 34, 1],
  ['extensions', 8, 1],
  ['l1', 14, 1],
  ['l2', 18, 1],
  ['refcount-table', 8, 1],
  ['refcount-block', 8, 1],
  ['snapshots', 8, 1],
  ['snapshot-l1', 4, 1],
  ['bitmaps', 8, 1],
  ['bitmap-table', 4, 1],
  ['anywhere', 6, 1],
  ['length', 4, 1],
]
const COUNT: Table<number> = [
  [1, 50, 1],
  [2, 25, 1],
  [3, 15, 1],
  [4, 10, 1],
]
type Kind = 'zero' | 'ones' | 'small' | 'cluster' | 'huge' | 'flags' | 'random'
const KIND: Table<Kind> = [
  ['zero', 12, 1],
  ['ones', 10, 1],
  ['small', 18, 1],
  ['cluster', 22, 1],
  ['huge', 10, 1],
  ['flags', 10, 1],
  ['random', 18, 1],
]

const EXTRAS: Table<number> = [
  [0, 50, 1],
  [1, 30, 1],
  [2, 20, 1],
]
const CHECK: Table<DamageUsePlan['check']> = [
  ['skip', 40, 1],
  ['none', 20, 1],
  ['leaks', 15, 1],
  ['all', 25, 1],
]
const SNAPSHOT_USE: Table<DamageUsePlan['snapshotUse']> = [
  ['none', 40, 1],
  ['create', 15, 1],
  ['apply', 15, 1],
  ['delete', 15, 1],
  ['show', 15, 1],
]
const BITMAP_USE: Table<DamageUsePlan['bitmapUse']> = [
  ['none', 60, 1],
  ['add', 20, 1],
  ['remove', 20, 1],
]

export function damagedPlanOfSeed(seed: string): Plan {
  const { stalls: _stalls, ...plan } = planOfSeed(seed, 'formats')
  const choices = new Choices(seed, 'damage', 'uniform')
  const { throttle: _throttle, ...image } = plan.source.format === undefined ? plan.destination : plan.source
  const { backing: _none, ...format } = { ...image.format!, dataFile: 'none' as const }
  const readOnly = choices.chance(READ_ONLY_PERCENT)
  return {
    ...plan,
    profile: 'image',
    source: { ...image, format },
    destination: { ...plainDisk(image), node: { discard: 'unmap', detectZeroes: 'off', ...(readOnly ? { readOnly } : {}) } },
    guest: plan.guest
      .slice(0, OPERATIONS_MAX)
      .map((operation) => ({ ...operation, lengthBytes: Math.min(operation.lengthBytes, OPERATION_BYTES_MAX) })),
    control: [],
    faults: [],
    damage: drawDamage(choices, format.clusterBytes),
    damageUse: drawUse(choices, format.version === 3),
  }
}

function drawUse(choices: Choices, canKeepBitmaps: boolean): DamageUsePlan {
  const use: DamageUsePlan = {
    snapshots: choices.pick(EXTRAS),
    bitmaps: choices.pick(EXTRAS),
    check: choices.pick(CHECK),
    snapshotUse: choices.pick(SNAPSHOT_USE),
    bitmapUse: choices.pick(BITMAP_USE),
  }
  return canKeepBitmaps ? use : { ...use, bitmaps: 0, bitmapUse: 'none' }
}

function plainDisk({ format: _none, throttle: _neither, ...disk }: Plan['source']): Plan['source'] {
  return { ...disk, initial: [] }
}

function drawDamage(choices: Choices, clusterBytes: number): DamagePlan[] {
  const damage: DamagePlan[] = []
  for (let number = choices.pick(COUNT); number > 0; number--) {
    const target = choices.pick(TARGET)
    const isEntry = ['l1', 'l2', 'refcount-table', 'snapshot-l1', 'bitmap-table'].includes(target)
    const widthBytes = isEntry ? 8 : ([1, 2, 4, 8] as const)[choices.below(4)]!
    damage.push({
      id: `d${number}`,
      target,
      index: choices.below(INDEX_MAX),
      widthBytes,
      value: drawValue(choices, clusterBytes),
    })
  }
  return damage
}

function drawValue(choices: Choices, clusterBytes: number): string {
  switch (choices.pick(KIND)) {
    case 'zero':
      return '0'
    case 'ones':
      return 'ffffffffffffffff'
    case 'small':
      return choices.below(300).toString(16)
    case 'cluster':
      return withFlags(
        choices,
        BigInt(choices.below(64)) * BigInt(clusterBytes) + BigInt(choices.chance(25) ? choices.below(1024) : 0),
      )
    case 'huge':
      return withFlags(choices, 1n << BigInt(choices.between(28, 62)))
    case 'flags':
      return withFlags(choices, 0n)
    case 'random':
      return (
        choices.below(2 ** 31).toString(16) +
        choices
          .below(2 ** 31)
          .toString(16)
          .padStart(8, '0')
      ).slice(0, 16)
  }
}

/** With one of the flags at the top and bottom of table entries, or none. */
function withFlags(choices: Choices, value: bigint): string {
  const flag = [0n, 1n << 63n, 1n << 62n, 3n << 62n, 1n][choices.below(5)]!
  return (value | flag).toString(16)
}
