/**
 * The virtio block device (VIRTIO 1.2, 5.2) on a backend of the block layer. Each request is one coroutine, under the
 * label that `labelRequest` gives; requests run side by side and complete in any order.
 *
 * What may fail: the guest's requests, by the status byte; its rings, by DEVICE_NEEDS_RESET. What never may: guest memory
 * touched after a reset; a request begun while the backend is drained, or while one from before a reset still runs (its
 * write would land on what the guest has written since).
 */
import { type BlockBackend, BlockError, REQUEST_MAX_BYTES, RequestFlag } from '../block'
import { assert, type Co, EACCES, type Errno, type Kernel, type Label, numberedLabel, OK } from '../co'
import { BlkConfig, ConfigField } from './blk_config'
import { BlkFeature, featuresOf, SECTOR_BYTES, settleOptions, type VirtioBlkOptions, type VirtioBlkSettings } from './blk_options'
import { BlkRequest, HEADER_BYTES, RANGE_BYTES, wordAt } from './blk_request'
import { DeviceStatus, InterruptCause, VirtioDevice } from './device'
import type { GuestMemory } from './guest_memory'
import { Popped, type Virtqueue } from './virtqueue'

const enum RequestType {
  In = 0,
  Out = 1,
  Flush = 4,
  GetId = 8,
  Discard = 11,
  WriteZeroes = 13,
}

export const enum BlkStatus {
  Ok = 0,
  IoError = 1,
  Unsupported = 2,
}

const ID_BYTES = 20
const STATUS_BYTES = 1
const RANGE_FLAG_UNMAP = 1
/** Most data of one request: bounds what a guest can make the device hold. */
const TRANSFER_MAX_BYTES = 64 << 20
/** Descriptors of a request beyond its data: header and status. */
const FRAME_SEGMENTS = 2

export class VirtioBlk extends VirtioDevice {
  readonly deviceId = 2
  readonly settings: VirtioBlkSettings
  private readonly kernel: Kernel
  private readonly backend: BlockBackend
  private readonly memory: GuestMemory
  private readonly labelRequest: (queueIndex: number, headIndex: number) => Label
  private readonly config: BlkConfig
  private readonly freeRequests: BlkRequest[] = []
  private inFlight = 0
  /** Set by the backend: nothing is taken off the rings meanwhile. */
  isDrained: boolean
  /** A queue may have been left with work because of `inFlightMax`; `turn` is the first to be served again. */
  private isStarved = false
  private turn = 0

  /** Becomes the owner of `backend`, which must have a medium. Throws BlockError for options that no device can have. */
  constructor(kernel: Kernel, backend: BlockBackend, memory: GuestMemory, options: VirtioBlkOptions) {
    const settings = settleOptions(options)
    const { queueCount, queueSize, segmentsMax } = settings
    if (backend.root === null) throw new BlockError('Device needs media, but drive is empty')
    if (!settings.readOnly && backend.root.node.options.readOnly)
      throw new BlockError('Block node is read-only', { errno: EACCES })
    super(memory, options, featuresOf(settings), queueCount, queueSize, segmentsMax + FRAME_SEGMENTS)
    this.settings = settings
    this.kernel = kernel
    this.backend = backend
    this.memory = memory
    this.labelRequest = options.labelRequest ?? ((queueIndex, headIndex) => numberedLabel(`q${queueIndex}.`, headIndex))
    this.config = new BlkConfig(settings)
    this.isDrained = backend.isShut()
    backend.hooks = { drainBegin: () => this.drainBegin(), drainEnd: () => this.drainEnd() }
    this.resetDevice()
  }

  /** The medium has another length now; tells the driver. */
  resized(): void {
    this.config.setCapacity(Math.floor(this.backend.lengthBytes / SECTOR_BYTES))
    this.configChanged()
  }

  protected override resetDevice(): void {
    this.config.setCapacity(Math.floor(this.backend.lengthBytes / SECTOR_BYTES))
    this.config.isWriteback = this.settings.writeCache
    this.isStarved = false
    this.turn = 0
  }

  override setStatus(value: number): void {
    const before = this.status
    super.setStatus(value)
    const isNew = (this.status & ~before & DeviceStatus.FeaturesOk) !== 0
    // A driver that may switch the cache but cannot flush it starts without one (5.2.5.2).
    if (isNew && this.hasFeature(BlkFeature.ConfigWce) && !this.hasFeature(BlkFeature.Flush)) this.config.isWriteback = false
  }

