/**
 * The contract of a block driver: one instance serves one node. The block layer (io.ts) calls it with requests that are
 * already checked, aligned to `limits`, split, tracked and inside the node; a driver does not check these again but may
 * assert them. A driver returns an errno, never throws for a failing medium.
 *
 * `pwriteZeroes` and `pdiscard` answering ENOTSUP means "not for this request": the block layer writes zero buffers
 * instead (unless NoFallback), or takes the discard as done.
 */
import { type Co, ENOTSUP, type Errno, OK } from '../co'
import { BlockError } from './error'
import { type BlockLimits, Permission, StatusFlag } from './flags'
import { refuseStorage } from './named_bitmap'
import type { BlockChild, BlockNode } from './node'

/** The answer of a status query: `flags` of StatusFlag hold for the first `bytes` of the range asked (0 < bytes <= asked). */
export interface BlockStatus {
  errno: Errno
  flags: number
  bytes: number
  /** Valid with StatusFlag.OffsetValid: where the data lies in `mapNode`. */
  mapOffsetBytes: number
  mapNode: BlockNode | null
}

export function statusOf(flags: number, bytes: number, mapOffsetBytes = 0, mapNode: BlockNode | null = null): BlockStatus {
  return { errno: OK, flags, bytes, mapOffsetBytes, mapNode }
}

export function statusError(errno: Errno): BlockStatus {
  return { errno, flags: StatusFlag.None, bytes: 0, mapOffsetBytes: 0, mapNode: null }
}

/** What `bdrv_get_info` gives: unit of allocation, and whether zero writes with MayUnmap really free space. */
export interface DriverInfo {
  /** 0 where the driver has no clusters. */
  clusterBytes: number
  /** Unit of zeroing and allocation; equals clusterBytes without subclusters, 0 where unknown. */
  subclusterBytes: number
}

/** What a format tells of an image beyond what all of them do: ImageInfoSpecific. */
export interface FormatDetails {
  type: string
  data: Readonly<Record<string, unknown>>
}

/** How precise a status answer must be: `wantZero` asks whether holes read zero, otherwise only where data is allocated. */
export type StatusMode = 'want-zero' | 'allocation-only'

/** What a check puts right: nothing, clusters that nobody uses, or everything. */
export type CheckFix = 'none' | 'leaks' | 'all'

/** What `qemu-img check` tells of an image. Counts of what was found are without what was repaired. */
export interface CheckResult {
  /** The check could not be ended; the counts hold for what was looked at until then. */
  errno: Errno
  corruptions: number
  leaks: number
  checkErrors: number
  corruptionsFixed: number
  leaksFixed: number
  /** 0: not known. */
  imageEndOffsetBytes: number
  totalClusters: number
  allocatedClusters: number
  fragmentedClusters: number
  compressedClusters: number
}

/** An internal snapshot that is to be made; the driver gives it its id. */
export interface NewSnapshot {
  name: string
  dateSeconds: number
  dateNanoseconds: number
  /** How long the machine had run. */
  vmClockNs: bigint
  /** Length of the machine's state in the image, 0 without one. */
  vmStateBytes: number
  icount: bigint | null
}

export interface SnapshotInfo extends NewSnapshot {
  id: string
  /** Length of the disk when it was made. */
  diskBytes: number
}

/** A past state of a disk, of which parts may have been given up. */
export interface SnapshotSource {
  /** EACCES where the state is not kept any more, or never was. */
  readSnapshot(offsetBytes: number, buffer: Uint8Array): Co<Errno>
  snapshotStatus(mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus>
  /** The range will not be read again. */
  discardSnapshot(offsetBytes: number, lengthBytes: number): Co<Errno>
}

export type PreallocationMode = 'off' | 'metadata' | 'falloc' | 'full'

export abstract class BlockDriver {
  /** The `driver` name of blockdev-add. */
  abstract readonly name: string
  /** A filter reads exactly as its one child `file` (or `backing`, see `filterChildName`). */
  readonly isFilter: boolean = false
  /** A protocol driver has no child that stores its data. */
  readonly isProtocol: boolean = false
  /** An overlay: what is not allocated here reads from the child `backing`, and as zeroes without one. */
  readonly supportsBacking: boolean = false
  /**
   * A filter that may refuse status queries by `admitStatus`. It never answers them: what is allocated where is a matter
   * of the layers below.
   */
  readonly judgesStatus: boolean = false
  /** Data can only be stored compressed, and only once in each place: whoever makes a copy writes whole clusters so. */
  readonly needsCompressedWrites: boolean = false
  /** True if `debugEvent` has somebody to tell. */
  readonly hearsEvents: boolean = false
  /** Read-only only as long as nobody above has to write: `auto-read-only` of files. */
  readonly becomesWritable: boolean = false
  /** What the node held at some moment, where it keeps that for readers: `snapshot-access` shows it. */
  readonly snapshot: SnapshotSource | null = null
  /** Which request flags reach the driver; the block layer emulates Fua by a flush and drops MayUnmap otherwise. */
  supportedWriteFlags = 0
  supportedZeroFlags = 0
  /** The node this instance serves; set by the graph when the node is made. */
  node!: BlockNode

