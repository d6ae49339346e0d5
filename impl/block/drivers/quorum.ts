/**
 * The driver `quorum`: several replicas of one disk. Writes go to all of them and succeed where `threshold` of them do; reads
 * ask all of them, and what at least `threshold` return is the truth. With the pattern `fifo` the first replica that can be
 * read is believed.
 *
 * What may fail: replicas, as long as enough are left; each failure is told. Where too few agree, the request fails with EIO,
 * or with the errno of most of them. With `blkverify` two replicas have to be the same; a difference fails the request.
 * What never may: replicas that differ because requests overtook each other. A write excludes what overlaps it here, so
 * that all replicas see the same order.
 */
import { assert, type Co, EIO, ENOTSUP, type Errno, OK, strerror } from '../../co'
import { BlockDriver, type BlockStatus, type StatusMode, statusOf } from '../driver'
import { BlockError } from '../error'
import { Permission, RequestFlag, StatusFlag } from '../flags'
import { flushNode } from '../io_flush'
import type { BlockChild, BlockNode } from '../node'
import { nodeStatusAbove } from '../status'
import { TrackedRequests } from '../tracked_requests'

const SECTOR_BYTES = 512
const CHILD_NAME = /^children\.(\d+)$/

export interface QuorumOptions {
  /** So many replicas have to agree; at least 1, and no more than there are. */
  threshold: number
  isBlkverify: boolean
  /** Replicas that were outvoted get what the others have. */
  rewritesCorrupted: boolean
  readPattern: 'quorum' | 'fifo'
}

export interface QuorumEars {
  /** A replica failed, or was outvoted: `error` is null then. */
  bad(type: 'read' | 'write' | 'flush', child: BlockNode, sector: number, sectorCount: number, error: string | null): void
  /** Too few replicas agreed. */
  failure(node: BlockNode, sector: number, sectorCount: number): void
  /** Two replicas that have to be the same are not. */
  mismatch(text: string): void
}

/** The name of the replica that is added as number `index`. */
export function replicaName(index: number): string {
  return `children.${index}`
}

export class QuorumDriver extends BlockDriver {
  readonly name = 'quorum'
  readonly options: QuorumOptions
  private readonly ears: QuorumEars
  private requests: TrackedRequests | null = null
  private nextIndex: number

  constructor(options: QuorumOptions, replicaCount: number, ears: QuorumEars) {
    super()
    assert(options.threshold >= 1 && options.threshold <= replicaCount, 'quorum-threshold', () => String(options.threshold))
    assert(!options.isBlkverify || (replicaCount === 2 && options.threshold === 2), 'quorum-blkverify-of-two')
    this.options = options
    this.ears = ears
    this.nextIndex = replicaCount
  }

  override get handsOver(): boolean {
    return true
  }
  override replicas(): readonly BlockChild[] {
    return [...this.node.children.values()]
  }

  lengthBytes(): number {
    const [first] = this.replicas()
    assert(first !== undefined, 'quorum-has-replica', () => this.node.name)
    return first.node.lengthBytes
  }
  override allocatedBytes(): number | null {
    let sumBytes = 0
    for (const { node } of this.replicas()) sumBytes += node.driver.allocatedBytes() ?? 0
    return sumBytes
  }
  override refreshLimits(): void {
    this.requests ??= new TrackedRequests(this.node.kernel)
    let zeroFlags = RequestFlag.Fua | RequestFlag.MayUnmap
    let writeFlags: number = RequestFlag.Fua
    for (const { node } of this.replicas()) {
      zeroFlags &= node.driver.supportedZeroFlags
      writeFlags &= node.driver.supportedWriteFlags
    }
    this.supportedWriteFlags = writeFlags | RequestFlag.WriteUnchanged
    // NoFallback is not among them: one replica may know a way to zero that another does not.
    this.supportedZeroFlags = zeroFlags | RequestFlag.WriteUnchanged
  }

  /** Replicas may change only together. */
  override childPermissions(
    _child: BlockChild,
    parentPermission: number,
    parentShared: number,
  ): { permission: number; shared: number } {
    const rewriting = this.options.rewritesCorrupted ? Permission.Write : Permission.None
    const shared = parentShared & (Permission.ConsistentRead | Permission.WriteUnchanged)
    return { permission: parentPermission | rewriting, shared }
  }

