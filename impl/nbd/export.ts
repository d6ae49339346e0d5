/**
 * An export: a node of the graph under a name that NBD clients ask for. It holds the node through a backend like a device
 * does, so that drained sections hold its requests back and a job's pivot moves it. While it exists, nobody can change the
 * node's length.
 *
 * What may fail: making it, as a BlockError with QEMU's text; requests, as an errno. What never may: a request outside
 * [0, lengthBytes); a change through an export that is not writable.
 */
import {
  BlockBackend,
  BlockError,
  type BlockNode,
  type BlockStatus,
  type DirtyBitmap,
  Permission,
  RequestFlag,
  StatusFlag,
  type StatusMode,
  statusError,
} from '../block'
import { assert, type Co, EBUSY, EINVAL, ENOMEDIUM, type Errno, OK, WaitQueue } from '../co'
import { STRING_MAX_BYTES, TransmissionFlag } from './protocol'
import { encodeText } from './wire'

/** A dirty bitmap that clients may read as `qemu:dirty-bitmap:NAME`. */
export interface ExportBitmap {
  readonly name: string
  readonly bitmap: DirtyBitmap
  /** The export is gone: it needs the bitmap no more. */
  release?(): void
}

export interface ExportOptions {
  /** Of the export among all block exports. */
  readonly id: string
  /** What clients ask for. Empty: the default export. */
  readonly name: string
  readonly node: BlockNode
  readonly writable: boolean
  /** Every change is durable when it is answered. */
  readonly writethrough?: boolean
  readonly description?: string
  readonly bitmaps?: readonly ExportBitmap[]
  /** Offers `qemu:allocation-depth`. */
  readonly allocationDepth?: boolean
  /** The node may be handed over to another program meanwhile. */
  readonly allowsInactive?: boolean
  /** After the last trace of the export is gone; `held` is the node that it was on in the end. */
  readonly onDeleted?: (exported: NbdExport, held: BlockNode | null) => void
}

/** A client of an export: what ends its connection. */
export interface ExportClient {
  /** Its connection is gone, but requests of it still run. */
  readonly isEnding: boolean
  disconnect(): void
}

/** Preferred size of requests where the node says nothing. */
const PREFERRED_BLOCK_BYTES = 4096

export class NbdExport {
  readonly id: string
  readonly name: string
  readonly description: string | null
  readonly isWritable: boolean
  readonly bitmaps: readonly ExportBitmap[]
  readonly allocationDepth: boolean
  /** As clients see it, from first to last. A multiple of 512. */
  readonly lengthBytes: number
  readonly backend: BlockBackend
  private readonly writeFlags: number
  private readonly onDeleted: ExportOptions['onDeleted'] | null
  private readonly clients = new Set<ExportClient>()
  /** Woken when a client has gone. */
  private readonly changed: WaitQueue
  /** No new clients. */
  isClosing = false
  isDeleted = false

  /** Throws BlockError, and holds nothing then. */
  constructor(options: ExportOptions) {
    const { node } = options
    checkText('export name', options.name)
    checkText('description', options.description ?? '')
    if (options.writable && node.options.readOnly) throw new BlockError('Cannot export read-only node as writable')
    this.id = options.id
    this.name = options.name
    this.description = options.description ?? null
    this.isWritable = options.writable
    this.bitmaps = options.bitmaps ?? []
    this.allocationDepth = options.allocationDepth ?? false
    this.writeFlags = options.writethrough === true ? RequestFlag.Fua : RequestFlag.None
    this.onDeleted = options.onDeleted ?? null
    this.lengthBytes = node.lengthBytes
    this.changed = new WaitQueue(node.kernel)
    this.backend = new BlockBackend(node.graph, '')
    this.backend.letsGo = options.allowsInactive ?? false
    const permission = Permission.ConsistentRead | (options.writable ? Permission.Write : Permission.None)
    this.backend.attach(node, permission, Permission.All & ~Permission.Resize)
  }

  get clientCount(): number {
    return this.clients.size
  }
  /** What the node holds requests to; a power of two, at most 64 KiB that a client can be asked for. */
  get minBlockBytes(): number {
    return this.backend.root?.node.limits.requestAlignmentBytes ?? 1
  }
  get preferredBlockBytes(): number {
    return Math.max(PREFERRED_BLOCK_BYTES, this.minBlockBytes)
  }
  /** Flags without those that depend on what a client has negotiated. */
  transmissionFlags(isMultiConn: boolean): number {
    const always = TransmissionFlag.HasFlags | TransmissionFlag.SendFlush | TransmissionFlag.SendFua | TransmissionFlag.SendCache
    const changing = TransmissionFlag.SendTrim | TransmissionFlag.SendWriteZeroes | TransmissionFlag.SendFastZero
    const multi = isMultiConn ? TransmissionFlag.CanMultiConn : 0
    return always | multi | (this.isWritable ? changing : TransmissionFlag.ReadOnly)
  }

  join(client: ExportClient): void {
    assert(!this.isClosing && !this.clients.has(client), 'export-takes-client', () => this.name)
    this.clients.add(client)
  }
  leave(client: ExportClient): void {
    const isKnown = this.clients.delete(client)
    assert(isKnown, 'export-knows-client', () => this.name)
    this.changed.wakeAll()
    if (this.isClosing) this.finishIfIdle()
  }

