/**
 * Other jobs than the mirror: a chain of images, a guest without a device, a commit, stream or backup, and an operator.
 * The model is what the guest was told; when everything is over, the images are opened afresh by what their headers say.
 *
 * What may fail: what the plan says, and the code under test; the first failure is in the result. Nothing is thrown.
 */
import { BlockBackend, BlockError, type BlockNode, DirtyBitmap, Permission, RequestFlag } from '../impl/block'
import { assert, type Co, describeWait, type Errno, makeLabel, OK } from '../impl/co'
import { type Job, type JobEvent, JobManager, startBackup, startCommit, startStream } from '../impl/jobs'
import { runBriefly } from './brief_run'
import type { BriefScene, BriefWatcher } from './brief_watch'
import { BriefWorld, helpJob, sceneOfJob, WORDS_MAX } from './brief_world'
import type { Decider } from './decider'
import { FlatModel } from './flat_model'
import { JobDisks } from './job_disks'
import { type GuestOperation, type Plan, SECTOR_BYTES } from './plan'
import type { BufferPool } from './pool'
import { deciderOf } from './schedules'
import type { WorldEnd, WorldResult } from './verdict'

const SETUP = makeLabel('setup')
const STARTER = makeLabel('job-start')
const CLUSTER_BYTES = 65536

/** `decider`: absent, what the plan's seed gives. */
export function runJob(plan: Plan, decider: Decider = deciderOf(plan), eye: BriefWatcher | null = null): WorldResult {
  return runBriefly('harness/job', (pool) => new JobRun(plan, pool, decider, eye))
}

class JobRun extends BriefWorld {
  private readonly jobs: JobManager
  private readonly disks: JobDisks
  private readonly device: BlockBackend
  private job: Job | null = null
  private refusal: string | null = null
  private copiedEnd = 'none'
  /** What the guest must find. */
  private model!: FlatModel
  /** The chain in the end; half: the job failed when it had left the layers. */
  private chain: readonly string[] = []
  private isHalf = false
  /** Of the guest's image, from the beginning on, and what it read then. */
  private bits!: DirtyBitmap
  private first!: Uint8Array
  /** The model as it was when the job took hold of the disk. */
  private before!: { bytes: Uint8Array; isKnown: Uint8Array }

  constructor(plan: Plan, pool: BufferPool, decider: Decider, eye: BriefWatcher | null) {
    super(plan, pool, decider, eye)
    this.jobs = new JobManager(this.kernel, (event) => this.jobEvent(event))
    this.disks = new JobDisks(this.graph, plan, pool, { decider, troubles: this.troubles, watcher: this.watcher() })
    this.device = new BlockBackend(this.graph, 'drive0')
  }

  run(): void {
    this.atOnce(this.disks.open(), SETUP)
    if (this.failure !== null) return
    this.device.attach(this.disks.guestNode, Permission.ConsistentRead | Permission.Write, Permission.All)
    const bytes = new Uint8Array(this.device.lengthBytes)
    this.atOnce(this.readAll(bytes), SETUP)
    this.model = new FlatModel(bytes)
    this.first = bytes.slice()
    this.bits = new DirtyBitmap(bytes.length, SECTOR_BYTES)
    this.disks.guestNode.dirtyBitmaps.add(this.bits)
    this.disks.engage()
    this.kernel.spawn(this.startJob(), STARTER)
    for (const lane of new Set(this.plan.guest.map((operation) => operation.lane)))
      this.kernel.spawn(this.guest(lane), makeLabel(`lane-${lane}`))
    this.toRest()
    for (let words = 0; this.failure === null && this.job !== null && this.job.status !== 'null'; words++) {
      if (words === WORDS_MAX) this.stuck(`the job is ${this.job.status} for ever`)
      else helpJob(this.job)
      this.toRest()
    }
    if (this.failure === null && this.kernel.live.size > 0) this.stuck([...this.kernel.live].map(describeWait).join('; '))
    if (this.failure === null) this.end()
  }

  private *readAll(into: Uint8Array): Co<void> {
    const errno = yield* this.device.pread(0, into)
    if (errno !== OK) throw new Error(`the disk cannot be read: ${errno}`)
  }

  // -------------------------------------------------------------------------------------------------------------- the job