  override readConfig(offset: number, sizeBytes: number): number {
    return this.config.read(offset, sizeBytes)
  }
  override writeConfig(offset: number, sizeBytes: number, value: number): void {
    const isWriteback = offset === ConfigField.Writeback && sizeBytes === 1
    if (isWriteback && this.hasFeature(BlkFeature.ConfigWce)) this.config.isWriteback = (value & 1) !== 0
  }

  /** Whether what completes must be durable: the guest knows of no cache that it could flush (5.2.6.2). */
  private get isWritethrough(): boolean {
    if (this.hasFeature(BlkFeature.ConfigWce)) return !this.config.isWriteback
    return !this.hasFeature(BlkFeature.Flush) || !this.settings.writeCache
  }

  private get isHalted(): boolean {
    return this.isDrained || this.abandoned > 0
  }
  private drainBegin(): void {
    this.isDrained = true
    if (this.isLive) for (const queue of this.queues) if (queue.isReady) queue.askNotifications(false)
  }
  private drainEnd(): void {
    this.isDrained = false
    this.serveQueues(0)
  }

  protected override serveQueue(queue: Virtqueue): void {
    while (!this.isHalted && this.inFlight < this.settings.inFlightMax) {
      const request = this.freeRequests.pop() ?? this.makeRequest()
      const head = queue.pop(request.chain, HEADER_BYTES, STATUS_BYTES)
      if (head < 0) {
        this.freeRequests.push(request)
        if (head === Popped.Malformed) this.fail(queue.fault)
        else queue.askNotifications(true)
        return
      }
      request.begin(queue, head)
      this.inFlight++
      this.turn = (queue.index + 1) % this.queues.length
      this.kernel.spawn(this.serve(request), this.labelRequest(queue.index, head))
    }
    queue.askNotifications(false)
    this.isStarved = true
  }

  private makeRequest(): BlkRequest {
    return new BlkRequest(this.memory, (bytes) => this.backend.graph.allocateBuffer(bytes))
  }

  private *serve(request: BlkRequest): Co<void> {
    let status: BlkStatus = BlkStatus.IoError
    // A request that was reset away before it began has no effect at all.
    if (request.isCurrent) status = yield* this.execute(request)
    assert(this.inFlight > 0, 'in-flight-count')
    const dataBytes = status === BlkStatus.Ok ? this.answerBytes(request) : 0
    if (request.isCurrent) request.answer(dataBytes, status)
    const writtenBytes = request.chain.writableBytes
    const queue = request.end()
    this.freeRequests.push(request)
    this.inFlight--
    if (queue === null) {
      this.abandoned--
      assert(this.abandoned >= 0, 'abandoned-count')
      if (this.abandoned === 0) this.serveQueues(0)
      return
    }
    queue.push(request.head, writtenBytes)
    const isWanted = queue.takeInterruptWish()
    if (this.isStarved) {
      this.isStarved = false
      this.serveQueues(this.turn)
    }
    if (isWanted && this.isLive) this.raise(InterruptCause.UsedBuffer)
  }

  private answerBytes(request: BlkRequest): number {
    if (request.type === RequestType.In) return request.inBytes
    return request.type === RequestType.GetId ? Math.min(ID_BYTES, request.inBytes) : 0
  }

  private *execute(request: BlkRequest): Co<BlkStatus> {
    switch (request.type) {
      case RequestType.In:
        return yield* this.readData(request)
      case RequestType.Out:
        return yield* this.writeData(request)
      case RequestType.Flush:
        return statusOf(yield* this.backend.flush())
      case RequestType.GetId:
        return this.identify(request)
      case RequestType.Discard:
        return this.hasFeature(BlkFeature.Discard) ? yield* this.changeRanges(request, true) : BlkStatus.Unsupported
      case RequestType.WriteZeroes:
        return this.hasFeature(BlkFeature.WriteZeroes) ? yield* this.changeRanges(request, false) : BlkStatus.Unsupported
      default:
        return BlkStatus.Unsupported
    }
  }

