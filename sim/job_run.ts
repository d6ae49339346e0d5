/**
 * Other jobs than the mirror: a chain of images, a guest without a device, a commit, stream or backup, and an operator.
 * The model is what the guest was told; when everything is over, the images are opened afresh by what their headers say.
 *
 * What may fail: what the plan says, and the code under test; the first failure is in the result. Nothing is thrown.
 */
import { BlockBackend, BlockError, BlockGraph, type BlockNode, Permission, RequestFlag } from '../impl/block'
import { assert, type Co, describeWait, Kernel, makeLabel, OK } from '../impl/co'
import { type Job, type JobEvent, JobManager, startBackup, startCommit, startStream } from '../impl/jobs'
import { stampSectors, writerOf } from '../model/stamp'
import { BriefRun, runBriefly } from './brief_run'
import { VirtualClockwork } from './clockwork'
import { type Decider, seededDecider } from './decider'
import type { DiskWatcher } from './disk'
import { Faults } from './faults'
import { JobDisks } from './job_disks'
import { type ControlOperation, type GuestOperation, type Plan, SECTOR_BYTES } from './plan'
import type { BufferPool } from './pool'
import type { WorldEnd, WorldResult } from './verdict'

const SETUP = makeLabel('setup')
const TEARDOWN = makeLabel('teardown')
const STARTER = makeLabel('job-start')
/** A job that nobody brings to its end needs a few words; one that needs more is stuck. */
const WORDS_MAX = 50
const CLUSTER_BYTES = 65536

/** `decider`: absent, what the plan's seed gives. */
export function runJob(plan: Plan, decider: Decider = seededDecider(plan.seed)): WorldResult {
  return runBriefly('harness/job', (pool) => new JobRun(plan, pool, decider))
}

class JobRun extends BriefRun {
  private readonly clockwork: VirtualClockwork
  private readonly kernel: Kernel
  private readonly graph: BlockGraph
  private readonly jobs: JobManager
  private readonly faults: { source: Faults; destination: Faults }
  private readonly disks: JobDisks
  private readonly device: BlockBackend
  private job: Job | null = null
  private refusal: string | null = null
  private copiedEnd = 'none'
  /** What the guest must find; `isKnown` is 0 for sectors of which one cannot know. */
  private model!: Uint8Array
  private isKnown!: Uint8Array
  /** Changes that are on their way, a count for each sector. */
  private changing!: Uint8Array
  /** Several changes were on their way at once. */
  private isMixed!: Uint8Array
  /** Raised by each change. */
  private version!: Uint16Array
  /** The model as it was when the job took hold of the disk. */
  private before!: { bytes: Uint8Array; isKnown: Uint8Array }

  constructor(plan: Plan, pool: BufferPool, decider: Decider) {
    super(plan, pool)
    this.clockwork = new VirtualClockwork(decider)
    this.kernel = new Kernel(this.clockwork)
    this.graph = new BlockGraph(this.kernel)
    this.graph.filenameOf = (node) => node.name
    this.jobs = new JobManager(this.kernel, (event) => this.jobEvent(event))
    this.faults = { source: new Faults(plan.faults, 'source'), destination: new Faults(plan.faults, 'destination') }
    this.disks = new JobDisks(this.graph, plan, pool, { decider, faults: this.faults, watcher: this.watcher() })
    this.device = new BlockBackend(this.graph, 'drive0')
  }

  private watcher(): DiskWatcher {
    return {
      diskSubmitted: () => {},
      diskCompleted: ({ offsetBytes, lengthBytes }, errno) => {
        this.trace.mix(offsetBytes)
        this.trace.mix(lengthBytes)
        this.trace.mix(errno)
      },
      hit: (probe) => this.count(probe),
    }
  }