  private *startJob(): Co<void> {
    const { graph, jobs, disks } = this
    const { kind, sync, onError, speedBytesPerSecond, autoFinalize, overlay } = this.plan.job!
    const common = { jobId: 'job', speedBytesPerSecond, autoFinalize, autoDismiss: true }
    const device = disks.guestNode
    try {
      if (kind === 'stream') {
        const base = overlay?.keepsBase === true ? disks.baseNode : null
        yield* startStream(graph, jobs, { ...common, device, base, onError })
      } else if (kind === 'active-commit') yield* startCommit(graph, jobs, { ...common, device, onError })
      else if (kind === 'commit') {
        yield* startCommit(graph, jobs, { ...common, device, top: disks.imageNode, onError })
      } else {
        const target = disks.targetNode!
        yield* startBackup(graph, jobs, {
          ...common,
          source: device,
          target,
          sync,
          onSourceError: onError,
          onTargetError: onError,
        })
      }
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
      this.refusal = error.message
      this.note('job', `refused: ${error.message}`)
      this.count('job/refused')
    }
  }

  private jobEvent({ event, data }: JobEvent): void {
    this.trace.mixText(event)
    this.told(event, data['status'] ?? data['action'] ?? data['error'])
    if (event === 'BLOCK_JOB_COMPLETED') {
      this.copiedEnd = data['error'] === undefined ? 'completed' : 'failed'
      this.count(`job/${this.plan.job!.kind}-${this.copiedEnd}`)
    } else if (event === 'BLOCK_JOB_CANCELLED') {
      this.copiedEnd = 'cancelled'
      this.count(`job/${this.plan.job!.kind}-cancelled`)
    } else if (event === 'BLOCK_JOB_ERROR') this.count('job/error')
    if (event !== 'JOB_STATUS_CHANGE' || data['status'] !== 'created') return
    this.job = this.jobs.find('job')
    // The guest stands still at this moment.
    this.before = { bytes: this.model.bytes.slice(), isKnown: this.model.isKnown.slice() }
    for (const order of this.plan.control)
      this.kernel.spawn(this.give(order, this.job, this.disks.guestNode), makeLabel(order.id))
  }

  // ------------------------------------------------------------------------------------------------------------ the guest

  private *guest(lane: number): Co<void> {
    for (const operation of this.plan.guest) {
      if (operation.lane !== lane) continue
      if (operation.thinkNs > 0) yield* this.kernel.sleepNs(operation.thinkNs)
      this.began(operation)
      let errno: Errno
      if (operation.kind === 'flush' || operation.kind === 'get-id') errno = yield* this.flush()
      else if (operation.kind === 'read') errno = yield* this.read(operation)
      else errno = yield* this.change(operation)
      this.ended(operation, errno)
      this.operationsDone++
    }
  }

  private *read({ offsetBytes, lengthBytes, id }: GuestOperation): Co<Errno> {
    const buffer = new Uint8Array(lengthBytes)
    // Of what changes meanwhile either is right.
    const isStable = this.model.look(offsetBytes, lengthBytes)
    const errno = yield* this.device.pread(offsetBytes, buffer)
    this.trace.mix(errno)
    if (errno === OK) this.compare(this.model, buffer, offsetBytes, 'content/guest-read', `a read (${id})`, isStable)
    return errno
  }

  private *flush(): Co<Errno> {
    const errno = yield* this.device.flush()
    this.trace.mix(errno)
    return errno
  }

  private *change(operation: GuestOperation): Co<Errno> {
    const { kind, offsetBytes, lengthBytes } = operation
    const change = this.model.begin(operation)
    let errno: number
    if (kind === 'write') errno = yield* this.device.pwrite(offsetBytes, change.data)
    else if (kind === 'discard') errno = yield* this.device.pdiscard(offsetBytes, lengthBytes)
    else errno = yield* this.device.pwriteZeroes(offsetBytes, lengthBytes, operation.unmap === true ? RequestFlag.MayUnmap : 0)
    this.trace.mix(errno)
    this.model.end(change, errno === OK)
    return errno
  }

  // -------------------------------------------------------------------------------------------------------------- the end

  private end(): void {
    this.troubles.heal()
    const found = new Uint8Array(this.model.bytes.length)
    this.atOnce(this.readAll(found))
    if (this.failure === null) this.compare(this.model, found, 0, 'content/at-end', 'the disk of the guest')
    const root = this.device.root?.node ?? null
    this.checkChain(root)
    if (this.failure !== null || root === null) return
    this.device.dispose()
    this.atOnce(this.disks.close(root))
    if (this.failure !== null) return
    const { bytes, chain } = this.disks.readAfresh(root.name, found.length)
    this.compare(this.model, bytes, 0, 'content/fresh', 'the chain of images, opened by their headers,')
    this.checkNames(chain)
    this.checkBitmap(found)
    if (this.failure === null && this.plan.job!.kind === 'backup') this.checkCopy()
  }

