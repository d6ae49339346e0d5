/**
 * A world: two disks, a guest behind a virtio-blk device, a mirror between the disks, an operator, and people who watch.
 * It is built from a plan, runs to its end in virtual time in one call, and leaves nothing behind.
 *
 * What may fail: anything that the plan says, and the code under test; the first failure ends the world and is in the
 * result. Nothing is thrown. What never may happen: a second run of the same plan with another result.
 */
import { BlockBackend, BlockGraph, type BlockNode, checkUnblocked, Permission } from '../impl/block'
import { RawDriver } from '../impl/block/drivers/raw'
import { type Co, describeWait, findWaitCycle, Kernel, type Label, makeLabel } from '../impl/co'
import { type JobEvent, JobManager, MirrorJob, startMirror } from '../impl/jobs'
import { GuestMemory, VirtioBlk, VirtioMmio } from '../impl/virtio'
import { VirtualClockwork } from './clockwork'
import { type Controlled, Operator } from './control'
import type { CorruptionView } from './corruption'
import type { Decider } from './decider'
import { SimDisk } from './disk'
import { Faults, faultProbe, type OwnFault } from './faults'
import { seenPlan } from './formats'
import { makeImage, readImageAfresh } from './fresh_open'
import { GuestDriver, type GuestRequest } from './guest/driver'
import { emptyStores, FileWatcher, type ImageStores, ImageView, openWatched } from './image'
import { type OpenedImage, openImageNodes } from './image_nodes'
import { GuestLanes } from './lanes'
import type { CheckerFactory, MirrorView, WorldView } from './observer'
import type { DiskName, DiskPlan, FormatPlan, Plan } from './plan'
import { BufferPool } from './pool'
import { WriteCache } from './power'
import { deciderOf } from './schedules'
import { DiskStore } from './store'
import { Throttles } from './throttle'
import { Trace } from './trace'
import { withTripwires } from './tripwires'
import { Troubles } from './troubles'
import type { WorldEnd, WorldResult } from './verdict'
import { errorText, stackOf, Watch, type Watched } from './watch'

export interface WorldOptions {
  /** Absent: what the plan's seed gives. */
  decider?: Decider
  checkers?: readonly CheckerFactory[]
  /** What the plan's entries of the kind `own` are for. */
  faults?: readonly OwnFault[]
  /** `last`: the result holds the last lines of a world that failed; `all`: all lines. */
  trace?: 'last' | 'all'
  /** Called after each event, when nothing runs; for people who step through a world. */
  onStep?: (world: WorldView & { readonly kernel: Kernel; readonly probesHit: Readonly<Record<string, number>> }) => void
}

/** Runs the world of a plan that `checkPlan` has nothing against. */
export function runWorld(plan: Plan, options: WorldOptions = {}): WorldResult {
  const pool = new BufferPool()
  const trace = new Trace(options.trace === 'all')
  try {
    return withTripwires(() => {
      const world = new World(plan, options, pool, trace)
      world.run()
      return world.result()
    })
  } catch (error) {
    return brokenResult(error, trace)
  } finally {
    pool.giveBack()
  }
}

const JOB_ID = 'mirror'
const NO_FAULTS = new Faults([], 'source')
const IRQ = makeLabel('irq')
const TEARDOWN = makeLabel('teardown')
const SETUP = makeLabel('setup')
const RAM_BASE_ADDRESS = 0x8000_0000
/** Lines of a liveness failure that tell who waits for what. */
const WAITS_MAX = 24

class World implements Watched, Controlled {
  /** As checkers see it. */
  readonly plan: Plan
  readonly source: DiskStore | ImageView
  readonly destination: DiskStore | ImageView
  readonly kernel: Kernel
  job: MirrorJob | null = null
  isGuestDone = false
  private readonly options: WorldOptions
  private readonly pool: BufferPool
  private readonly trace: Trace
  private readonly clockwork: VirtualClockwork
  private readonly watch: Watch
  private readonly troubles: Troubles
  private readonly throttles: Throttles
  private readonly graph: BlockGraph
  private readonly sourceNode: BlockNode
  private readonly destinationNode: BlockNode
  /** As the world was asked for. */
  private readonly wanted: Plan
  private readonly images = new Map<DiskName, { stores: ImageStores; opened: OpenedImage }>()
  private readonly backend: BlockBackend
  private readonly jobs: JobManager
  private readonly driver: GuestDriver
  private readonly lanes: GuestLanes
  private readonly operator: Operator
  private outcome: 'none' | 'completed' | 'cancelled-after-ready' | 'cancelled' | 'failed' = 'none'
  private refusal: string | null = null
  private readonly decider: Decider
  /** None in worlds without a power cut. */
  private readonly caches = new Map<DiskStore, WriteCache>()
  private isPowerOff = false

