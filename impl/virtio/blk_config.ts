/**
 * The configuration space of virtio-blk (VIRTIO 1.2, 5.2.4): 60 bytes, little-endian. Only `writeback` can be written.
 * Fields of features that are not offered read 0.
 */
import { assert } from '../co'
import { SECTOR_BYTES, type VirtioBlkSettings } from './blk_options'

export const CONFIG_BYTES = 60

export const enum ConfigField {
  Capacity = 0,
  SizeMax = 8,
  SegMax = 12,
  BlockSize = 20,
  PhysicalBlockExponent = 24,
  MinIoBlocks = 26,
  OptIoBlocks = 28,
  Writeback = 32,
  QueueCount = 34,
  DiscardMaxSectors = 36,
  DiscardSegmentsMax = 40,
  DiscardAlignmentSectors = 44,
  WriteZeroesMaxSectors = 48,
  WriteZeroesSegmentsMax = 52,
  WriteZeroesMayUnmap = 56,
}

export class BlkConfig {
  private readonly view = new DataView(new ArrayBuffer(CONFIG_BYTES))

  constructor(settings: VirtioBlkSettings) {
    const { view } = this
    const { blockBytes } = settings
    view.setUint32(ConfigField.SizeMax, settings.segmentBytesMax, true)
    view.setUint32(ConfigField.SegMax, settings.segmentsMax, true)
    view.setUint32(ConfigField.BlockSize, blockBytes, true)
    view.setUint8(ConfigField.PhysicalBlockExponent, Math.clz32(blockBytes) - Math.clz32(settings.physicalBlockBytes))
    view.setUint16(ConfigField.MinIoBlocks, Math.floor(settings.minIoBytes / blockBytes), true)
    view.setUint32(ConfigField.OptIoBlocks, Math.floor(settings.optIoBytes / blockBytes), true)
    if (settings.queueCount > 1) view.setUint16(ConfigField.QueueCount, settings.queueCount, true)
    if (settings.discard) {
      view.setUint32(ConfigField.DiscardMaxSectors, settings.discardMaxSectors, true)
      view.setUint32(ConfigField.DiscardSegmentsMax, settings.discardSegmentsMax, true)
      view.setUint32(ConfigField.DiscardAlignmentSectors, settings.discardGranularityBytes / SECTOR_BYTES, true)
    }
    if (settings.writeZeroes) {
      view.setUint32(ConfigField.WriteZeroesMaxSectors, settings.writeZeroesMaxSectors, true)
      view.setUint32(ConfigField.WriteZeroesSegmentsMax, settings.writeZeroesSegmentsMax, true)
      view.setUint8(ConfigField.WriteZeroesMayUnmap, 1)
    }
    assert(view.getUint32(ConfigField.SegMax, true) > 0, 'config-segments')
  }

  setCapacity(sectors: number): void {
    assert(Number.isSafeInteger(sectors) && sectors >= 0, 'capacity-sectors', () => String(sectors))
    this.view.setUint32(ConfigField.Capacity, sectors % 2 ** 32, true)
    this.view.setUint32(ConfigField.Capacity + 4, Math.floor(sectors / 2 ** 32), true)
  }
  get isWriteback(): boolean {
    return this.view.getUint8(ConfigField.Writeback) === 1
  }
  set isWriteback(isOn: boolean) {
    this.view.setUint8(ConfigField.Writeback, isOn ? 1 : 0)
  }

  /** Little-endian; 0 beyond the end. */
  read(offset: number, sizeBytes: number): number {
    let value = 0
    for (let byte = sizeBytes - 1; byte >= 0; byte--) {
      value = value * 256 + (offset + byte < CONFIG_BYTES ? this.view.getUint8(offset + byte) : 0)
    }
    return value
  }
}