  /** Completed jobs have moved the guest, others have not; nobody holds anything any more. */
  private checkChain(root: BlockNode | null): void {
    const { kind } = this.plan.job!
    const isDone = this.copiedEnd === 'completed' && (kind !== 'active-commit' || this.job!.isCompleteRequested)
    const names: string[] = []
    for (let node = root; node !== null; node = node.below()) names.push(node.name)
    const wanted = this.disks.chainAfter(isDone ? kind : 'backup')
    // A header that cannot be changed fails a job whose layers have left the chain already.
    this.isHalf = this.copiedEnd === 'failed' && names.join() === this.disks.chainAfter(kind).join() && kind !== 'active-commit'
    this.chain = names
    if (names.join() !== wanted.join() && !this.isHalf)
      this.found(
        'protocol',
        'job/chain',
        new Error(`after a ${kind} (${this.copiedEnd}) the chain is ${names.join()}, not ${wanted.join()}`),
      )
    for (const node of this.graph.nodes.values()) {
      const isFree = node.blockers.size === 0 && node.quiesceCount === 0 && node.backing?.isFrozen !== true
      if (!isFree)
        this.found('protocol', 'job/left-behind', new Error(`${node.name} is blocked, drained or frozen after the job`))
    }
  }

  /** Whoever opens the images finds what the graph had, unless a header could not be written. */
  private checkNames(chain: readonly string[]): void {
    if (this.isHalf || chain.join() === this.chain.join()) return
    const text = `the headers name the chain ${chain.join()}, and the graph had ${this.chain.join()}`
    this.found('protocol', 'job/headers', new Error(text))
  }

  /** What reads otherwise than in the beginning is dirty in a bitmap of the guest's image. */
  private checkBitmap(found: Uint8Array): void {
    const { bits } = this
    // Completed, it leaves the guest on another image.
    if (this.plan.job!.kind === 'active-commit') return
    for (let at = 0; at < found.length; at += SECTOR_BYTES) {
      if (bits.get(at) || Buffer.compare(found.subarray(at, at + SECTOR_BYTES), this.first.subarray(at, at + SECTOR_BYTES)) === 0)
        continue
      const text = `sector ${at / SECTOR_BYTES} was changed, and the dirty bitmap of the image does not say so`
      this.found('content', 'content/dirty-bitmap', new Error(text))
      return
    }
  }

  /** Each cluster of a copy is as the disk was when the job started, or has been left alone. */
  private checkCopy(): void {
    const { before, disks } = this
    if (this.job === null) return
    const copy = disks.readCopyAfresh()
    const { sync } = this.plan.job!
    const isDone = this.copiedEnd === 'completed'
    // A copy that was given up may have been written in part.
    for (let at = 0; at < copy.length && isDone; at += CLUSTER_BYTES) {
      const end = Math.min(at + CLUSTER_BYTES, copy.length)
      const isLeft = Buffer.compare(copy.subarray(at, end), disks.oldCopy.subarray(at, end)) === 0
      if (this.isCopied(copy, at, end) || (isLeft && sync !== 'full')) continue
      this.found('content', 'content/copy', new Error(`the copy of the bytes from ${at} on is not what the disk held`))
      return
    }
    assert(before.bytes.length === copy.length, 'copy-as-long-as-disk')
  }

  private isCopied(copy: Uint8Array, offsetBytes: number, endBytes: number): boolean {
    const { bytes, isKnown } = this.before
    for (let at = offsetBytes; at < endBytes; at += SECTOR_BYTES) {
      if (isKnown[at / SECTOR_BYTES] === 0) continue
      if (Buffer.compare(copy.subarray(at, at + SECTOR_BYTES), bytes.subarray(at, at + SECTOR_BYTES)) !== 0) return false
    }
    return true
  }

  protected scene(): BriefScene {
    const { job, disks, device, kernel, model } = this
    const root = device.root?.node ?? null
    const guestDisk = root?.name ?? 'nothing'
    const nodes = disks.imageNodes.map((node) => (this.graph.findNode(node.name) === node ? node : null))
    const chain = { kind: 'chain' as const, model: model ?? null, root, nodes }
    return { ...sceneOfJob(job), kernel, guestDisk, disks: chain }
  }

  protected endFacts(): Partial<WorldEnd> {
    const { job } = this
    return {
      jobStatus: this.copiedEnd,
      jobError: job?.errorText ?? this.refusal,
      copiedBytes: job?.progress.offsetBytes ?? 0,
    }
  }
}
