/**
 * The `blklogwrites` filter: hands requests on to `file` and writes every change to the image `log`, in the format of the
 * Linux target dm-log-writes, so that any state that a power cut could have left can be put together again.
 *
 * The log is sectors of `log-sector-size`: a superblock, then for each change one sector that says what it was, and the data.
 *
 * What may fail: the file, then the log; a change that could not be logged fails.
 * What never may: an entry before its change has completed, or a flush that is logged before an earlier change: what stands
 * before a flush in the log is what that flush has made durable.
 */
import { assert, type Co, EIO, type Errno, Mutex, OK, strerror } from '../../co'
import type { PreallocationMode } from '../driver'
import { BlockError } from '../error'
import { type BlockLimits, Permission, RequestFlag } from '../flags'
import type { BlockChild } from '../node'
import { FilterDriver } from './filter'

const MAGIC = 0x006a_7366_7773_6872n
const VERSION = 1n
const SUPERBLOCK_BYTES = 28
const ENTRY_BYTES = 32
const DEFAULT_SECTOR_BYTES = 512
const SECTOR_BYTES_MAX = 1 << 23
const DEFAULT_UPDATE_INTERVAL = 4096

/** What an entry is; a bit set. */
const enum EntryFlag {
  None = 0,
  Flush = 1,
  Fua = 2,
  Discard = 4,
}

export interface LogWritesOptions {
  /** Adds to the log that is there; its sector size is then that of the log. */
  append?: boolean
  /** A power of two; 512 if absent. */
  sectorBytes?: number
  /** The superblock is written at least after that many entries, besides at every flush; 4096 if absent. */
  superUpdateInterval?: number
}

export class LogWritesDriver extends FilterDriver {
  readonly name = 'blklogwrites'
  private readonly appends: boolean
  private readonly updateInterval: number
  private sectorBytes: number
  private nextSector = 1
  private entries = 0n
  private log!: BlockChild
  /** Of two that are written at once the older one must not be last. */
  private superblock: Mutex | null = null

  /** Throws BlockError. Call `start` when the node has been made. */
  constructor(options: LogWritesOptions = {}) {
    super()
    const { append = false, sectorBytes = DEFAULT_SECTOR_BYTES, superUpdateInterval = DEFAULT_UPDATE_INTERVAL } = options
    checkSectorBytes(sectorBytes)
    if (append && options.sectorBytes !== undefined) {
      throw new BlockError('log-append and log-sector-size are mutually exclusive')
    }
    if (!Number.isSafeInteger(superUpdateInterval) || superUpdateInterval <= 0) {
      throw new BlockError(`Invalid log superblock update interval ${superUpdateInterval}`)
    }
    this.appends = append
    this.sectorBytes = sectorBytes
    this.updateInterval = superUpdateInterval
  }

  override refreshLimits(limits: BlockLimits): void {
    super.refreshLimits(limits)
    const log = this.node.children.get('log')
    assert(log !== undefined, 'blklogwrites-has-log', () => this.node.name)
    this.log = log
    this.superblock ??= new Mutex(this.node.kernel, `superblock of ${this.node.name}`)
    limits.requestAlignmentBytes = Math.max(limits.requestAlignmentBytes, this.sectorBytes)
  }
  override childPermissions(
    child: BlockChild,
    parentPermission: number,
    parentShared: number,
  ): { permission: number; shared: number } {
    if (child.name !== 'log') return super.childPermissions(child, parentPermission, parentShared)
    const own = Permission.ConsistentRead | Permission.Write | Permission.Resize
    return { permission: own, shared: Permission.ConsistentRead | Permission.WriteUnchanged }
  }

  /** Begins the log, or finds the end of the one that is there. Throws BlockError. */
  *start(): Co<void> {
    if (!this.appends) {
      const errno = yield* this.writeSuperblock()
      if (errno !== OK) throw new BlockError(`Could not write log superblock: ${strerror(errno)}`, { errno })
      return
    }
    const head = Buffer.alloc(SUPERBLOCK_BYTES)
    const errno = yield* this.log.pread(0, head)
    if (errno !== OK) throw new BlockError(`Could not read log superblock: ${strerror(errno)}`, { errno })
    if (head.readBigUInt64LE(0) !== MAGIC) throw new BlockError('Invalid log superblock magic')
    if (head.readBigUInt64LE(8) !== VERSION) throw new BlockError(`Unsupported log version ${head.readBigUInt64LE(8)}`)
    this.entries = head.readBigUInt64LE(16)
    this.sectorBytes = head.readUInt32LE(24)
    checkSectorBytes(this.sectorBytes)
    yield* this.findEnd()
    this.node.graph.refreshLimits(this.node)
  }

  /** Follows the entries: each says how much data comes after it. */
  private *findEnd(): Co<void> {
    const entry = Buffer.alloc(ENTRY_BYTES)
    const logSectors = Math.floor(this.log.node.lengthBytes / this.sectorBytes)
    for (let index = 0n; index < this.entries; index++) {
      const errno = yield* this.log.pread(this.nextSector * this.sectorBytes, entry)
      if (errno !== OK) throw new BlockError(`Failed to read log entry ${index}: ${strerror(errno)}`, { errno })
      const isDataless = (entry.readBigUInt64LE(16) & BigInt(EntryFlag.Discard)) !== 0n
      const sectors = isDataless ? 0n : entry.readBigUInt64LE(8)
      if (sectors > BigInt(logSectors - this.nextSector)) throw new BlockError(`Invalid log entry ${index}`, { errno: EIO })
      this.nextSector += 1 + Number(sectors)
    }
    assert(this.nextSector <= logSectors, 'log-inside')
  }