  constructor(plan: Plan, options: WorldOptions, pool: BufferPool, trace: Trace) {
    const decider = options.decider ?? deciderOf(plan)
    this.wanted = plan
    this.plan = seenPlan(plan)
    this.decider = decider
    this.options = options
    this.pool = pool
    this.trace = trace
    this.clockwork = new VirtualClockwork(decider)
    this.kernel = new Kernel(this.clockwork)
    this.watch = new Watch(this, trace)
    this.troubles = new Troubles(plan, options.faults)
    this.graph = new BlockGraph(this.kernel)
    this.throttles = new Throttles(this.graph, this.watch)
    const source = this.addDisk('source')
    const destination = this.addDisk('destination')
    this.source = source.view
    this.destination = destination.view
    this.sourceNode = source.node
    this.destinationNode = destination.node
    this.backend = new BlockBackend(this.graph, 'drive0')
    const permission = Permission.ConsistentRead | (plan.source.node.readOnly === true ? 0 : Permission.Write)
    this.backend.attach(this.sourceNode, permission, Permission.All)
    this.jobs = new JobManager(this.kernel, (event) => this.watch.jobEvent(event))
    this.troubles.refuseMemory(this.graph, this.watch)
    this.lanes = new GuestLanes(plan.guest)
    this.driver = this.addDevice()
    this.operator = new Operator(this, this.watch, plan.control)
    this.watch.engage(options.checkers ?? [])
  }

  /** The node that guests and the mirror use has the name of the disk, whatever lies below it. */
  private addDisk(name: DiskName): { view: DiskStore | ImageView; node: BlockNode } {
    const plan = this.wanted[name]
    const { throttle } = plan
    if (throttle?.at !== 'top') return this.addStorage(name, name, plan)
    // One node looks for zeroes: the one whose options the mirror knows.
    const below: DiskPlan = { ...plan, node: { ...plan.node, detectZeroes: 'off' } }
    const { view, node } = this.addStorage(name, `${name}-below`, below)
    return { view, node: this.throttles.above(name, throttle, name, node, plan.node) }
  }

  private addStorage(name: DiskName, nodeName: string, plan: DiskPlan): { view: DiskStore | ImageView; node: BlockNode } {
    if (plan.format !== undefined) return this.addImage(name, nodeName, plan, plan.format)
    const view = new DiskStore(name, plan, this.pool)
    const disk = new SimDisk(view, plan, this.decider, this.troubles.faults[name], this.watch)
    this.troubles.join(disk)
    this.addCache(disk, plan)
    if (plan.raw !== true) return { view, node: this.graph.addNode({ name: nodeName, driver: disk, options: plan.node }) }
    const options = { ...plan.node, detectZeroes: 'off' as const }
    const file = this.graph.addNode({ name: `${nodeName}-file`, driver: disk, options })
    const children = [{ name: 'file', role: 'image' as const, node: file }]
    return { view, node: this.graph.addNode({ name: nodeName, driver: new RawDriver(), children, options: plan.node }) }
  }

