/**
 * What all virtio devices share whatever the transport: status, feature negotiation, queues, interrupts (VIRTIO 1.2,
 * chapters 2 and 3).
 *
 * What may fail: everything the driver does; the device then sets DEVICE_NEEDS_RESET, tells so by a configuration change,
 * and leaves guest memory alone until it is reset. What never may: touching guest memory before DRIVER_OK or after a reset.
 */
import { assert } from '../co'
import type { GuestMemory } from './guest_memory'
import { Virtqueue } from './virtqueue'

export const enum DeviceStatus {
  Acknowledge = 1,
  Driver = 2,
  DriverOk = 4,
  FeaturesOk = 8,
  NeedsReset = 64,
  Failed = 128,
}

export const enum InterruptCause {
  UsedBuffer = 1,
  ConfigChange = 2,
}

/** Feature bits common to all devices, as masks of the word (0: bits 0 to 31, 1: bits 32 to 63) that they are in. */
export const FEATURE_INDIRECT_DESC = 1 << 28
export const FEATURE_EVENT_IDX = 1 << 29
export const FEATURE_HIGH_VERSION_1 = 1

const STATUS_OF_DRIVER = DeviceStatus.Acknowledge | DeviceStatus.Driver | DeviceStatus.DriverOk | DeviceStatus.Failed

/** The interrupt line, as the board or the world sees it. */
export interface InterruptLine {
  /** The line goes up. Called last in whatever the device does, so that the handler may call right back. */
  interrupt(): void
  /** The line goes down: the driver has acknowledged all causes, or has reset the device. */
  interruptCleared?(): void
}

export abstract class VirtioDevice {
  abstract readonly deviceId: number
  readonly queues: readonly Virtqueue[]
  /** Words of 32 feature bits. */
  readonly offeredFeatures: readonly [low: number, high: number]
  driverFeatures: [low: number, high: number] = [0, 0]
  /** The driver has set a bit beyond the first 64. */
  private hasForeignFeatures = false
  status = 0
  interruptStatus = 0
  configGeneration = 0
  /** Why the device needs a reset, in words; empty if it does not. */
  fault = ''
  private readonly line: InterruptLine
  /** Requests that were in flight when the driver took their queue away, and still are below. */
  protected abandoned = 0

  constructor(
    memory: GuestMemory,
    line: InterruptLine,
    features: number,
    queueCount: number,
    queueSizeMax: number,
    segmentsMax: number,
  ) {
    assert(queueCount > 0, 'queue-count')
    this.line = line
    this.offeredFeatures = [features >>> 0, FEATURE_HIGH_VERSION_1]
    this.queues = Array.from({ length: queueCount }, (_, index) => new Virtqueue(memory, index, queueSizeMax, segmentsMax))
  }

  /** Serves what is available on the queue. Called only between DRIVER_OK and whatever ends it. */
  protected abstract serveQueue(queue: Virtqueue): void
  protected abstract resetDevice(): void
  /** Little-endian; reads beyond the end give 0. `sizeBytes` is 1, 2 or 4 and the offset a multiple of it. */
  abstract readConfig(offset: number, sizeBytes: number): number
  abstract writeConfig(offset: number, sizeBytes: number, value: number): void

  /** True while the device may use its rings. */
  get isLive(): boolean {
    return (this.status & (DeviceStatus.DriverOk | DeviceStatus.NeedsReset)) === DeviceStatus.DriverOk
  }
  hasFeature(mask: number): boolean {
    return (this.driverFeatures[0] & mask) !== 0
  }

  /** One word of the driver's choice; ignored after FEATURES_OK. */
  setDriverFeatures(word: number, value: number): void {
    if ((this.status & DeviceStatus.FeaturesOk) !== 0) return
    if (word === 0 || word === 1) this.driverFeatures[word] = value >>> 0
    else if (value !== 0) this.hasForeignFeatures = true
  }

  private acceptsFeatures(): boolean {
    const [low, high] = this.driverFeatures
    const isSubset = (low & ~this.offeredFeatures[0]) === 0 && (high & ~this.offeredFeatures[1]) === 0
    return isSubset && !this.hasForeignFeatures && (high & FEATURE_HIGH_VERSION_1) !== 0
  }

  /** Writing 0 resets; otherwise bits are added, FEATURES_OK only if the features are acceptable (3.1.1, 2.2.2). */
  setStatus(value: number): void {
    if (value === 0) {
      this.reset()
      return
    }
    const wasLive = this.isLive
    let added = value & STATUS_OF_DRIVER
    if ((value & DeviceStatus.FeaturesOk) !== 0 && this.acceptsFeatures()) added |= DeviceStatus.FeaturesOk
    if (((this.status | added) & DeviceStatus.FeaturesOk) === 0) added &= ~DeviceStatus.DriverOk
    this.status |= added
    if (!wasLive && this.isLive) this.serveQueues(0)
  }

  reset(): void {
    this.status = 0
    this.fault = ''
    this.driverFeatures = [0, 0]
    this.hasForeignFeatures = false
    for (const queue of this.queues) this.abandoned += queue.reset()
    this.resetDevice()
    this.acknowledge(this.interruptStatus)
    assert(this.interruptStatus === 0 && !this.isLive, 'reset-device')
  }

  setQueueReady(queue: Virtqueue, isReady: boolean): void {
    if (!isReady) this.abandoned += queue.disable()
    else if (!queue.isReady && (this.status & DeviceStatus.FeaturesOk) !== 0) {
      const fault = queue.enable(this.hasFeature(FEATURE_INDIRECT_DESC), this.hasFeature(FEATURE_EVENT_IDX))
      if (fault !== null) this.fail(fault)
      else if (this.isLive) this.serveQueue(queue)
    }
  }

  /** The driver says that a queue has something available. */
  notify(queueIndex: number): void {
    const queue = this.queues[queueIndex]
    if (queue?.isReady && this.isLive) this.serveQueue(queue)
  }

  /** Serves all queues, beginning with `first`, so that none is last each time. */
  protected serveQueues(first: number): void {
    for (let step = 0; step < this.queues.length; step++) this.notify((first + step) % this.queues.length)
  }

  acknowledge(causes: number): void {
    const before = this.interruptStatus
    this.interruptStatus &= ~causes
    if (before !== 0 && this.interruptStatus === 0) this.line.interruptCleared?.()
  }

  protected raise(cause: InterruptCause): void {
    const before = this.interruptStatus
    this.interruptStatus |= cause
    if (before === 0) this.line.interrupt()
  }

  /** What the configuration says has changed. */
  protected configChanged(): void {
    this.configGeneration = (this.configGeneration + 1) >>> 0
    if ((this.status & DeviceStatus.DriverOk) !== 0) this.raise(InterruptCause.ConfigChange)
  }

  /** The driver broke the rules: nothing is served, and nothing completes, before a reset (2.1.2). */
  protected fail(fault: string): void {
    assert(fault !== '', 'fault-in-words')
    if (this.fault !== '') return
    this.fault = fault
    this.status |= DeviceStatus.NeedsReset
    for (const queue of this.queues) this.abandoned += queue.disable()
    this.configChanged()
  }
}
