/**
 * What a virtio-blk device is made of, and its constants (VIRTIO 1.2, 5.2). Options have the meaning and the defaults of
 * QEMU's properties of the same purpose, and its texts where a value is refused.
 */
import { BlockError, REQUEST_MAX_BYTES } from '../block'
import type { Label } from '../co'
import { FEATURE_EVENT_IDX, FEATURE_INDIRECT_DESC, type InterruptLine } from './device'
import { QUEUE_SIZE_MAX } from './virtqueue'

export const SECTOR_BYTES = 512

/** Feature bits of 5.2.3, as masks of the low word. */
export const enum BlkFeature {
  SizeMax = 1 << 1,
  SegMax = 1 << 2,
  ReadOnly = 1 << 5,
  BlockSize = 1 << 6,
  Flush = 1 << 9,
  Topology = 1 << 10,
  ConfigWce = 1 << 11,
  MultiQueue = 1 << 12,
  Discard = 1 << 13,
  WriteZeroes = 1 << 14,
}

const QUEUES_MAX = 1024

/** The largest discard or write-zeroes in sectors: what the block layer takes at once. */
export const RANGE_MAX_SECTORS = REQUEST_MAX_BYTES / SECTOR_BYTES

export interface VirtioBlkOptions extends InterruptLine {
  /** For whom the request at this head works; called once a request, while it is taken off the ring. */
  labelRequest?(queueIndex: number, headIndex: number): Label
  queueCount?: number
  /** A power of two; the driver may choose less. */
  queueSize?: number
  indirect?: boolean
  eventIndex?: boolean
  /** The guest's logical block: requests are multiples of it. A power of two from 512 on. */
  blockBytes?: number
  /** 0: as blockBytes. */
  physicalBlockBytes?: number
  /** Hints for the guest, 0: none. */
  minIoBytes?: number
  optIoBytes?: number
  /** Data segments of a request. */
  segmentsMax?: number
  /** Longest segment; 0: no limit, and not offered. */
  segmentBytesMax?: number
  readOnly?: boolean
  /** Whether the guest finds a volatile write cache, and whether it may switch. */
  writeCache?: boolean
  configWriteCache?: boolean
  discard?: boolean
  discardMaxSectors?: number
  discardSegmentsMax?: number
  /** 0: as blockBytes. */
  discardGranularityBytes?: number
  writeZeroes?: boolean
  writeZeroesMaxSectors?: number
  writeZeroesSegmentsMax?: number
  /** Up to 20 bytes of ASCII for GET_ID. */
  serial?: string
  /** Requests that run at one time; further ones stay in their rings. */
  inFlightMax?: number
}

export type VirtioBlkSettings = Required<Omit<VirtioBlkOptions, keyof InterruptLine | 'labelRequest'>>

const DEFAULTS: VirtioBlkSettings = {
  queueCount: 1,
  queueSize: 256,
  indirect: true,
  eventIndex: true,
  blockBytes: SECTOR_BYTES,
  physicalBlockBytes: 0,
  minIoBytes: 0,
  optIoBytes: 0,
  segmentsMax: 126,
  segmentBytesMax: 0,
  readOnly: false,
  writeCache: true,
  configWriteCache: true,
  discard: true,
  discardMaxSectors: RANGE_MAX_SECTORS,
  discardSegmentsMax: 1,
  discardGranularityBytes: 0,
  writeZeroes: true,
  writeZeroesMaxSectors: RANGE_MAX_SECTORS,
  writeZeroesSegmentsMax: 1,
  serial: '',
  inFlightMax: 256,
}