  run(): void {
    this.atOnce(this.disks.open(), SETUP)
    if (this.failure !== null) return
    this.device.attach(this.disks.guestNode, Permission.ConsistentRead | Permission.Write, Permission.All)
    const sectors = this.device.lengthBytes / SECTOR_BYTES
    this.model = new Uint8Array(this.device.lengthBytes)
    this.atOnce(this.readAll(this.model), SETUP)
    this.isKnown = new Uint8Array(sectors).fill(1)
    this.changing = new Uint8Array(sectors)
    this.isMixed = new Uint8Array(sectors)
    this.version = new Uint16Array(sectors)
    this.disks.engage()
    this.kernel.spawn(this.startJob(), STARTER)
    for (const lane of new Set(this.plan.guest.map((operation) => operation.lane)))
      this.kernel.spawn(this.guest(lane), makeLabel(`lane-${lane}`))
    this.toRest()
    for (let words = 0; this.failure === null && this.job !== null && this.job.status !== 'null'; words++) {
      if (words === WORDS_MAX) this.stuck(`the job is ${this.job.status} for ever`)
      else this.help(this.job)
      this.toRest()
    }
    if (this.failure === null && this.kernel.live.size > 0) this.stuck([...this.kernel.live].map(describeWait).join('; '))
    if (this.failure === null) this.end()
  }

  private atOnce(body: Co<void>, label = TEARDOWN): void {
    this.kernel.spawn(body, label)
    this.toRest()
  }

  private toRest(): void {
    const { clockwork, kernel, trace } = this
    const { eventsMax, timeMaxNs } = this.plan.bounds
    for (let nextNs = clockwork.nextNs(); nextNs !== Infinity && this.failure === null; nextNs = clockwork.nextNs()) {
      if (trace.step >= eventsMax || nextNs > timeMaxNs) {
        this.stuck(`no end after ${trace.step} events`)
        break
      }
      trace.begin(nextNs)
      trace.end(clockwork.step(kernel, nextNs).label.hash)
      if (kernel.failure !== null) this.crashed(kernel.failure.error)
    }
  }

  private *readAll(into: Uint8Array): Co<void> {
    const errno = yield* this.device.pread(0, into)
    if (errno !== OK) throw new Error(`the disk cannot be read: ${errno}`)
  }

  // -------------------------------------------------------------------------------------------------------------- the job

  private *startJob(): Co<void> {
    const { graph, jobs, disks } = this
    const { kind, sync, onError, speedBytesPerSecond, autoFinalize } = this.plan.job!
    const common = { jobId: 'job', speedBytesPerSecond, autoFinalize, autoDismiss: true }
    const device = disks.guestNode
    try {
      if (kind === 'stream') yield* startStream(graph, jobs, { ...common, device, onError })
      else if (kind === 'active-commit') yield* startCommit(graph, jobs, { ...common, device, onError })
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
      this.count('job/refused')
    }
  }

  private jobEvent({ event, data }: JobEvent): void {
    this.trace.mixText(event)
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
    this.before = { bytes: this.model.slice(), isKnown: this.isKnown.slice() }
    for (const order of this.plan.control) this.kernel.spawn(this.give(order, this.job), makeLabel(order.id))
  }

  private *give(order: ControlOperation, job: Job): Co<void> {
    yield* this.kernel.sleepNs(order.when.afterNs)
    try {
      if (order.kind === 'drain') {
        const node = this.disks.guestNode
        yield* this.graph.drainedBegin(node)
        yield* this.kernel.sleepNs(order.durationNs)
        this.graph.drainedEnd(node)
      } else giveOrder(job, order)
      this.count(`order/${order.kind}`)
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
      this.count(`order/${order.kind}-refused`)
    }
  }

  /** Nothing happens any more by itself. */
  private help(job: Job): void {
    if (job.status === 'pending') job.finalize()
    else if (job.isUserPaused) job.resume()
    else if (job.isReady && !job.isCompleteRequested && !job.isCancelRequested) job.complete()
    else job.cancel(true)
  }

  // ------------------------------------------------------------------------------------------------------------ the guest

  private *guest(lane: number): Co<void> {
    for (const operation of this.plan.guest) {
      if (operation.lane !== lane) continue
      if (operation.thinkNs > 0) yield* this.kernel.sleepNs(operation.thinkNs)
      if (operation.kind === 'flush' || operation.kind === 'get-id') this.trace.mix(yield* this.device.flush())
      else if (operation.kind === 'read') yield* this.read(operation)
      else yield* this.change(operation)
      this.operationsDone++
    }
  }