  /** The name of a replica that is to be added. Throws BlockError unless the node can take `replica`. */
  override nextChildName(replica: BlockNode): string {
    if (this.options.isBlkverify) throw new BlockError('Cannot add a child to a quorum in blkverify mode')
    if (replica.lengthBytes !== this.node.lengthBytes) {
      throw new BlockError(`Cannot add node '${replica.name}' to quorum '${this.node.name}': its length differs`)
    }
    return replicaName(this.nextIndex)
  }
  override childAdded({ name }: BlockChild): void {
    assert(name === replicaName(this.nextIndex), 'quorum-next-replica', () => name)
    this.nextIndex++
  }
  /** Throws BlockError if no replica may go. */
  override checkChildRemoval(child: BlockChild): void {
    const { threshold } = this.options
    assert(child.parent === this.node, 'quorum-own-replica')
    if (this.node.children.size <= threshold) {
      throw new BlockError(`The number of children cannot be lower than the vote threshold ${threshold}`)
    }
  }
  override childRemoved({ name }: BlockChild): void {
    const index = Number(CHILD_NAME.exec(name)?.[1])
    assert(index < this.nextIndex, 'quorum-replica-known', () => name)
    if (index === this.nextIndex - 1) this.nextIndex--
  }

  // ------------------------------------------------------------------------------------------------------------- reading

  override *pread(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    assert(offsetBytes >= 0 && buffer.length > 0, 'quorum-range')
    const requests = this.requests!
    const request = requests.begin(offsetBytes, buffer.length)
    if (requests.hasSerialising) yield* requests.waitForConflicts(request)
    const errno =
      this.options.readPattern === 'fifo'
        ? yield* this.readFirst(offsetBytes, buffer, flags)
        : yield* this.readAll(offsetBytes, buffer, flags)
    requests.end(request)
    return errno
  }

  private *readFirst(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    let errno: Errno = EIO
    for (const replica of this.replicas()) {
      errno = yield* replica.pread(offsetBytes, buffer, flags)
      if (errno === OK) break
      this.tellBad('read', replica, offsetBytes, buffer.length, errno)
    }
    return errno
  }

  private *readAll(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    const lengthBytes = buffer.length
    const replicas = this.replicas()
    const copies = replicas.map(() => new Uint8Array(lengthBytes))
    const errnos = yield* this.askAll('read', offsetBytes, lengthBytes, (replica, index) =>
      replica.pread(offsetBytes, copies[index]!, flags),
    )
    const errno = this.judge(errnos, offsetBytes, lengthBytes)
    if (errno !== OK) return errno
    const read = replicas.map((replica, index) => ({ replica, bytes: copies[index]!, errno: errnos[index]! }))
    return yield* this.vote(
      read.filter((answer) => answer.errno === OK),
      offsetBytes,
      buffer,
    )
  }

  /** Of what was read without error: what most replicas have, and those that have something else. */
  private *vote(answers: readonly Answer[], offsetBytes: number, buffer: Uint8Array): Co<Errno> {
    const { isBlkverify, threshold, rewritesCorrupted } = this.options
    assert(answers.length >= threshold, 'quorum-enough-answers')
    const versions: Answer[][] = []
    for (const answer of answers) {
      const same = versions.find(([first]) => Buffer.compare(first!.bytes, answer.bytes) === 0)
      if (same === undefined) versions.push([answer])
      else same.push(answer)
    }
    if (isBlkverify && versions.length > 1) return this.tellMismatch(versions, offsetBytes)
    const winner = mostOf(versions)
    if (winner.length < threshold) {
      this.tellFailure(offsetBytes, buffer.length)
      return EIO
    }
    const truth = winner[0]!.bytes
    buffer.set(truth)
    const losers = versions.filter((version) => version !== winner).flat()
    for (const { replica } of losers) this.tellBad('read', replica, offsetBytes, buffer.length, OK)
    // What cannot be put right now is found again by the next read.
    if (rewritesCorrupted) for (const { replica } of losers) yield* replica.pwrite(offsetBytes, truth)
    return OK
  }

  private tellMismatch(versions: readonly Answer[][], offsetBytes: number): Errno {
    const first = versions[0]![0]!.bytes
    const second = versions[1]![0]!.bytes
    const at = offsetBytes + first.findIndex((byte, index) => byte !== second[index])
    this.ears.mismatch(`quorum: offset=${offsetBytes} bytes=${first.length} contents mismatch at offset ${at}`)
    return EIO
  }

  // ------------------------------------------------------------------------------------------------------------ changing

