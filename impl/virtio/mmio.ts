/**
 * The registers of virtio over MMIO, version 2 (VIRTIO 1.2, 4.2.2). Control registers are 32 bits wide and aligned, and
 * anything else reads 0 and writes nothing; the configuration space from 0x100 on takes 1, 2 and 4 bytes.
 *
 * What may fail: nothing; a guest may do what it likes. What never may: an exception because of a guest.
 */
import type { VirtioDevice } from './device'
import type { Virtqueue } from './virtqueue'

const enum Register {
  MagicValue = 0x000,
  Version = 0x004,
  DeviceId = 0x008,
  VendorId = 0x00c,
  DeviceFeatures = 0x010,
  DeviceFeaturesSel = 0x014,
  DriverFeatures = 0x020,
  DriverFeaturesSel = 0x024,
  QueueSel = 0x030,
  QueueNumMax = 0x034,
  QueueNum = 0x038,
  QueueReady = 0x044,
  QueueNotify = 0x050,
  InterruptStatus = 0x060,
  InterruptAck = 0x064,
  Status = 0x070,
  QueueDescLow = 0x080,
  QueueDescHigh = 0x084,
  QueueDriverLow = 0x090,
  QueueDriverHigh = 0x094,
  QueueDeviceLow = 0x0a0,
  QueueDeviceHigh = 0x0a4,
  ShmLenLow = 0x0b0,
  ShmLenHigh = 0x0b4,
  ShmBaseLow = 0x0b8,
  ShmBaseHigh = 0x0bc,
  ConfigGeneration = 0x0fc,
  Config = 0x100,
}

/** Size of the whole window. */
export const MMIO_BYTES = 0x200

/** "virt" in ASCII. */
const MAGIC = 0x74726976
const VERSION = 2
/** "mirr" in ASCII. */
const VENDOR = 0x7272696d
const ALL_ONES = 0xffff_ffff
const HIGH_WORD = 0x1_0000_0000
/** Keeps addresses exact; no RAM lies beyond. */
const HIGH_MAX = 0x1f_ffff

type QueueAddress = 'descriptorAddress' | 'driverAddress' | 'deviceAddress'

export class VirtioMmio {
  readonly device: VirtioDevice
  private deviceFeaturesWord = 0
  private driverFeaturesWord = 0
  private queueIndex = 0

  constructor(device: VirtioDevice) {
    this.device = device
  }

  /** An unsigned integer of `sizeBytes`. `offset` counts from the start of the window. */
  read(offset: number, sizeBytes: number): number {
    if (offset >= Register.Config) {
      return isConfigAccess(offset, sizeBytes) ? this.device.readConfig(offset - Register.Config, sizeBytes) : 0
    }
    if (sizeBytes !== 4) return 0
    const { device } = this
    switch (offset) {
      case Register.MagicValue:
        return MAGIC
      case Register.Version:
        return VERSION
      case Register.DeviceId:
        return device.deviceId
      case Register.VendorId:
        return VENDOR
      case Register.DeviceFeatures:
        return device.offeredFeatures[this.deviceFeaturesWord] ?? 0
      case Register.QueueNumMax:
        return this.queue?.sizeMax ?? 0
      case Register.QueueReady:
        return this.queue?.isReady ? 1 : 0
      case Register.InterruptStatus:
        return device.interruptStatus
      case Register.Status:
        return device.status
      // No shared memory region: its length reads as all ones (4.2.2.1).
      case Register.ShmLenLow:
      case Register.ShmLenHigh:
      case Register.ShmBaseLow:
      case Register.ShmBaseHigh:
        return ALL_ONES
      case Register.ConfigGeneration:
        return device.configGeneration
      default:
        return 0
    }
  }

  write(offset: number, sizeBytes: number, value: number): void {
    if (offset >= Register.Config) {
      if (isConfigAccess(offset, sizeBytes)) this.device.writeConfig(offset - Register.Config, sizeBytes, value)
      return
    }
    if (sizeBytes !== 4) return
    const { device } = this
    switch (offset) {
      case Register.DeviceFeaturesSel:
        this.deviceFeaturesWord = value
        return
      case Register.DriverFeatures:
        device.setDriverFeatures(this.driverFeaturesWord, value)
        return
      case Register.DriverFeaturesSel:
        this.driverFeaturesWord = value
        return
      case Register.QueueSel:
        this.queueIndex = value
        return
      case Register.QueueNum:
        this.queue?.setSize(value)
        return
      case Register.QueueReady:
        if (this.queue !== undefined) device.setQueueReady(this.queue, (value & 1) !== 0)
        return
      case Register.QueueNotify:
        device.notify(value)
        return
      case Register.InterruptAck:
        device.acknowledge(value)
        return
      case Register.Status:
        if (value === 0) this.deviceFeaturesWord = this.driverFeaturesWord = this.queueIndex = 0
        device.setStatus(value & 0xff)
        return
      default:
        this.writeQueueAddress(offset, value)
    }
  }

  private writeQueueAddress(offset: number, value: number): void {
    switch (offset) {
      case Register.QueueDescLow:
      case Register.QueueDescHigh:
        this.setHalf('descriptorAddress', offset === Register.QueueDescHigh, value)
        return
      case Register.QueueDriverLow:
      case Register.QueueDriverHigh:
        this.setHalf('driverAddress', offset === Register.QueueDriverHigh, value)
        return
      case Register.QueueDeviceLow:
      case Register.QueueDeviceHigh:
        this.setHalf('deviceAddress', offset === Register.QueueDeviceHigh, value)
        return
    }
  }

  private get queue(): Virtqueue | undefined {
    return this.device.queues[this.queueIndex]
  }

  private setHalf(which: QueueAddress, isHigh: boolean, value: number): void {
    const queue = this.queue
    if (queue === undefined || queue.isReady) return
    const low = queue[which] % HIGH_WORD
    queue[which] = isHigh ? low + Math.min(value >>> 0, HIGH_MAX) * HIGH_WORD : queue[which] - low + (value >>> 0)
  }
}

function isConfigAccess(offset: number, sizeBytes: number): boolean {
  return (sizeBytes === 1 || sizeBytes === 2 || sizeBytes === 4) && offset % sizeBytes === 0 && offset < MMIO_BYTES
}