  /**
   * Waits until no request of a connection that is gone still runs. A client that comes back sends its lost writes again,
   * and then others: a late one of its first connection would undo them.
   */
  *waitSettled(): Co<void> {
    while ([...this.clients].some((client) => client.isEnding)) {
      yield* this.changed.wait({ describe: () => `waits for requests of broken connections to export '${this.name}'` })
    }
  }

  /** Begins the end. `safe` throws BlockError if there are clients; `hard` disconnects them. */
  remove(mode: 'safe' | 'hard'): void {
    if (mode === 'safe' && this.clients.size > 0) {
      throw new BlockError(`export '${this.id}' still in use`, {
        errno: EBUSY,
        hint: "Use mode='hard' to force client disconnect",
      })
    }
    this.isClosing = true
    for (const client of [...this.clients]) client.disconnect()
    this.finishIfIdle()
  }
  private finishIfIdle(): void {
    if (this.clients.size > 0 || this.isDeleted) return
    assert(this.backend.inFlight === 0, 'export-idle', () => this.name)
    this.isDeleted = true
    const held = this.backend.root?.node ?? null
    this.backend.dispose()
    for (const { release } of this.bitmaps) release?.()
    this.changed.wakeAll()
    this.onDeleted?.(this, held)
  }
  /** Waits for the end that `remove` has begun. */
  *waitDeleted(): Co<void> {
    assert(this.isClosing, 'export-closing', () => this.name)
    while (!this.isDeleted) {
      yield* this.changed.wait({ describe: () => `waits for the clients of export '${this.name}' to go` })
    }
  }

  read(offsetBytes: number, buffer: Uint8Array): Co<Errno> {
    this.checkRange(offsetBytes, buffer.length)
    return this.backend.pread(offsetBytes, buffer)
  }
  /** `flags` of RequestFlag. */
  write(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    this.checkChange(offsetBytes, buffer.length)
    return this.backend.pwrite(offsetBytes, buffer, flags | this.writeFlags)
  }
  writeZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    this.checkChange(offsetBytes, lengthBytes)
    return this.backend.pwriteZeroes(offsetBytes, lengthBytes, flags | this.writeFlags)
  }
  discard(offsetBytes: number, lengthBytes: number): Co<Errno> {
    this.checkChange(offsetBytes, lengthBytes)
    return this.backend.pdiscard(offsetBytes, lengthBytes)
  }
  flush(): Co<Errno> {
    return this.backend.flush()
  }
  private checkRange(offsetBytes: number, lengthBytes: number): void {
    assert(offsetBytes >= 0 && offsetBytes + lengthBytes <= this.lengthBytes, 'export-range', () => this.name)
  }
  private checkChange(offsetBytes: number, lengthBytes: number): void {
    this.checkRange(offsetBytes, lengthBytes)
    assert(this.isWritable, 'export-writable', () => this.name)
  }

  /** What the range holds, through all layers. Waits at the backend's gate as other requests do. */
  *status(mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    this.checkRange(offsetBytes, lengthBytes)
    const { backend } = this
    if (backend.isShut()) yield* backend.waitOpen()
    if (backend.root === null) return statusError(ENOMEDIUM)
    backend.inFlight++
    const status = yield* backend.root.node.blockStatusAbove(null, mode, offsetBytes, lengthBytes)
    backend.leave()
    return status
  }

  /** How deep in the chain the start of the range is allocated: 1 is the top, 0 nowhere; for how many bytes. */
  *depth(offsetBytes: number, lengthBytes: number): Co<{ errno: Errno; depth: number; bytes: number }> {
    this.checkRange(offsetBytes, lengthBytes)
    const { backend } = this
    if (backend.isShut()) yield* backend.waitOpen()
    if (backend.root === null) return { errno: ENOMEDIUM, depth: 0, bytes: 0 }
    backend.inFlight++
    const answer = yield* allocationDepth(backend.root.node, offsetBytes, lengthBytes)
    backend.leave()
    return answer
  }
}

function checkText(what: string, text: string): void {
  if (encodeText(text).length > STRING_MAX_BYTES) throw new BlockError(`${what} '${text}' too long`, { errno: EINVAL })
}

/** Filters have no depth of their own. */
function* allocationDepth(
  top: BlockNode,
  offsetBytes: number,
  lengthBytes: number,
): Co<{ errno: Errno; depth: number; bytes: number }> {
  let bytes = lengthBytes
  let depth = 1
  for (let layer: BlockNode | null = top.skipFilters(); layer !== null; depth++) {
    const below: BlockNode | null = layer.below()?.skipFilters() ?? null
    const status: BlockStatus = yield* layer.blockStatusAbove(layer.below(), 'allocation-only', offsetBytes, bytes)
    if (status.errno !== OK) return { errno: status.errno, depth: 0, bytes: 0 }
    // A backing image that ends before the range: the zeroes that its overlay shows there count as its own.
    if (status.bytes === 0) return { errno: OK, depth, bytes }
    bytes = status.bytes
    if ((status.flags & StatusFlag.Allocated) !== 0) return { errno: OK, depth, bytes }
    layer = below
  }
  return { errno: OK, depth: 0, bytes }
}