  override pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    return this.change(offsetBytes, buffer.length, (replica) => replica.pwrite(offsetBytes, buffer, flags))
  }
  override *pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    if ((flags & RequestFlag.NoFallback) !== 0) return ENOTSUP
    return yield* this.change(offsetBytes, lengthBytes, (replica) => replica.pwriteZeroes(offsetBytes, lengthBytes, flags))
  }

  /** Sends a change to all, after all that overlaps it and before all that comes later. */
  private *change(offsetBytes: number, lengthBytes: number, send: (replica: BlockChild) => Co<Errno>): Co<Errno> {
    assert(offsetBytes >= 0 && lengthBytes > 0, 'quorum-range')
    const requests = this.requests!
    const request = requests.begin(offsetBytes, lengthBytes)
    requests.serialise(request, 1)
    yield* requests.waitForConflicts(request)
    const errnos = yield* this.askAll('write', offsetBytes, lengthBytes, send)
    requests.end(request)
    return this.judge(errnos, offsetBytes, lengthBytes)
  }

  /** Flushes of the replicas are counted, too. */
  override flushes(): boolean {
    return false
  }
  override *flush(): Co<Errno> {
    const errnos = yield* this.askAll('flush', 0, 0, ({ node }) => flushNode(node))
    return errnos.filter((errno) => errno === OK).length >= this.options.threshold ? OK : mostErrors(errnos)
  }

  /** All at once. Errors are told in the order in which they come. */
  private *askAll(
    type: 'read' | 'write' | 'flush',
    offsetBytes: number,
    lengthBytes: number,
    ask: (replica: BlockChild, index: number) => Co<Errno>,
  ): Co<Errno[]> {
    const { kernel } = this.node
    const replicas = this.replicas()
    const errnos: Errno[] = replicas.map(() => EIO)
    const self = this
    function* one(replica: BlockChild, index: number): Co<void> {
      errnos[index] = yield* ask(replica, index)
      if (errnos[index] !== OK) self.tellBad(type, replica, offsetBytes, lengthBytes, errnos[index]!)
    }
    const asked = replicas.map((replica, index) => kernel.spawn(one(replica, index)))
    for (const each of asked) yield* kernel.join(each)
    return errnos
  }

  /** OK where enough replicas have done what they were asked, otherwise what most of the others say. */
  private judge(errnos: readonly Errno[], offsetBytes: number, lengthBytes: number): Errno {
    if (errnos.filter((errno) => errno === OK).length >= this.options.threshold) return OK
    this.tellFailure(offsetBytes, lengthBytes)
    return mostErrors(errnos)
  }

  private tellBad(
    type: 'read' | 'write' | 'flush',
    { node }: BlockChild,
    offsetBytes: number,
    lengthBytes: number,
    errno: Errno,
  ): void {
    const { sector, count } = sectorsOf(offsetBytes, lengthBytes)
    this.ears.bad(type, node, sector, count, errno === OK ? null : strerror(errno))
  }
  private tellFailure(offsetBytes: number, lengthBytes: number): void {
    const { sector, count } = sectorsOf(offsetBytes, lengthBytes)
    this.ears.failure(this.node, sector, count)
  }

  // -------------------------------------------------------------------------------------------------------------- status

  /** A hole is one where all replicas have one. */
  override *blockStatus(mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    let zeroBytes = lengthBytes
    let dataBytes = 0
    for (const replica of this.replicas()) {
      const status = yield* nodeStatusAbove(replica.node, null, mode, offsetBytes, lengthBytes)
      if (status.errno !== OK) {
        this.tellBad('read', replica, offsetBytes, lengthBytes, status.errno)
        dataBytes = lengthBytes
        break
      }
      if (status.bytes === 0) continue
      if ((status.flags & StatusFlag.Zero) !== 0) zeroBytes = Math.min(zeroBytes, status.bytes)
      else dataBytes = Math.max(dataBytes, status.bytes)
    }
    assert(zeroBytes > 0 && dataBytes <= lengthBytes, 'quorum-status')
    const flags = StatusFlag.Allocated | (dataBytes > 0 ? StatusFlag.Data : StatusFlag.Zero)
    return statusOf(flags, dataBytes > 0 ? dataBytes : zeroBytes)
  }
}

interface Answer {
  readonly replica: BlockChild
  readonly bytes: Uint8Array
}

/** The version that most share; of several the one that came last. */
function mostOf<T>(versions: readonly T[][]): T[] {
  let winner: T[] = []
  for (const version of versions) if (version.length >= winner.length) winner = version
  assert(winner.length > 0, 'quorum-winner')
  return winner
}

function mostErrors(errnos: readonly Errno[]): Errno {
  const versions = new Map<Errno, Errno[]>()
  for (const errno of errnos) {
    if (errno === OK) continue
    const same = versions.get(errno)
    if (same === undefined) versions.set(errno, [errno])
    else same.push(errno)
  }
  return mostOf([...versions.values()])[0]!
}

function sectorsOf(offsetBytes: number, lengthBytes: number): { sector: number; count: number } {
  const sector = Math.floor(offsetBytes / SECTOR_BYTES)
  return { sector, count: Math.ceil((offsetBytes + lengthBytes) / SECTOR_BYTES) - sector }
}