  /** The image is made before the world and opened at its beginning, both in no time; then its disks are as the plan says. */
  private addImage(name: DiskName, nodeName: string, plan: DiskPlan, format: FormatPlan): { view: ImageView; node: BlockNode } {
    const { graph, pool, watch, throttles } = this
    const stores = emptyStores(name, plan, format, pool)
    makeImage(stores, plan, format)
    const view = new ImageView(name, plan, format, stores, pool)
    const disks: SimDisk[] = []
    let fileWatcher: FileWatcher | null = null
    const makeDisk = (store: DiskStore): SimDisk => {
      const disk = new SimDisk(store, plan, null, null, null)
      if (fileWatcher === null) disks.push(disk)
      else disk.engage(this.decider, new Faults([], name), fileWatcher)
      return disk
    }
    const { throttle } = plan
    const aboveFile = (file: BlockNode): BlockNode =>
      throttles.above(name, throttle!, `${nodeName}-throttle`, file, { ...file.options })
    const open = openImageNodes(graph, {
      name: nodeName,
      stores,
      format,
      options: plan.node,
      makeDisk,
      makeDriver: (file, options) => openWatched(file, options, view, watch),
      withoutBacking: format.backing?.isDetached === true,
      ...(throttle?.at === 'file' ? { aboveFile } : {}),
    })
    const opened = this.runAtOnce(open)
    this.runAtOnce(view.show(opened.driver))
    fileWatcher = new FileWatcher(opened.driver, watch)
    for (const disk of disks) {
      const isBelow = disk.store === stores.backing
      disk.engage(this.decider, isBelow ? NO_FAULTS : this.troubles.faults[name], fileWatcher)
      if (isBelow) continue
      this.troubles.join(disk)
      this.addCache(disk, plan)
    }
    this.images.set(name, { stores, opened })
    return { view, node: opened.node }
  }

  private addCache(disk: SimDisk, plan: DiskPlan): void {
    if (!this.plan.control.some(({ kind }) => kind === 'power-cut')) return
    disk.cache = new WriteCache(disk.store, plan)
    this.caches.set(disk.store, disk.cache)
  }

  /** Before anything else happens in the world. Throws what the coroutine throws. */
  private runAtOnce<T>(body: Co<T>): T {
    const { kernel, clockwork } = this
    const results: T[] = []
    kernel.spawn(keepResult(body, results), SETUP)
    while (clockwork.nextNs() !== Infinity) {
      clockwork.step(kernel, clockwork.nextNs())
      if (kernel.failure !== null) throw kernel.failure.error
    }
    return results[0]!
  }

  private addDevice(): GuestDriver {
    const { device: plan, source } = this.plan
    const ram = this.pool.take(this.lanes.ramBytes(plan))
    // The line is an event of its own, so that several completions may find one handler.
    const interrupt = (): void => {
      this.kernel.spawn(this.handleInterrupt(), IRQ)
    }
    const labelRequest = (queueIndex: number, headIndex: number): Label => this.driver.labelOf(queueIndex, headIndex)
    const { queueCount, queueSize, blockBytes, indirect, eventIndex } = plan
    const device = new VirtioBlk(this.kernel, this.backend, new GuestMemory(ram, RAM_BASE_ADDRESS), {
      interrupt,
      labelRequest,
      queueCount,
      queueSize,
      blockBytes,
      indirect,
      eventIndex,
      readOnly: source.node.readOnly === true,
      serial: 'mirrorsim',
    })
    const port = new VirtioMmio(device)
    return new GuestDriver({ kernel: this.kernel, ram, baseAddress: RAM_BASE_ADDRESS, port, plan, hooks: this.watch })
  }

  private *handleInterrupt(): Co<void> {
    this.driver.interrupt()
  }

  run(): void {
    this.driver.initialise()
    this.operator.reach('start')
    this.lanes.start(this.kernel, this.driver, this.pool, () => {
      this.isGuestDone = true
      this.operator.reach('guest-done')
    })
    do this.runToRest()
    while (this.watch.failure === null && !this.isPowerOff && this.operator.rest())
    if (this.isPowerOff) {
      if (this.watch.failure === null) this.lookAfterPowerCut()
      return
    }
    if (this.watch.failure === null) this.checkRest()
    if (this.watch.failure === null) this.end()
  }

  /** Runs until nothing is left to happen, or something is wrong. */
  private runToRest(): void {
    const { clockwork, kernel, trace, watch, driver, options } = this
    const { eventsMax, timeMaxNs } = this.plan.bounds
    while (watch.failure === null) {
      const nextNs = clockwork.nextNs()
      if (nextNs === Infinity) return
      if (trace.step >= eventsMax || nextNs > timeMaxNs) {
        if (nextNs > timeMaxNs) this.stuck('too-much-time', `no end after ${timeMaxNs} ns`)
        else this.stuck('too-many-events', `no end after ${eventsMax} events`)
        return
      }
      trace.begin(nextNs)
      const coroutine = clockwork.step(kernel, nextNs)
      trace.end(coroutine.label.hash)
      watch.afterEvent()
      driver.checkInterrupt()
      options.onStep?.(this)
      if (this.isPowerOff) return
    }
  }

