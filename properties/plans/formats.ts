/**
 * Draws images for the disks of a plan: options of creation, what lies below, and what of the first content is compressed or
 * masks the image below; and when what lies below is attached or replaced. Only what an image can be made with is drawn.
 */
import {
  type BackingPlan,
  type ControlOperation,
  type DiskName,
  type DiskPlan,
  type FormatPlan,
  type GuestOperation,
  type InitialExtent,
  type Plan,
  SECTOR_BYTES,
  type Trigger,
} from '../../sim/plan'
import type { Choices } from './choices'
import type { Geometry } from './geometry'
import { drawImage } from './images'
import * as mixture from './mixture'
import * as mixtureOfEvents from './mixture_events'

/** Gives the plan's disks formats, or leaves them as they are. The first content of both has been drawn. */
export function withFormats(choices: Choices, plan: Plan, geometry: Geometry, profile: mixture.Profile): Plan {
  if (!choices.chance(profile.formatPercent)) return withRaw(choices, plan)
  const where = choices.pick(mixture.FORMAT_AT)
  const source = where === 'destination' ? plan.source : drawFormat(choices, plan.source, geometry, profile, 'sb')
  let destination = where === 'source' ? plan.destination : drawFormat(choices, plan.destination, geometry, profile, 'db')
  let { sync, targetIsZero, granularityBytes } = plan.mirror
  const below = source.format?.backing
  if (below !== undefined && choices.chance(profile.topPercent)) sync = 'top'
  if (below !== undefined && sync === 'top') {
    const format = destination.format
    // The copy of one layer needs the others below it; only then are they told apart.
    if (format === undefined || format.dataFile === 'raw' || (format.preallocation !== 'off' && !format.extendedL2)) sync = 'full'
    else {
      const backing: BackingPlan = { ...below, isDetached: choices.chance(mixture.DETACHED_PERCENT) }
      destination = { ...destination, initial: [], format: { ...format, backing } }
    }
  }
  const backing = destination.format?.backing
  if (backing !== undefined) targetIsZero = false
  if (choices.chance(mixture.FORMAT_GRANULARITY_PERCENT)) granularityBytes = choices.pick(mixture.FORMAT_GRANULARITY)
  const mirror = { ...plan.mirror, sync, targetIsZero, granularityBytes }
  return withRaw(choices, { ...plan, source, destination, mirror, control: withLinks(choices, plan, source, destination) })
}

/** Plain disks may be used through the format that adds nothing. */
function withRaw(choices: Choices, plan: Plan): Plan {
  const isRaw = (disk: DiskPlan): boolean => choices.chance(mixture.RAW_PERCENT) && disk.format === undefined
  const source = isRaw(plan.source) ? { ...plan.source, raw: true } : plan.source
  const destination = isRaw(plan.destination) ? { ...plan.destination, raw: true } : plan.destination
  return { ...plan, source, destination }
}

/** The operator's part: images below come and go; and nobody completes before the one of the destination is there. */
function withLinks(choices: Choices, plan: Plan, source: DiskPlan, destination: DiskPlan): ControlOperation[] {
  const links: ControlOperation[] = []
  const addLink = (disk: DiskName, percent: number): void => {
    if (!choices.chance(percent)) return
    const when = { on: drawMoment(choices, plan.guest), afterNs: choices.below(choices.pick(mixtureOfEvents.AFTER_MAX_NS) + 1) }
    links.push({ id: `k${links.length + 1}`, when, kind: 'link-backing', disk })
  }
  const isDetached = destination.format?.backing?.isDetached === true
  if (source.format?.backing !== undefined) addLink('source', mixtureOfEvents.LINKED_PERCENT)
  const attachIndex = links.length
  const percent = isDetached ? mixtureOfEvents.ATTACHED_PERCENT : mixtureOfEvents.LINKED_PERCENT
  if (destination.format?.backing !== undefined) addLink('destination', percent)
  if (!isDetached) return [...plan.control, ...links]
  const attached = links[attachIndex]
  const control = plan.control.flatMap((operation): ControlOperation[] => {
    if (operation.kind !== 'complete') return [operation]
    return attached === undefined ? [] : [{ ...operation, when: { ...operation.when, on: { controlDone: attached.id } } }]
  })
  const kept = new Set(control.map(({ id }) => id))
  const isKept = ({ when: { on } }: ControlOperation): boolean =>
    typeof on === 'string' || !('controlDone' in on) || kept.has(on.controlDone) || on.controlDone === attached?.id
  // Those who wait come after those for whom they wait.
  return [...links, ...control.filter(isKept)]
}