/** One by one: a spread of objects whose fields differ costs more than all the rest of a device. */
function withDefaults(options: VirtioBlkOptions): VirtioBlkSettings {
  return {
    queueCount: options.queueCount ?? DEFAULTS.queueCount,
    queueSize: options.queueSize ?? DEFAULTS.queueSize,
    indirect: options.indirect ?? DEFAULTS.indirect,
    eventIndex: options.eventIndex ?? DEFAULTS.eventIndex,
    blockBytes: options.blockBytes ?? DEFAULTS.blockBytes,
    physicalBlockBytes: options.physicalBlockBytes ?? DEFAULTS.physicalBlockBytes,
    minIoBytes: options.minIoBytes ?? DEFAULTS.minIoBytes,
    optIoBytes: options.optIoBytes ?? DEFAULTS.optIoBytes,
    segmentsMax: options.segmentsMax ?? DEFAULTS.segmentsMax,
    segmentBytesMax: options.segmentBytesMax ?? DEFAULTS.segmentBytesMax,
    readOnly: options.readOnly ?? DEFAULTS.readOnly,
    writeCache: options.writeCache ?? DEFAULTS.writeCache,
    configWriteCache: options.configWriteCache ?? DEFAULTS.configWriteCache,
    discard: options.discard ?? DEFAULTS.discard,
    discardMaxSectors: options.discardMaxSectors ?? DEFAULTS.discardMaxSectors,
    discardSegmentsMax: options.discardSegmentsMax ?? DEFAULTS.discardSegmentsMax,
    discardGranularityBytes: options.discardGranularityBytes ?? DEFAULTS.discardGranularityBytes,
    writeZeroes: options.writeZeroes ?? DEFAULTS.writeZeroes,
    writeZeroesMaxSectors: options.writeZeroesMaxSectors ?? DEFAULTS.writeZeroesMaxSectors,
    writeZeroesSegmentsMax: options.writeZeroesSegmentsMax ?? DEFAULTS.writeZeroesSegmentsMax,
    serial: options.serial ?? DEFAULTS.serial,
    inFlightMax: options.inFlightMax ?? DEFAULTS.inFlightMax,
  }
}

/** Fills the defaults in. Throws BlockError for what no device can be. */
export function settleOptions(options: VirtioBlkOptions): VirtioBlkSettings {
  const settings = withDefaults(options)
  settings.physicalBlockBytes ||= settings.blockBytes
  settings.discardGranularityBytes ||= settings.blockBytes
  const { queueSize, blockBytes, physicalBlockBytes } = settings
  if (settings.queueCount < 1) throw new BlockError('num-queues property must be larger than 0')
  if (settings.queueCount > QUEUES_MAX) throw new BlockError(`num-queues property must not be larger than ${QUEUES_MAX}`)
  if (!isPowerOfTwo(queueSize) || queueSize > QUEUE_SIZE_MAX || queueSize < 2)
    throw new BlockError(`invalid queue-size property (${queueSize}), must be a power of 2 (max ${QUEUE_SIZE_MAX})`)
  if (!isPowerOfTwo(blockBytes) || blockBytes < SECTOR_BYTES) throw new BlockError(`invalid logical_block_size (${blockBytes})`)
  if (!isPowerOfTwo(physicalBlockBytes)) throw new BlockError(`invalid physical_block_size (${physicalBlockBytes})`)
  if (blockBytes > physicalBlockBytes) throw new BlockError('logical_block_size > physical_block_size not supported')
  checkRangeLimit('max-discard-sectors', settings.discardMaxSectors)
  checkRangeLimit('max-write-zeroes-sectors', settings.writeZeroesMaxSectors)
  for (const name of ['segmentsMax', 'discardSegmentsMax', 'writeZeroesSegmentsMax', 'inFlightMax'] as const) {
    if (settings[name] < 1) throw new BlockError(`${name} must be larger than 0`)
  }
  return settings
}

function checkRangeLimit(property: string, sectors: number): void {
  if (sectors < 1 || sectors > RANGE_MAX_SECTORS)
    throw new BlockError(`invalid ${property} property (${sectors}), must be between 1 and ${RANGE_MAX_SECTORS}`)
}

function isPowerOfTwo(value: number): boolean {
  return Number.isInteger(value) && value > 0 && (value & (value - 1)) === 0
}

/** The low word of what the device offers. */
export function featuresOf(settings: VirtioBlkSettings): number {
  let features = BlkFeature.SegMax | BlkFeature.BlockSize | BlkFeature.Topology | BlkFeature.Flush
  if (settings.indirect) features |= FEATURE_INDIRECT_DESC
  if (settings.eventIndex) features |= FEATURE_EVENT_IDX
  if (settings.segmentBytesMax > 0) features |= BlkFeature.SizeMax
  if (settings.readOnly) features |= BlkFeature.ReadOnly
  if (settings.configWriteCache) features |= BlkFeature.ConfigWce
  if (settings.queueCount > 1) features |= BlkFeature.MultiQueue
  if (settings.discard) features |= BlkFeature.Discard
  if (settings.writeZeroes) features |= BlkFeature.WriteZeroes
  return features
}
