/**
 * A backend is what a device, an export or a job holds on the graph: a root edge with permissions. Requests that arrive
 * while the node is drained wait in line (unless queuing is off, as for a job's target, whose own requests must finish
 * inside a drained section).
 *
 * What may fail: a request without a medium gives ENOMEDIUM, one that leaves the medium EIO.
 */
import { assert, type Co, EEXIST, ENOMEDIUM, type Errno, WaitQueue } from '../co'
import type { BlockAccounting } from './accounting'
import type { PreallocationMode } from './driver'
import { BlockError } from './error'
import { Permission } from './flags'
import type { BlockGraph } from './graph'
import { copyOnReadThrough } from './io_copy_on_read'
import type { BlockChild, BlockNode, BlockParent, RequestGate } from './node'
import { Direction, type ThrottleMember } from './throttle'

export interface BackendHooks {
  /** The owner must stop starting requests (a job pauses, a device leaves its rings alone). */
  drainBegin?(): void
  drainEnd?(): void
  /**
   * Work of the owner, beyond requests in flight, that must end before the drained section starts. The owner calls
   * `graph.drainProgress()` when it has.
   */
  drainBusy?(): boolean
}

export class BlockBackend implements BlockParent, RequestGate {
  readonly graph: BlockGraph
  /** The user-visible name (`drive0`), or empty. */
  private ownName: string
  /** How the device that uses it is called, or empty. */
  deviceName = ''
  readonly node = null
  root: BlockChild | null = null
  /** Requests between entry and completion, waiting ones excluded. */
  inFlight = 0
  /** An owner without a name lets its node be handed over to another program; devices always do. */
  letsGo = false
  /** Reads copy what lies below into the node; needs the permission WriteUnchanged. */
  copiesOnRead = false
  /** False lets requests through a drained section. */
  queuesWhileDrained = true
  /** Of the present owner; a device that takes the backend over puts its own in. */
  hooks: BackendHooks
  /** Where its users count their requests; null: nobody wants to know. */
  accounting: BlockAccounting | null = null
  /** Holds requests back; null: nothing does. See `setThrottle`. */
  private throttle: ThrottleMember | null = null
  private readonly waiting: WaitQueue
  private quiesceCount = 0

  /** Throws BlockError if the name is taken. */
  constructor(graph: BlockGraph, name: string, hooks: BackendHooks = {}) {
    this.graph = graph
    this.ownName = name
    this.hooks = hooks
    this.waiting = new WaitQueue(graph.kernel)
    if (name === '') return
    if (graph.backends.has(name)) throw new BlockError(`Device with id '${name}' already exists`, { errno: EEXIST })
    if (graph.nodes.has(name)) throw new BlockError(`Device name '${name}' conflicts with an existing node name`)
    graph.backends.set(name, this)
  }

  get name(): string {
    return this.ownName
  }
  get restsWithNode(): boolean {
    return this.letsGo || this.name !== '' || this.deviceName !== ''
  }
  describe(): string {
    const name = this.name === '' ? this.deviceName : this.name
    return name === '' ? 'an unnamed block device' : `block device '${name}'`
  }
  /** Gives the name up: users do not see it any more, whoever uses it goes on. */
  forgetName(): void {
    if (this.graph.backends.get(this.name) === this) this.graph.backends.delete(this.name)
    this.ownName = ''
  }

  /** Takes the permissions on `node`. Throws BlockError if somebody else excludes them. */
  attach(node: BlockNode, permission: number, shared: number): void {
    assert(this.root === null, 'backend-attached-once', () => this.name)
    this.root = this.graph.attach({ name: 'root', parent: this, node, permission, shared, gate: this })
  }
  /** Gives the medium up. Nothing may be in flight; requests that wait at the gate will fail with ENOMEDIUM. */
  detach(): void {
    assert(this.root !== null, 'backend-attached', () => this.name)
    assert(this.inFlight === 0, 'detach-idle', () => this.name)
    const root = this.root
    this.root = null
    this.graph.detach(root)
  }
  /** Changes what is held; throws BlockError and changes nothing if that is excluded. */
  setPermissions(permission: number, shared: number): void {
    assert(this.root !== null, 'backend-attached', () => this.name)
    this.graph.setPermissions(this.root, permission, shared)
  }
  /** Detaches and gives the name free. */
  dispose(): void {
    if (this.root !== null) this.detach()
    if (this.graph.backends.get(this.name) === this) this.graph.backends.delete(this.name)
  }