  /** Whoever is left now waits for something that will not come. */
  private checkRest(): void {
    if (this.kernel.live.size > 0) {
      const cycle = findWaitCycle(this.kernel.live)
      const members = cycle?.map((coroutine) => coroutine.label.id).join(' → ')
      if (cycle === null) this.stuck('stuck', 'nothing happens any more, and something is still waiting')
      else this.stuck('cycle', `coroutines wait for each other: ${members} → ${cycle[0]!.label.id}`)
    } else if (this.job !== null && this.job.status !== 'null')
      this.stuck('job-without-end', `nothing happens any more, and the job is ${this.job.status}`)
  }

  private stuck(what: string, text: string): void {
    const details = [...this.kernel.live].slice(0, WAITS_MAX).map(describeWait)
    if (this.job !== null) {
      const { status, progress, pauseCount } = this.job
      details.unshift(`job: ${status}, ${progress.offsetBytes} of ${progress.lengthBytes} bytes, paused ${pauseCount} times`)
    }
    this.watch.found({ class: 'liveness', key: `liveness/${what}`, text, details })
  }

  /** Takes everything down as a user would, opens both images afresh and compares what they hold with what they should. */
  private end(): void {
    this.driver.endQuarantine()
    // An image that is closed has to write what it still has in memory.
    this.troubles.heal()
    this.kernel.spawn(this.tearDown(), TEARDOWN)
    this.runToRest()
    if (this.watch.failure === null && this.kernel.live.size > 0) this.checkRest()
    if (this.watch.failure !== null) return
    this.watch.atEnd({
      source: this.readDisk('source'),
      destination: this.readDisk('destination'),
      files: { source: this.fileOf('source'), destination: this.fileOf('destination') },
      jobCompleted: this.outcome === 'completed',
      jobCancelledAfterReady: this.outcome === 'cancelled-after-ready',
    })
  }

  /** Whoever ran stands still for ever, and both images are opened from what lies on the media. */
  private lookAfterPowerCut(): void {
    if (this.outcome === 'completed') this.watch.hit('power/cut-after-completed')
    else if (this.job !== null && this.outcome === 'none') this.watch.hit('power/cut-in-job')
    this.kernel.destroy()
    for (const cache of this.caches.values()) cache.cut(this.decider, (probe) => this.watch.hit(probe), this.troubles.corruption)
    const files = { source: this.fileOf('source'), destination: this.fileOf('destination') }
    this.watch.powerCut({ source: this.readDisk('source'), destination: this.readDisk('destination'), files })
  }

  /** What is on a disk, as somebody finds it: on its medium after a power cut, in the store otherwise. */
  private readDisk(name: DiskName): Uint8Array {
    const plan = this.wanted[name]
    const image = this.images.get(name)
    if (image === undefined || plan.format === undefined) {
      const store = this[name] as DiskStore
      const found = this.isPowerOff ? this.mediumOf(store) : store
      // A disk without a format is what it holds: to open it would be to copy it.
      return found.bytes.length === found.lengthBytes ? found.bytes : found.bytes.subarray(0, found.lengthBytes)
    }
    const { file, dataFile, backing } = image.stores
    const stores = this.isPowerOff
      ? { file: this.mediumOf(file), dataFile: dataFile === null ? null : this.mediumOf(dataFile), backing }
      : image.stores
    return readImageAfresh(stores, plan, plan.format, this.pool)
  }

  /** The bytes of the file that an image lies in. */
  private fileOf(name: DiskName): Uint8Array | null {
    const image = this.images.get(name)
    if (image === undefined) return null
    const { file } = image.stores
    const found = this.isPowerOff ? this.mediumOf(file) : file
    return found.bytes.subarray(0, found.lengthBytes)
  }

  private mediumOf(store: DiskStore): DiskStore {
    return this.caches.get(store)!.medium
  }