  private *read({ offsetBytes, lengthBytes, id }: GuestOperation): Co<void> {
    const buffer = new Uint8Array(lengthBytes)
    const first = offsetBytes / SECTOR_BYTES
    const versions = this.version.slice(first, first + lengthBytes / SECTOR_BYTES)
    const errno = yield* this.device.pread(offsetBytes, buffer)
    this.trace.mix(errno)
    // Of what changes meanwhile either is right.
    const isStable = (sector: number): boolean => this.changing[sector] === 0 && this.version[sector] === versions[sector - first]
    if (errno === OK) this.compare(buffer, offsetBytes, 'content/guest-read', `a read (${id})`, isStable)
  }

  private *change(operation: GuestOperation): Co<void> {
    const { kind, offsetBytes, lengthBytes, id } = operation
    const first = offsetBytes / SECTOR_BYTES
    const end = first + lengthBytes / SECTOR_BYTES
    for (let sector = first; sector < end; sector++) {
      if (this.changing[sector]!++ > 0) this.isMixed[sector] = 1
    }
    const data = new Uint8Array(lengthBytes)
    if (operation.zeroData !== true) stampSectors(data, 0, writerOf(id), first, end - first)
    let errno: number
    if (kind === 'write') errno = yield* this.device.pwrite(offsetBytes, data)
    else if (kind === 'discard') errno = yield* this.device.pdiscard(offsetBytes, lengthBytes)
    else errno = yield* this.device.pwriteZeroes(offsetBytes, lengthBytes, operation.unmap === true ? RequestFlag.MayUnmap : 0)
    this.trace.mix(errno)
    for (let sector = first; sector < end; sector++) {
      // Of two changes at once nobody knows which was the last; a discard promises nothing, and a failure may have worked in part.
      this.isKnown[sector] = errno === OK && kind !== 'discard' && this.isMixed[sector] === 0 ? 1 : 0
      this.version[sector]!++
      if (--this.changing[sector]! === 0) this.isMixed[sector] = 0
    }
    if (kind === 'write') this.model.set(data, offsetBytes)
    else this.model.fill(0, offsetBytes, offsetBytes + lengthBytes)
  }

  private compare(
    bytes: Uint8Array,
    offsetBytes: number,
    key: string,
    what: string,
    isWanted: (sector: number) => boolean = () => true,
  ): void {
    for (let at = 0; at < bytes.length; at += SECTOR_BYTES) {
      const sector = (offsetBytes + at) / SECTOR_BYTES
      if (this.isKnown[sector] === 0 || !isWanted(sector)) continue
      const wanted = this.model.subarray(offsetBytes + at, offsetBytes + at + SECTOR_BYTES)
      if (Buffer.compare(bytes.subarray(at, at + SECTOR_BYTES), wanted) === 0) continue
      this.found('content', key, new Error(`${what} has other data in sector ${sector} than what was written there last`))
      return
    }
  }

  // -------------------------------------------------------------------------------------------------------------- the end

  private end(): void {
    this.faults.source.heal()
    this.faults.destination.heal()
    const found = new Uint8Array(this.model.length)
    this.atOnce(this.readAll(found))
    if (this.failure === null) this.compare(found, 0, 'content/at-end', 'the disk of the guest')
    const root = this.device.root?.node ?? null
    this.checkChain(root)
    if (this.failure !== null || root === null) return
    this.device.dispose()
    this.atOnce(this.disks.close(root))
    if (this.failure !== null) return
    this.compare(
      this.disks.readAfresh(root.name, found.length),
      0,
      'content/fresh',
      'the chain of images, opened by their headers,',
    )
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
    const isHalf = this.copiedEnd === 'failed' && names.join() === this.disks.chainAfter(kind).join() && kind !== 'active-commit'
    if (names.join() !== wanted.join() && !isHalf)
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

  private stuck(text: string): void {
    this.found('liveness', 'liveness/job-without-end', new Error(text))
  }

  protected countFaults(counts: Record<string, number>): void {
    this.faults.source.count(counts)
    this.faults.destination.count(counts)
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

function giveOrder(job: Job, order: Exclude<ControlOperation, { kind: 'drain' }>): void {
  if (order.kind === 'pause') job.pause()
  else if (order.kind === 'resume') job.resume()
  else if (order.kind === 'complete') job.complete()
  else if (order.kind === 'finalize') job.finalize()
  else if (order.kind === 'set-speed') job.setSpeed(order.speedBytesPerSecond)
  else if (order.kind === 'cancel') job.cancel(order.force)
}