  /** 0 without a medium. */
  get lengthBytes(): number {
    return this.root === null ? 0 : this.root.node.lengthBytes
  }
  pread(offsetBytes: number, buffer: Uint8Array, flags = 0): Co<Errno> {
    const { root } = this
    const copies = this.copiesOnRead && root !== null && (root.permission & (Permission.Write | Permission.WriteUnchanged)) !== 0
    const request =
      root === null
        ? noMedium()
        : copies
          ? copyOnReadThrough(root, offsetBytes, buffer.length, buffer, null)
          : root.pread(offsetBytes, buffer, flags)
    return this.throttle === null ? request : this.throttled(Direction.Read, buffer.length, request)
  }
  pwrite(offsetBytes: number, buffer: Uint8Array, flags = 0): Co<Errno> {
    const request = this.root === null ? noMedium() : this.root.pwrite(offsetBytes, buffer, flags)
    return this.throttle === null ? request : this.throttled(Direction.Write, buffer.length, request)
  }
  pwriteZeroes(offsetBytes: number, lengthBytes: number, flags = 0): Co<Errno> {
    const request = this.root === null ? noMedium() : this.root.pwriteZeroes(offsetBytes, lengthBytes, flags)
    return this.throttle === null ? request : this.throttled(Direction.Write, lengthBytes, request)
  }
  pdiscard(offsetBytes: number, lengthBytes: number): Co<Errno> {
    const request = this.root === null ? noMedium() : this.root.pdiscard(offsetBytes, lengthBytes)
    return this.throttle === null ? request : this.throttled(Direction.Write, lengthBytes, request)
  }
  flush(): Co<Errno> {
    return this.root === null ? noMedium() : this.root.flush()
  }
  truncate(lengthBytes: number, exact: boolean, preallocation: PreallocationMode): Co<Errno> {
    return this.root === null ? noMedium() : this.root.truncate(lengthBytes, exact, preallocation)
  }

  private *throttled(direction: Direction, bytes: number, request: Co<Errno>): Co<Errno> {
    // It may have been given up between the request and its first step.
    if (this.throttle !== null) yield* this.throttle.admit(direction, bytes)
    return yield* request
  }

  /** Requests obey the limits of the member's group from now on, or none. Gives back what they obeyed; nobody waits there. */
  setThrottle(member: ThrottleMember | null): ThrottleMember | null {
    const former = this.throttle
    assert(member === null || member !== former, 'throttle-changes', () => this.name)
    this.throttle = member
    if (this.quiesceCount > 0) member?.unlimit()
    // Who waits there goes at once, and is paid for by the old group.
    else former?.unlimit()
    return former
  }

  isShut(): boolean {
    return this.quiesceCount > 0 && this.queuesWhileDrained
  }
  *waitOpen(): Co<void> {
    while (this.isShut()) yield* this.waiting.wait({ describe: () => `waits for the end of the drain of ${this.describe()}` })
  }
  leave(): void {
    this.inFlight--
    assert(this.inFlight >= 0, 'in-flight-count', () => this.name)
    if (this.inFlight === 0) this.graph.drainProgress()
  }

  drainBegin(): void {
    this.quiesceCount++
    if (this.quiesceCount > 1) return
    this.throttle?.unlimit()
    this.hooks.drainBegin?.()
  }
  drainEnd(): void {
    assert(this.quiesceCount > 0, 'quiesce-count', () => this.name)
    this.quiesceCount--
    if (this.quiesceCount > 0) return
    this.throttle?.limit()
    this.hooks.drainEnd?.()
    this.waiting.wakeAll()
  }
  drainBusy(): boolean {
    return this.inFlight > 0 || (this.hooks.drainBusy?.() ?? false)
  }
}

function* noMedium(): Co<Errno> {
  return ENOMEDIUM
}
