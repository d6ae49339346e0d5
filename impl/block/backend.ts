/**
 * A backend is what a device, an export or a job holds on the graph: a root edge with permissions. Requests that arrive
 * while the node is drained wait in line (unless queuing is off, as for a job's target, whose own requests must finish
 * inside a drained section).
 */
import type { Co, Errno } from '../co'
import type { PreallocationMode } from './driver'
import type { BlockGraph } from './graph'
import type { BlockChild, BlockNode, BlockParent } from './node'

export interface BackendHooks {
  /** The owner must stop starting requests (a job pauses, a device leaves its rings alone). */
  drainBegin?(): void
  drainEnd?(): void
  /** Work of the owner, beyond requests in flight, that must end before the drained section starts. */
  drainBusy?(): boolean
}

export class BlockBackend implements BlockParent {
  readonly graph: BlockGraph
  /** The user-visible name (`drive0`), or empty. */
  readonly name: string
  readonly node = null
  root: BlockChild | null = null
  /** Requests between entry and completion, waiting ones excluded. */
  inFlight = 0
  /** False lets requests through a drained section. */
  queuesWhileDrained = true

  constructor(graph: BlockGraph, name: string, _hooks: BackendHooks = {}) {
    this.graph = graph
    this.name = name
  }

  describe(): string {
    return `block device '${this.name}'`
  }
  /** Takes the permissions on `node`. Throws BlockError if somebody else excludes them. */
  attach(_node: BlockNode, _permission: number, _shared: number): void {
    throw new Error('not built')
  }
  detach(): void {
    throw new Error('not built')
  }
  /** Changes what is held; throws BlockError and changes nothing if that is excluded. */
  setPermissions(_permission: number, _shared: number): void {
    throw new Error('not built')
  }

  get lengthBytes(): number {
    throw new Error('not built')
  }
  pread(_offsetBytes: number, _buffer: Uint8Array, _flags = 0): Co<Errno> {
    throw new Error('not built')
  }
  pwrite(_offsetBytes: number, _buffer: Uint8Array, _flags = 0): Co<Errno> {
    throw new Error('not built')
  }
  pwriteZeroes(_offsetBytes: number, _lengthBytes: number, _flags = 0): Co<Errno> {
    throw new Error('not built')
  }
  pdiscard(_offsetBytes: number, _lengthBytes: number): Co<Errno> {
    throw new Error('not built')
  }
  flush(): Co<Errno> {
    throw new Error('not built')
  }
  truncate(_lengthBytes: number, _exact: boolean, _preallocation: PreallocationMode): Co<Errno> {
    throw new Error('not built')
  }

  drainBegin(): void {}
  drainEnd(): void {}
  drainBusy(): boolean {
    return false
  }
}