function drawMoment(choices: Choices, guest: readonly GuestOperation[]): Trigger['on'] {
  const moment = choices.pick(mixtureOfEvents.LINK_MOMENT)
  if (moment !== 'operation') return moment
  return guest.length === 0 ? 'mirror-started' : { operationDone: guest[choices.below(guest.length)]!.id }
}

function drawFormat(choices: Choices, disk: DiskPlan, geometry: Geometry, profile: mixture.Profile, prefix: string): DiskPlan {
  const version = choices.chance(mixture.VERSION_2_PERCENT) ? 2 : 3
  const clusterBytes = choices.pick(mixture.CLUSTER)
  const isNew = version === 3
  const format: FormatPlan = {
    kind: 'qcow2',
    version,
    clusterBytes,
    extendedL2: isNew && clusterBytes >= 32 * SECTOR_BYTES && choices.chance(mixture.EXTENDED_L2_PERCENT),
    refcountBits: isNew ? choices.pick(mixture.REFCOUNT_BITS) : 16,
    lazyRefcounts: isNew && choices.chance(mixture.LAZY_REFCOUNTS_PERCENT),
    discardNoUnref: isNew && choices.chance(mixture.DISCARD_NO_UNREF_PERCENT),
    preallocation: choices.pick(mixture.PREALLOCATION),
    dataFile: isNew ? choices.pick(mixture.DATA_FILE) : 'none',
  }
  const mayHaveBacking = format.dataFile !== 'raw' && (format.preallocation === 'off' || format.extendedL2)
  if (mayHaveBacking && choices.chance(profile.backingPercent)) {
    format.backing = drawBacking(choices, geometry, prefix, prefix === 'db' && choices.chance(mixture.DETACHED_PERCENT))
  }
  const initial = disk.initial.map((extent) => drawContent(choices, extent, format))
  const mask = format.version === 3 ? drawMask(choices, disk, format, prefix) : []
  return { ...disk, format, initial: [...initial, ...mask] }
}

/** A hole over data of the image below, which must not show through it. */
function drawMask(choices: Choices, disk: DiskPlan, { backing }: FormatPlan, prefix: string): InitialExtent[] {
  const masked = backing?.initial.filter(({ content, offsetBytes }) => content === 'data' && offsetBytes < disk.lengthBytes) ?? []
  if (masked.length === 0 || !choices.chance(mixture.MASK_PERCENT)) return []
  const { offsetBytes, lengthBytes } = masked[choices.below(masked.length)]!
  const mostBytes = Math.min(lengthBytes, disk.lengthBytes - offsetBytes)
  const isWhole = choices.chance(50)
  const maskBytes = isWhole ? mostBytes : choices.between(1, mostBytes / SECTOR_BYTES) * SECTOR_BYTES
  return [{ id: `${prefix}mask`, offsetBytes, lengthBytes: maskBytes, content: 'hole' }]
}

function drawBacking(choices: Choices, geometry: Geometry, prefix: string, isDetached: boolean): BackingPlan {
  const [numerator, denominator] = choices.pick(mixture.BACKING_LENGTH)
  const unitBytes = 8 * SECTOR_BYTES
  const lengthBytes = Math.max(1, Math.floor((geometry.lengthBytes * numerator) / denominator / unitBytes)) * unitBytes
  const chunkCount = Math.ceil(lengthBytes / geometry.granularityBytes)
  const initial = drawImage(choices, { ...geometry, lengthBytes, chunkCount }, choices.pick(mixture.SOURCE_IMAGE), prefix)
  return { format: choices.chance(50) ? 'raw' : 'qcow2', lengthBytes, initial, isDetached }
}

/** Data may be compressed, and zeroes may be holes. */
function drawContent(choices: Choices, extent: InitialExtent, format: FormatPlan): InitialExtent {
  if (extent.content === 'data' && format.dataFile === 'none' && choices.chance(mixture.COMPRESSED_PERCENT)) {
    return { ...extent, content: 'compressed' }
  }
  return extent.content === 'zero' && format.version === 3 && choices.chance(50) ? { ...extent, content: 'hole' } : extent
}
