/**
 * Block exports by their ids, and the one NBD server that serves them.
 *
 * What may fail: everything that is asked for wrongly, as BlockError with QEMU's texts.
 */
import { BlockError, type BlockGraph, type BlockNode } from '../block'
import { assert, type Co, EEXIST, ENOENT, type Kernel, type SocketAddress, type StreamHost, type TlsCredentials } from '../co'
import { type ExportOptions, type NbdExport, NbdServer, takeBitmaps, type WantedBitmap } from '../nbd'

const WELL_FORMED = /^[A-Za-z][A-Za-z0-9._-]*$/

export interface NbdServerOptions {
  address: SocketAddress
  tls: TlsCredentials | null
  maxConnections?: number
  handshakeMaxSeconds?: number
}

export interface NewExport {
  id: string
  name: string
  node: BlockNode
  writable: boolean
  writethrough: boolean
  description?: string
  bitmaps: readonly WantedBitmap[]
  allocationDepth: boolean
  /** The node may be handed over to another program while it is exported, or before. */
  allowsInactive?: boolean
}

export class BlockExports {
  private readonly kernel: Kernel
  private readonly graph: BlockGraph
  private readonly emit: (event: string, data: Record<string, unknown>) => void
  private readonly byId = new Map<string, NbdExport>()
  private server: NbdServer | null = null

  constructor(kernel: Kernel, graph: BlockGraph, emit: (event: string, data: Record<string, unknown>) => void) {
    this.kernel = kernel
    this.graph = graph
    this.emit = emit
  }

  *startServer(streams: StreamHost, options: NbdServerOptions): Co<void> {
    if (this.server !== null) throw new BlockError('NBD server already running')
    const { tls, maxConnections, handshakeMaxSeconds } = options
    const server = new NbdServer(this.kernel, {
      tls,
      allocateBuffer: this.graph.allocateBuffer,
      ...(maxConnections === undefined ? {} : { maxConnections }),
      ...(handshakeMaxSeconds === undefined ? {} : { handshakeMaxSeconds }),
    })
    this.server = server
    try {
      server.listen(yield* streams.listen(options.address))
    } catch (error) {
      this.server = null
      throw error
    }
  }
  *stopServer(): Co<void> {
    const { server } = this
    if (server === null) throw new BlockError('NBD server not running')
    this.server = null
    yield* server.stop()
  }
  get isServing(): boolean {
    return this.server !== null
  }

  /** Throws BlockError. */
  checkId(id: string): void {
    if (!WELL_FORMED.test(id)) throw new BlockError('Invalid block export id')
    if (this.byId.has(id)) throw new BlockError(`Block export id '${id}' is already in use`, { errno: EEXIST })
  }

  add(wanted: NewExport): void {
    const { id, name, node, writable } = wanted
    if (node.options.readOnly && writable) throw new BlockError('Cannot export read-only node as writable')
    const { server } = this
    if (server === null) throw new BlockError('NBD server not running')
    if (Buffer.byteLength(name) > 4096) throw new BlockError(`export name '${name}' too long`)
    const bitmaps = takeBitmaps(node, wanted.bitmaps, writable)
    const options: ExportOptions = {
      id,
      name,
      node,
      writable,
      writethrough: wanted.writethrough,
      bitmaps,
      allocationDepth: wanted.allocationDepth,
      allowsInactive: wanted.allowsInactive ?? false,
      ...(wanted.description === undefined ? {} : { description: wanted.description }),
      onDeleted: (_exported, held) => {
        this.byId.delete(id)
        this.emit('BLOCK_EXPORT_DELETED', { id })
        // The export may have been the last that held the node, which a job may have put in the place of the first one.
        if (held !== null) this.kernel.spawn(this.graph.release(held), this.kernel.current?.label)
      },
    }
    try {
      this.byId.set(id, server.addExport(options))
    } catch (error) {
      for (const bitmap of bitmaps) bitmap.release?.()
      throw error
    }
    assert(this.byId.has(id), 'export-added')
  }

  find(id: string): NbdExport {
    const exported = this.byId.get(id)
    if (exported === undefined) throw new BlockError(`Export '${id}' is not found`, { errno: ENOENT })
    return exported
  }
  findByName(name: string): NbdExport {
    for (const exported of this.byId.values()) if (exported.name === name) return exported
    throw new BlockError(`Export '${name}' is not found`, { errno: ENOENT })
  }
  remove(exported: NbdExport, mode: 'safe' | 'hard'): void {
    exported.remove(mode)
  }

  /** BlockExportInfo of all, the newest first. */
  query(): Array<Record<string, unknown>> {
    return [...this.byId.values()].reverse().map((exported) => ({
      id: exported.id,
      type: 'nbd',
      'node-name': exported.backend.root?.node.name ?? '',
      'shutting-down': exported.isClosing,
    }))
  }

  /** Ends the server and all exports: the program ends. */
  *close(): Co<void> {
    if (this.server !== null) yield* this.stopServer()
  }
}
