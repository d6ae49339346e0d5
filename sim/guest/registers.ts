/**
 * Virtio as the guest's driver knows it, taken from the specification (VIRTIO 1.2, 2.7, 4.2.2, 5.2) and on purpose not
 * from the device: a wrong number on one side must not be right on the other.
 */

/** Offsets in the MMIO window. */
export const enum Reg {
  Magic = 0x00,
  Version = 0x04,
  Device = 0x08,
  HostFeatures = 0x10,
  HostFeaturesSel = 0x14,
  GuestFeatures = 0x20,
  GuestFeaturesSel = 0x24,
  QueueSel = 0x30,
  QueueNumMax = 0x34,
  QueueNum = 0x38,
  QueueReady = 0x44,
  QueueNotify = 0x50,
  InterruptStatus = 0x60,
  InterruptAck = 0x64,
  Status = 0x70,
  DescLow = 0x80,
  DescHigh = 0x84,
  AvailLow = 0x90,
  AvailHigh = 0x94,
  UsedLow = 0xa0,
  UsedHigh = 0xa4,
  ConfigGeneration = 0xfc,
  ConfigCapacityLow = 0x100,
  ConfigCapacityHigh = 0x104,
  ConfigSegMax = 0x10c,
  ConfigBlkSize = 0x114,
  ConfigWce = 0x120,
  ConfigNumQueues = 0x122,
  ConfigMaxDiscardSectors = 0x124,
  ConfigMaxWriteZeroesSectors = 0x130,
}

export const MAGIC_VALUE = 0x74726976
export const MMIO_VERSION = 2
export const ID_BLOCK = 2

export const enum Stat {
  Acknowledge = 0x01,
  Driver = 0x02,
  DriverOk = 0x04,
  FeaturesOk = 0x08,
  NeedsReset = 0x40,
}

/** Bit numbers. */
export const enum Feat {
  SegMax = 2,
  BlkSize = 6,
  Flush = 9,
  Topology = 10,
  ConfigWce = 11,
  Mq = 12,
  Discard = 13,
  WriteZeroes = 14,
  IndirectDesc = 28,
  EventIdx = 29,
}
/** Bit 32, hence bit 0 of the second word. */
export const VERSION_1_HIGH = 1

export const enum Desc {
  Next = 1,
  Write = 2,
  Indirect = 4,
}

export const enum Req {
  In = 0,
  Out = 1,
  Flush = 4,
  GetId = 8,
  Discard = 11,
  WriteZeroes = 13,
}

export const STATUS_OK = 0
export const STATUS_UNSUPP = 2

export const INTERRUPT_USED = 1
export const INTERRUPT_CONFIG = 2

/** Of the available ring's flags, and of the used ring's. */
export const NO_NOTIFY = 1

export const DESC_BYTES = 16
export const HEADER_BYTES = 16
export const RANGE_BYTES = 16
export const ID_BYTES = 20