  override *pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    assert(offsetBytes >= 0 && buffer.length > 0, 'blklogwrites-range')
    const errno = yield* super.pwrite(offsetBytes, buffer, flags)
    const kind = (flags & RequestFlag.Fua) !== 0 ? EntryFlag.Fua : EntryFlag.None
    return errno === OK ? yield* this.append(kind, offsetBytes, buffer.length, buffer) : errno
  }
  override *pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    assert(offsetBytes >= 0 && lengthBytes > 0, 'blklogwrites-range')
    const errno = yield* super.pwriteZeroes(offsetBytes, lengthBytes, flags)
    const kind = (flags & RequestFlag.Fua) !== 0 ? EntryFlag.Fua : EntryFlag.None
    return errno === OK ? yield* this.append(kind, offsetBytes, lengthBytes, null) : errno
  }
  override *pdiscard(offsetBytes: number, lengthBytes: number): Co<Errno> {
    assert(offsetBytes >= 0 && lengthBytes > 0, 'blklogwrites-range')
    const errno = yield* super.pdiscard(offsetBytes, lengthBytes)
    return errno === OK ? yield* this.append(EntryFlag.Discard, offsetBytes, lengthBytes, null) : errno
  }
  /** Its place is taken before it begins: a change that ends meanwhile may not have become durable by it. */
  override *flush(): Co<Errno> {
    const at = this.reserve(0)
    const errno = yield* this.child.flush()
    // A place that has been taken must be filled; a flush that failed says nothing there.
    const logErrno = yield* this.writeEntry(at, errno === OK ? EntryFlag.Flush : EntryFlag.None, 0, 0, null)
    if (errno !== OK) return errno
    return logErrno === OK ? yield* this.writeSuperblock() : logErrno
  }
  /** A change of length is no entry: replaying the log needs a disk that is long enough. */
  override truncate(lengthBytes: number, exact: boolean, preallocation: PreallocationMode): Co<Errno> {
    return this.child.truncate(lengthBytes, exact, preallocation)
  }

  /** Takes the place of the next entry with so much data. */
  private reserve(dataBytes: number): number {
    assert(dataBytes % this.sectorBytes === 0, 'log-sectors')
    const at = this.nextSector * this.sectorBytes
    this.nextSector += 1 + dataBytes / this.sectorBytes
    this.entries++
    return at
  }

  /** Adds the entry of a change that has just completed; without `data`, of zeroes, or of nothing for discards. */
  private *append(kind: EntryFlag, offsetBytes: number, lengthBytes: number, data: Uint8Array | null): Co<Errno> {
    const isUpdate = this.entries % BigInt(this.updateInterval) === BigInt(this.updateInterval - 1)
    const hasZeroes = kind !== EntryFlag.Discard && data === null
    const at = this.reserve(kind === EntryFlag.Discard ? 0 : lengthBytes)
    let errno = yield* this.writeEntry(at, kind, offsetBytes, lengthBytes, data)
    if (errno === OK && hasZeroes) errno = yield* this.log.pwriteZeroes(at + this.sectorBytes, lengthBytes)
    return errno === OK && isUpdate ? yield* this.writeSuperblock() : errno
  }

  private writeEntry(
    atBytes: number,
    kind: EntryFlag,
    offsetBytes: number,
    lengthBytes: number,
    data: Uint8Array | null,
  ): Co<Errno> {
    const { sectorBytes } = this
    assert(offsetBytes % sectorBytes === 0 && lengthBytes % sectorBytes === 0, 'log-sectors')
    const entry = Buffer.alloc(sectorBytes + (data === null ? 0 : lengthBytes))
    entry.writeBigUInt64LE(BigInt(offsetBytes / sectorBytes), 0)
    entry.writeBigUInt64LE(BigInt(lengthBytes / sectorBytes), 8)
    entry.writeBigUInt64LE(BigInt(kind), 16)
    if (data !== null) entry.set(data, sectorBytes)
    return this.log.pwrite(atBytes, entry)
  }

  private *writeSuperblock(): Co<Errno> {
    const superblock = this.superblock!
    yield* superblock.lock()
    const head = Buffer.alloc(this.sectorBytes)
    head.writeBigUInt64LE(MAGIC, 0)
    head.writeBigUInt64LE(VERSION, 8)
    head.writeBigUInt64LE(this.entries, 16)
    head.writeUInt32LE(this.sectorBytes, 24)
    let errno = yield* this.log.pwrite(0, head)
    if (errno === OK) errno = yield* this.log.flush()
    superblock.unlock()
    return errno
  }

  override *close(): Co<Errno> {
    return yield* this.writeSuperblock()
  }
}

function checkSectorBytes(bytes: number): void {
  const isPower = Number.isSafeInteger(bytes) && bytes > 0 && (bytes & (bytes - 1)) === 0
  if (!isPower || bytes < SUPERBLOCK_BYTES || bytes >= SECTOR_BYTES_MAX) {
    throw new BlockError(`Invalid log sector size ${bytes}`)
  }
}