  /** Whole blocks inside the disk. */
  private isInside(offsetBytes: number, lengthBytes: number): boolean {
    const { blockBytes } = this.settings
    const isAligned = offsetBytes % blockBytes === 0 && lengthBytes % blockBytes === 0
    return isAligned && offsetBytes + lengthBytes <= this.backend.lengthBytes
  }

  private *readData(request: BlkRequest): Co<BlkStatus> {
    const { offsetBytes, inBytes } = request
    if (inBytes > TRANSFER_MAX_BYTES || !this.isInside(offsetBytes, inBytes)) return BlkStatus.IoError
    return statusOf(yield* this.backend.pread(offsetBytes, request.reserve(inBytes)))
  }

  private *writeData(request: BlkRequest): Co<BlkStatus> {
    const { offsetBytes, outBytes } = request
    if (this.settings.readOnly || outBytes > TRANSFER_MAX_BYTES || !this.isInside(offsetBytes, outBytes)) return BlkStatus.IoError
    const flags = this.isWritethrough ? RequestFlag.Fua : RequestFlag.None
    return statusOf(yield* this.backend.pwrite(offsetBytes, request.fetch(), flags))
  }

  private identify(request: BlkRequest): BlkStatus {
    const data = request.reserve(ID_BYTES).fill(0)
    const { serial } = this.settings
    for (let index = 0; index < Math.min(serial.length, ID_BYTES); index++) data[index] = serial.charCodeAt(index)
    return BlkStatus.Ok
  }

  /** Discards or zeroes every range of the request, after all of them have been checked. */
  private *changeRanges(request: BlkRequest, isDiscard: boolean): Co<BlkStatus> {
    const { settings } = this
    const countMax = isDiscard ? settings.discardSegmentsMax : settings.writeZeroesSegmentsMax
    const { outBytes } = request
    if (settings.readOnly || outBytes === 0 || outBytes % RANGE_BYTES !== 0) return BlkStatus.IoError
    if (outBytes > countMax * RANGE_BYTES) return BlkStatus.Unsupported
    const ranges = request.fetch()
    const refused = this.checkRanges(ranges, isDiscard)
    if (refused !== BlkStatus.Ok) return refused

    const durable = this.isWritethrough ? RequestFlag.Fua : RequestFlag.None
    for (let at = 0; at < ranges.length; at += RANGE_BYTES) {
      const offsetBytes = rangeOffsetBytes(ranges, at)
      const lengthBytes = wordAt(ranges, at + 8) * SECTOR_BYTES
      assert(lengthBytes <= REQUEST_MAX_BYTES, 'range-bounded')
      const unmap = (wordAt(ranges, at + 12) & RANGE_FLAG_UNMAP) !== 0 ? RequestFlag.MayUnmap : RequestFlag.None
      const errno = isDiscard
        ? yield* this.backend.pdiscard(offsetBytes, lengthBytes)
        : yield* this.backend.pwriteZeroes(offsetBytes, lengthBytes, unmap | durable)
      if (errno !== OK) return BlkStatus.IoError
    }
    return BlkStatus.Ok
  }

  /** Flags first: an unknown one makes the request unsupported whatever else is wrong with it (5.2.6.2). */
  private checkRanges(ranges: Uint8Array, isDiscard: boolean): BlkStatus {
    const knownFlags = isDiscard ? 0 : RANGE_FLAG_UNMAP
    const sectorsMax = isDiscard ? this.settings.discardMaxSectors : this.settings.writeZeroesMaxSectors
    for (let at = 0; at < ranges.length; at += RANGE_BYTES) {
      if ((wordAt(ranges, at + 12) & ~knownFlags) !== 0) return BlkStatus.Unsupported
    }
    for (let at = 0; at < ranges.length; at += RANGE_BYTES) {
      const sectors = wordAt(ranges, at + 8)
      if (sectors > sectorsMax || !this.isInside(rangeOffsetBytes(ranges, at), sectors * SECTOR_BYTES)) return BlkStatus.IoError
    }
    return BlkStatus.Ok
  }
}

function statusOf(errno: Errno): BlkStatus {
  return errno === OK ? BlkStatus.Ok : BlkStatus.IoError
}

function rangeOffsetBytes(ranges: Uint8Array, at: number): number {
  return (wordAt(ranges, at) + wordAt(ranges, at + 4) * 2 ** 32) * SECTOR_BYTES
}