  /** The name of the file that it reads, where a name alone says which. */
  filename(): string | null {
    return null
  }

  /** Length in bytes now; a multiple of 1, the block layer rounds up to sectors where QEMU does. */
  abstract lengthBytes(): number
  abstract pread(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno>
  abstract pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno>

  *pwriteZeroes(_offsetBytes: number, _lengthBytes: number, _flags: number): Co<Errno> {
    return ENOTSUP
  }

  *pdiscard(_offsetBytes: number, _lengthBytes: number): Co<Errno> {
    return ENOTSUP
  }

  /** Whether `copyFrom` of that driver's medium may work; false where it is known that it never does. */
  copiesFrom(_source: BlockDriver): boolean {
    return false
  }

  /** Copies a range of the other driver's medium to the same place of this one; ENOTSUP: not for this range. */
  *copyFrom(_source: BlockDriver, _offsetBytes: number, _lengthBytes: number): Co<Errno> {
    return ENOTSUP
  }

  /** Whether a flush of the node is one of this child too, if the node may write there. */
  flushes(_child: BlockChild): boolean {
    return true
  }

  /** Makes everything that completed before durable. */
  *flush(): Co<Errno> {
    return OK
  }

  /** Status of a range; a driver without knowledge says it is all data. */
  *blockStatus(_mode: StatusMode, _offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    return statusOf(StatusFlag.Allocated | StatusFlag.Data, lengthBytes)
  }

  /** See `judgesStatus`. An errno fails the query of the range. */
  *admitStatus(_offsetBytes: number, _lengthBytes: number): Co<Errno> {
    return OK
  }

  /** Writes into the image which backing file it has, and in which format; the child is not touched. */
  *changeBackingFile(_name: string | null, _format: string | null): Co<Errno> {
    return ENOTSUP
  }

  /** Gives all of the layer's own content up: everything reads from the image below. ENOTSUP: there is nothing below. */
  *makeEmpty(): Co<Errno> {
    return ENOTSUP
  }

  /** Children that hold the same data as the node, any of which may be replaced by a copy of it. */
  replicas(): readonly BlockChild[] {
    return []
  }

  /** The name of a further child that `child` is to be. Throws BlockError unless the node can take it. */
  nextChildName(_child: BlockNode): string {
    throw new BlockError(`The node ${this.node.name} does not support adding a child`)
  }
  childAdded(_child: BlockChild): void {}
  /** Throws BlockError unless the node can do without `child`. */
  checkChildRemoval(_child: BlockChild): void {
    throw new BlockError(`The node ${this.node.name} does not support removing a child`)
  }
  childRemoved(_child: BlockChild): void {}

  /** Changes the length. `exact`: fail rather than be longer. New area reads zero. A filter changes its child. */
  *truncate(lengthBytes: number, exact: boolean, preallocation: PreallocationMode): Co<Errno> {
    const filtered = this.node.filtered
    return filtered === null ? ENOTSUP : yield* filtered.truncate(lengthBytes, exact, preallocation)
  }

  /** A parent reached a point that tests may stop at, by QEMU's name of it: `l2_update`. See `BlockNode.debugEvent`. */
  *debugEvent(_event: string): Co<void> {}

  /** Fills `limits` in after the block layer has merged those of the children. */
  refreshLimits(_limits: BlockLimits): void {}

  info(): DriverInfo {
    return { clusterBytes: 0, subclusterBytes: 0 }
  }

  /** null where there is nothing to tell. */
  formatDetails(): FormatDetails | null {
    return null
  }

  /** What the image takes on its medium now, or null where that is not known. */
  allocatedBytes(): number | null {
    return null
  }

  /** True if all of the image is known to read zero without looking at the medium; false means "not known". */
  readsAllZero(): boolean {
    return false
  }

  /** True if a freshly created image of this driver reads zero without writing. */
  hasZeroInit(): boolean {
    return false
  }

  /**
   * Looks for what is wrong with the image's metadata and puts it right as far as `fix` says; `tell` gets every line that
   * QEMU prints. Nobody may use the node meanwhile. `errno` ENOTSUP: the format has no check.
   */
  *checkImage(_fix: CheckFix, _tell: (line: string) => void): Co<CheckResult> {
    return {
      errno: ENOTSUP,
      ...{ corruptions: 0, leaks: 0, checkErrors: 0, corruptionsFixed: 0, leaksFixed: 0, imageEndOffsetBytes: 0 },
      ...{ totalClusters: 0, allocatedClusters: 0, fragmentedClusters: 0, compressedClusters: 0 },
    }
  }

  /** Internal snapshots in the order of their table, or null where the format has none. */
  snapshots(): readonly SnapshotInfo[] | null {
    return null
  }

  /** Makes an internal snapshot of what the node holds now; drains the node. */
  *snapshotCreate(_wanted: NewSnapshot): Co<Errno> {
    return ENOTSUP
  }

  /** Takes the disk back to a snapshot, found by its id or else by its name (ENOENT); drains the node. Throws BlockError. */
  *snapshotApply(_idOrName: string): Co<Errno> {
    return ENOTSUP
  }

  /** Deletes the first snapshot with this id and name; null stands for any. Throws BlockError; drains the node. */
  *snapshotDelete(_id: string | null, _name: string | null): Co<Errno> {
    return ENOTSUP
  }

  /** Throws BlockError, with QEMU's text, unless the format can keep a new bitmap of this name and granularity. */
  *checkStorableBitmap(_name: string, _granularityBytes: number): Co<void> {
    throw refuseStorage(this.node)
  }

  /** Removes a bitmap from the image, if it is there. */
  *removeStoredBitmap(_name: string): Co<Errno> {
    return OK
  }

  /**
   * Permissions that this node takes on `child`, given what its own parents hold in total. A backing image is only read;
   * others may change it if the overlay's users can live with changing data.
   */
  childPermissions(child: BlockChild, parentPermission: number, parentShared: number): { permission: number; shared: number } {
    if (child.role === 'cow') {
      const changing = (parentShared & Permission.Write) !== 0 ? Permission.Write | Permission.Resize : Permission.None
      const shared = Permission.ConsistentRead | Permission.WriteUnchanged | changing
      return { permission: parentPermission & Permission.ConsistentRead, shared }
    }
    // A format does not look for its file's length again.
    const kept = child.role === 'image' ? parentShared & ~Permission.Resize : parentShared
    return { permission: parentPermission | Permission.ConsistentRead, shared: kept }
  }

  /**
   * What the node's users need of it in total, and what they leave to others, is about to be this. A driver whose medium
   * others can open tells them. Throws BlockError if they exclude it; otherwise gives what takes the change back, or null.
   */
  setPermissions(_permission: number, _shared: number): (() => void) | null {
    return null
  }

  /**
   * The node is about to be read-only, which is the last moment to write what is in memory, or has become writable.
   * Throws BlockError.
   */
  *setReadOnly(_isReadOnly: boolean): Co<void> {}

  /** Whether the node can be handed over to another program: what is in memory of the medium can be read anew. */
  get handsOver(): boolean {
    return this.isFilter || this.isProtocol
  }
  /** The node is about to be inactive: writes what is in memory alone. Throws BlockError. */
  *inactivate(): Co<void> {}
  /** The node is active again, and others may have changed the medium meanwhile. Throws BlockError. */
  *activate(): Co<void> {}

  /**
   * Who waits for these requests has given up: those that wait for something which may never come, such as a connection, are
   * to fail now. The others end as they would have.
   */
  cancelInFlight(): void {
    for (const child of this.node.children.values()) if (child.role !== 'cow') child.node.driver.cancelInFlight()
  }

  /** Stop, respectively restart, I/O that the driver starts by itself. */
  drainBegin(): void {}
  drainEnd(): void {}

  /** Flushes and releases everything. Called once, in a drained section. */
  *close(): Co<Errno> {
    return OK
  }
}
