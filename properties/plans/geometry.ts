/**
 * Draws what a world is made of: the device, both disks, the mirror's arguments. What never may happen here: a combination
 * that the block layer refuses at start (a world that ends at once shows nothing), or a false promise such as
 * `targetIsZero` for a destination with data.
 */
import type { DevicePlan, DiskPlan, InitialExtent, LatencyPlan, MirrorPlan } from '../../sim/plan'
import type { Choices } from './choices'
import * as mixture from './mixture'

/** What the other parts of a plan need to know of its geometry. */
export interface Geometry {
  lengthBytes: number
  /** As it will be in effect: never 0. */
  granularityBytes: number
  chunkCount: number
  device: DevicePlan
  source: DiskPlan
  destination: DiskPlan
  /** As asked for: 0 where the default applies. */
  mirrorGranularityBytes: number
}

const SECTOR_BYTES = 512
/** What the mirror takes where nothing tells it better. */
const DEFAULT_GRANULARITY_BYTES = 65_536
/** Pieces in which a disk is copied at most: with smaller buffers a world spends its time on copying alone. */
const COPIES_MAX = 48

export function drawGeometry(choices: Choices, profile: mixture.Profile): Geometry {
  const device = drawDevice(choices)
  const source = drawDisk(choices)
  const destination = drawDisk(choices)
  const mirrorGranularityBytes = choices.pick(profile.granularityBytes)
  const granularityBytes = mirrorGranularityBytes === 0 ? DEFAULT_GRANULARITY_BYTES : mirrorGranularityBytes
  const unitBytes = Math.max(SECTOR_BYTES, device.blockBytes, source.requestAlignmentBytes, destination.requestAlignmentBytes)
  const lengthBytes = drawLength(choices, profile, granularityBytes, unitBytes)
  source.lengthBytes = lengthBytes
  destination.lengthBytes = lengthBytes
  if (choices.chance(mixture.READ_ONLY_PERCENT)) source.node.readOnly = true
  if (choices.chance(mixture.LENGTHS_DIFFER_PERCENT)) {
    const differenceBytes = choices.between(1, Math.ceil(lengthBytes / unitBytes)) * unitBytes
    const isShorter = differenceBytes < lengthBytes && choices.chance(50)
    destination.lengthBytes += isShorter ? -differenceBytes : differenceBytes
  }
  const chunkCount = Math.ceil(lengthBytes / granularityBytes)
  return { lengthBytes, granularityBytes, chunkCount, device, source, destination, mirrorGranularityBytes }
}

/** A multiple of `unitBytes`, which every disk and the device can address; often not one of the granularity. */
function drawLength(choices: Choices, profile: mixture.Profile, granularityBytes: number, unitBytes: number): number {
  const { least } = profile.diskBytes
  const most = Math.min(profile.diskBytes.most, choices.pick(mixture.DISK_BYTES_MOST))
  const [fewest, manyest] = choices.pick(profile.chunks)
  const whole = clamp(choices.between(fewest, manyest) * granularityBytes, least, most)
  const tailUnits = Math.floor(granularityBytes / unitBytes)
  const isCut = tailUnits > 1 && choices.chance(mixture.TAIL_PERCENT)
  const lengthBytes = isCut ? Math.max(least, whole - choices.between(1, tailUnits - 1) * unitBytes) : whole
  return Math.ceil(lengthBytes / unitBytes) * unitBytes
}

function drawDevice(choices: Choices): DevicePlan {
  return {
    queueCount: choices.pick(mixture.QUEUE_COUNT),
    queueSize: choices.pick(mixture.QUEUE_SIZE),
    blockBytes: choices.pick(mixture.BLOCK_BYTES),
    indirect: choices.chance(mixture.INDIRECT_PERCENT),
    eventIndex: choices.chance(mixture.EVENT_INDEX_PERCENT),
    segmentsMax: choices.pick(mixture.SEGMENTS_MAX),
    writeCache: choices.chance(mixture.WRITE_CACHE_PERCENT),
  }
}

/** A disk without its length and images. */
function drawDisk(choices: Choices): DiskPlan {
  const requestAlignmentBytes = choices.pick(mixture.REQUEST_ALIGNMENT)
  const discard = choices.pick(mixture.NODE_DISCARD)
  const detectZeroes = choices.pick(mixture.DETECT_ZEROES)
  return {
    lengthBytes: 0,
    requestAlignmentBytes,
    maxTransferBytes: choices.pick(mixture.MAX_TRANSFER),
    maxWriteZeroesBytes: choices.pick(mixture.MAX_ZEROES),
    writeZeroesAlignmentBytes: alignmentAbove(requestAlignmentBytes, choices.pick(mixture.ZEROES_ALIGNMENT)),
    maxDiscardBytes: choices.pick(mixture.MAX_ZEROES),
    discardAlignmentBytes: alignmentAbove(requestAlignmentBytes, choices.pick(mixture.ZEROES_ALIGNMENT)),
    allocationUnitBytes: choices.pick(mixture.ALLOCATION_UNIT),
    writeZeroes: choices.pick(mixture.WRITE_ZEROES),
    discard: choices.pick(mixture.DISCARD),
    reportsHoles: choices.chance(mixture.REPORTS_HOLES_PERCENT),
    holesReadZero: choices.chance(mixture.HOLES_READ_ZERO_PERCENT),
    node: { discard, detectZeroes: detectZeroes === 'unmap' && discard === 'ignore' ? 'on' : detectZeroes },
    latency: drawLatency(choices),
    initial: [],
  }
}

/** 0 means none; any other alignment is at least that of requests. */
function alignmentAbove(requestAlignmentBytes: number, alignmentBytes: number): number {
  return alignmentBytes === 0 ? 0 : Math.max(requestAlignmentBytes, alignmentBytes)
}

function drawLatency(choices: Choices): LatencyPlan {
  const [minNs, stepNs, steps] = choices.pick(mixture.LATENCY)
  return { minNs, stepNs, steps }
}

export function drawMirror(choices: Choices, geometry: Geometry): MirrorPlan {
  const bufferChunks = choices.pick(mixture.BUFFER_CHUNKS)
  const leastChunks = choices.style === 'extreme' ? 1 : Math.ceil(geometry.chunkCount / COPIES_MAX)
  const readsZero = readsZeroThroughout(geometry.destination.initial)
  return {
    sync: choices.pick(mixture.SYNC),
    copyMode: choices.pick(mixture.COPY_MODE),
    granularityBytes: geometry.mirrorGranularityBytes,
    bufferBytes: bufferChunks === 0 ? 0 : Math.max(bufferChunks, leastChunks) * geometry.granularityBytes,
    speedBytesPerSecond: drawSpeed(choices, geometry),
    unmap: choices.chance(mixture.UNMAP_PERCENT),
    targetIsZero: choices.chance(mixture.TARGET_IS_ZERO_PERCENT) && readsZero,
    onSourceError: choices.pick(mixture.ERROR_POLICY),
    onTargetError: choices.pick(mixture.ERROR_POLICY),
    autoFinalize: choices.chance(mixture.AUTO_FINALIZE_PERCENT),
    ...replacing(choices.pick(mixture.REPLACES)),
  }
}

function replacing(replaces: string | null): Pick<MirrorPlan, 'replaces'> {
  return replaces === null ? {} : { replaces }
}

export function drawSpeed(choices: Choices, geometry: Geometry): number {
  return choices.pick(mixture.SPEED_SHARES) * geometry.lengthBytes
}

function readsZeroThroughout(initial: readonly InitialExtent[]): boolean {
  return initial.every(({ content }) => content === 'zero')
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value))
}