  private *tearDown(): Co<void> {
    this.backend.dispose()
    for (const [name, node] of [
      ['source', this.sourceNode],
      ['destination', this.destinationNode],
    ] as const) {
      const image = this.images.get(name)
      const storage = node.skipFilters()
      const file = storage.children.get('file')?.node
      if (node !== storage) yield* this.graph.removeNode(node)
      if (image !== undefined) yield* image.opened.close()
      else yield* this.graph.removeNode(storage)
      if (image === undefined && file !== undefined) yield* this.graph.removeNode(file)
    }
  }

  // ------------------------------------------------------------------------------------------------ what the operator does

  findJob(): MirrorJob {
    const job = this.jobs.findBlockJob(JOB_ID)
    if (!(job instanceof MirrorJob)) throw new Error('the only job of a world is its mirror')
    return job
  }

  *startMirror(): Co<void> {
    const { mirror } = this.plan
    try {
      yield* startMirror(this.graph, this.jobs, {
        ...mirror,
        targetHasDetachedBacking: this.wanted.destination.format?.backing?.isDetached ?? false,
        jobId: JOB_ID,
        source: this.sourceNode,
        target: this.destinationNode,
        // The job stays to be asked about its end, until the operator or the caretaker dismisses it.
        autoDismiss: false,
      })
    } catch (error) {
      this.watch.hit('control/mirror-refused')
      if (this.job === null) this.refusal = errorText(error)
      throw error
    }
  }

  *drain(durationNs: number): Co<void> {
    const node = this.guestDisk === 'source' ? this.sourceNode : this.destinationNode
    if (this.backend.inFlight > 0) this.watch.hit('control/drain-under-load')
    yield* this.graph.drainedBegin(node)
    yield* this.kernel.sleepNs(durationNs)
    this.graph.drainedEnd(node)
  }

  *linkBacking(disk: DiskName): Co<void> {
    const opened = this.images.get(disk)!.opened
    const wasLinked = opened.node.backing !== null
    yield* opened.linkBacking()
    const phase = this.mirror?.phase
    if (phase === 'scanning' || phase === 'zeroing') this.watch.hit('backing/linked-in-scan')
    if (phase === 'copying') this.watch.hit(wasLinked ? 'backing/replaced-in-job' : 'backing/attached-in-job')
    else if (phase === 'finished') this.watch.hit(wasLinked ? 'backing/replaced-after-job' : 'backing/attached-after-job')
  }

  resetDevice(): void {
    if (this.driver.inFlightCount > 0) {
      this.watch.hit('control/reset-under-load')
      this.watch.count(faultProbe('device-reset'))
    }
    this.driver.reset()
  }

  *resize(): Co<void> {
    const node = this.backend.root!.node
    checkUnblocked(node.name, node.blockers, 'resize')
    const backend = new BlockBackend(this.graph, '')
    backend.attach(node, Permission.Resize, Permission.All)
    if (this.mirror !== null && this.mirror.phase !== 'finished') {
      const text = `nobody keeps the disk from getting another length while the job is ${this.jobStatus}`
      this.watch.found({ class: 'protocol', key: 'world/resized-under-mirror', text })
    }
    // A disk that cannot do it says so; what counts is that it was allowed to try.
    yield* backend.truncate(backend.lengthBytes, true, 'off')
    backend.detach()
  }

  cutPower(): void {
    this.isPowerOff = true
    this.watch.count(faultProbe('power-cut'))
  }

  // --------------------------------------------------------------------------------------------------- what the watch tells

  guestEnded(request: GuestRequest): void {
    this.operator.operationDone(request.operation.id)
  }

  jobChanged({ event, data }: JobEvent): void {
    if (event === 'JOB_STATUS_CHANGE') this.jobIs(String(data['status']))
    else if (event === 'BLOCK_JOB_READY') this.operator.reach('ready')
    else if (event === 'BLOCK_JOB_CANCELLED') {
      this.outcome = 'cancelled'
      this.watch.hit('job/cancelled-by-force')
    } else if (event === 'BLOCK_JOB_COMPLETED') this.jobCompleted(data['error'] !== undefined)
  }

  private jobIs(status: string): void {
    if (status === 'pending' || status === 'aborting') this.operator.reach('ending')
    if (status === 'concluded') this.operator.reach('concluded')
    if (status !== 'created') return
    if (this.job !== null) this.watch.hit('job/second')
    this.job = this.findJob()
    this.outcome = 'none'
  }

  private jobCompleted(hasError: boolean): void {
    const { source, destination } = this.plan
    if (hasError && source.lengthBytes !== destination.lengthBytes) this.watch.hit('job/lengths-differ')
    if (hasError) this.outcome = 'failed'
    else this.outcome = this.job!.isCompleteRequested ? 'completed' : 'cancelled-after-ready'
    if (this.outcome === 'failed') this.watch.hit('job/failed')
    else this.watch.hit(this.outcome === 'completed' ? 'job/completed' : 'job/cancelled-softly')
  }

  // -------------------------------------------------------------------------------------------------- what checkers look at

  get corruption(): CorruptionView | null {
    return this.troubles.corruption
  }
  get mirror(): MirrorView | null {
    return this.job === null ? null : this.job.view
  }
  get jobStatus(): string {
    return this.job === null ? 'none' : this.job.status
  }
  get jobOffsetBytes(): number {
    return this.job === null ? 0 : this.job.progress.offsetBytes
  }
  get jobLengthBytes(): number {
    return this.job === null ? 0 : this.job.progress.lengthBytes
  }
  get isForcedToEnd(): boolean {
    return this.operator.hasForcedEnd
  }
  get isCancelledByForce(): boolean {
    return this.job?.isForceCancelled ?? false
  }
  get guestDisk(): DiskName {
    return this.backend.root?.node.skipFilters() === this.destinationNode.skipFilters() ? 'destination' : 'source'
  }
  get guestInFlight(): number {
    return this.driver.inFlightCount
  }
  get timeNs(): number {
    return this.trace.timeNs
  }
  get step(): number {
    return this.trace.step
  }
  /** Situations until now, by name, with counts. */
  get probesHit(): Readonly<Record<string, number>> {
    return this.watch.hits
  }
  probe(name: string): void {
    this.watch.count(name)
  }

  result(): WorldResult {
    const { trace, watch, job } = this
    const faultsFired = this.troubles.count(watch.hits)
    if (this.corruption?.isAny === true) {
      watch.hit('silent/hit')
      if (this.outcome === 'completed') watch.hit('silent/completed')
    }
    const statistics = job === null ? null : job.view.statistics
    if (statistics !== null && statistics.skippedZeroBytes > 0) watch.hit('mirror/zero-skipped')
    if (statistics !== null && statistics.discardedBytes > 0) watch.hit('mirror/discarded')
    const jobError = job === null ? this.refusal : job.errorText
    return {
      failure: watch.failure,
      events: trace.step,
      timeNs: trace.timeNs,
      hash: trace.hashText(),
      checkpoints: trace.checkpoints,
      probes: watch.hits,
      faultsFired,
      trace: watch.failure !== null || this.options.trace === 'all' ? trace.records() : [],
      end: {
        jobStatus: this.outcome === 'none' ? this.jobStatus : this.outcome,
        jobError: this.outcome === 'cancelled' ? null : jobError,
        guestOperationsDone: watch.guestOperationsDone,
        sourceAllocatedBytes: this.source.allocatedBytes,
        destinationAllocatedBytes: this.destination.allocatedBytes,
        skippedZeroBytes: statistics?.skippedZeroBytes ?? 0,
        copiedBytes: statistics?.copiedBytes ?? 0,
      },
    }
  }
}

// Not inside the world, which it would keep in memory.
function* keepResult<T>(body: Co<T>, results: T[]): Co<void> {
  results.push(yield* body)
}

/** The world itself could not be built, or broke down outside of what it tests. */
function brokenResult(error: unknown, trace: Trace): WorldResult {
  const end: WorldEnd = {
    jobStatus: 'none',
    jobError: null,
    guestOperationsDone: 0,
    sourceAllocatedBytes: 0,
    destinationAllocatedBytes: 0,
    skippedZeroBytes: 0,
    copiedBytes: 0,
  }
  return {
    failure: {
      class: 'harness',
      key: 'harness/world',
      text: `the world broke down: ${errorText(error)}`,
      details: stackOf(error),
      step: trace.step,
      timeNs: trace.timeNs,
    },
    events: trace.step,
    timeNs: trace.timeNs,
    hash: trace.hashText(),
    checkpoints: trace.checkpoints,
    probes: {},
    faultsFired: {},
    trace: trace.records(),
    end,
  }
}
