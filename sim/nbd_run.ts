/**
 * A mirror between two NBD servers: guests reach the source through one, the job reaches its destination through the other,
 * over links that delay, cut messages and break. Both servers, and the job's client, are the real ones; the guests speak the
 * protocol by themselves, and so does whoever listens on the job's link.
 *
 * What may fail: what the plan says, and the code under test; the first failure is in the result. Nothing is thrown.
 */
import { BlockError, type BlockNode } from '../impl/block'
import { type Co, describeWait, makeLabel } from '../impl/co'
import { type JobEvent, JobManager, type MirrorJob, startMirror } from '../impl/jobs'
import { NbdServer, openNbd } from '../impl/nbd'
import { NbdCommand, NbdConversation, type NbdSent } from '../model/nbd_conversation'
import { runBriefly } from './brief_run'
import type { BriefScene, BriefWatcher } from './brief_watch'
import { BriefWorld, helpJob, sceneOfJob, WORDS_MAX } from './brief_world'
import type { Decider } from './decider'
import { SimDisk } from './disk'
import { faultProbe, isFailing } from './faults'
import { FlatModel } from './flat_model'
import { readAfresh } from './fresh_open'
import { Link, type LinkWatcher } from './link'
import { NbdGuest } from './nbd_guest'
import type { CutPlan, GuestOperation, NbdClientPlan, NbdPlan, Plan } from './plan'
import type { BufferPool } from './pool'
import { deciderOf } from './schedules'
import { DiskStore } from './store'
import type { WorldEnd, WorldResult } from './verdict'

const SETUP = makeLabel('setup')
const STARTER = makeLabel('job-start')
const OPERATOR = makeLabel('operator')
const OPERATOR_THINKS_NS = 1_000_000_000
/** No link is down for so long, with the longest pause between two calls. */
const PATIENT_SECONDS = 30
const EXPORT = 'disk'
const JOB_ID = 'job'

/** `decider`: absent, what the plan's seed gives. */
export function runNbd(plan: Plan, decider: Decider = deciderOf(plan), eye: BriefWatcher | null = null): WorldResult {
  return runBriefly('harness/nbd', (pool) => new NbdRun(plan, pool, decider, eye))
}

class NbdRun extends BriefWorld {
  private readonly nbd: NbdPlan
  private readonly jobs: JobManager
  private readonly stores: { source: DiskStore; destination: DiskStore }
  private readonly disks: SimDisk[]
  private readonly sourceNode: BlockNode
  private readonly farNode: BlockNode
  private readonly nearServer: NbdServer
  private readonly farServer: NbdServer
  private readonly targetLink: Link
  private readonly guests = new Map<number, { guest: NbdGuest; link: Link }>()
  private readonly model: FlatModel
  private targetNode: BlockNode | null = null
  private job: MirrorJob | null = null
  /** Requests of the job that wait for an answer. */
  private readonly onLink = new Set<NbdSent>()
  private refusal: string | null = null
  private copiedEnd = 'none'

  constructor(plan: Plan, pool: BufferPool, decider: Decider, eye: BriefWatcher | null) {
    super(plan, pool, decider, eye)
    this.nbd = plan.nbd!
    const { kernel, graph } = this
    this.jobs = new JobManager(kernel, (event) => this.jobEvent(event))
    const source = new DiskStore('source', plan.source, pool)
    const destination = new DiskStore('destination', plan.destination, pool)
    this.stores = { source, destination }
    this.disks = [
      new SimDisk(source, plan.source, null, null, null),
      new SimDisk(destination, plan.destination, null, null, null),
    ]
    this.sourceNode = graph.addNode({ name: 'source', driver: this.disks[0]!, options: plan.source.node })
    this.farNode = graph.addNode({ name: 'far', driver: this.disks[1]!, options: plan.destination.node })
    this.nearServer = new NbdServer(kernel, { allocateBuffer: usedBuffer })
    this.farServer = new NbdServer(kernel, { allocateBuffer: usedBuffer })
    this.nearServer.addExport({ id: 'near', name: EXPORT, node: this.sourceNode, writable: true })
    this.farServer.addExport({ id: 'far', name: EXPORT, node: this.farNode, writable: true })
    const { link } = this.nbd
    const serveFar = this.farServer.serve.bind(this.farServer)
    this.targetLink = new Link(kernel, decider, link, 'target', serveFar, () => this.listen())
    this.model = new FlatModel(readAfresh(source, plan.source, pool).slice())
  }

  run(): void {
    const { plan, kernel } = this
    this.atOnce(this.openTarget(), SETUP)
    if (this.failure !== null || this.targetNode === null) return
    for (const [index, disk] of this.disks.entries()) {
      const name = index === 0 ? 'source' : 'destination'
      disk.engage(this.decider, this.troubles.faults[name], this.watcher())
      this.troubles.join(disk)
    }
    for (const client of this.nbd.clients) this.addGuest(client)
    kernel.spawn(this.startJob(this.targetNode), STARTER)
    for (const [lane, { guest }] of this.guests) {
      const operations = plan.guest.filter((operation) => operation.lane === lane)
      kernel.spawn(guest.run(operations), makeLabel(`lane-${lane}`))
    }
    for (const cut of this.nbd.cuts) kernel.spawn(this.cut(cut), makeLabel(cut.id))
    this.toRest()
    for (let words = 0; this.failure === null && this.job !== null && this.job.status !== 'null'; words++) {
      if (words === WORDS_MAX) this.stuck(`the job is ${this.job.status} for ever`)
      else this.kernel.spawn(this.help(this.job), OPERATOR)
      this.toRest()
    }
    // Whoever serves a connection waits for more; nobody else may.
    const stuck = [...this.kernel.live].filter(({ label }) => !label.id.startsWith('nbd-'))
    if (this.failure === null && stuck.length > 0) this.stuck(stuck.map(describeWait).join('; '))
    if (this.failure === null) this.end()
  }

  private *openTarget(): Co<void> {
    const { reconnectDelaySeconds } = this.nbd
    const server = { type: 'unix' as const, path: 'target' }
    const options = { server, exportName: EXPORT, readOnly: false, reconnectDelaySeconds }
    const driver = yield* openNbd(this.kernel, this.targetLink, options)
    this.targetNode = this.graph.addNode({ name: 'target', driver, options: this.plan.destination.node })
  }

  /** Takes apart what goes over the link of the job. */
  private listen(): LinkWatcher {
    this.note('link', 'the job calls its server')
    const sent = new Map<number, NbdSent>()
    const conversation = new NbdConversation(
      ({ cookie, error }) => {
        const request = sent.get(cookie)!
        this.onLink.delete(request)
        this.eye?.ended(request, error !== 0)
      },
      (request) => {
        sent.set(request.cookie, request)
        this.onLink.add(request)
        this.eye?.began('link', request, 'job', nameOfCommand(request.command), request.offsetBytes, request.lengthBytes)
      },
    )
    const judge = (): void => {
      const [breach] = conversation.breaches
      if (breach !== undefined) this.found('protocol', breach.key, new Error(`the ${breach.end} of the job: ${breach.text}`))
    }
    return {
      sent: (bytes) => {
        conversation.sent(bytes)
        judge()
      },
      received: (bytes) => {
        conversation.received(bytes)
        judge()
      },
    }
  }

  private addGuest(plan: NbdClientPlan): void {
    const name = `lane-${plan.lane}`
    const link = new Link(this.kernel, this.decider, this.nbd.link, name, this.nearServer.serve.bind(this.nearServer), null)
    const guest = new NbdGuest(this.kernel, plan, this.model, {
      connect: function* () {
        return link.open()
      },
      wrong: (kind, key, text) => this.found(kind, key, new Error(text)),
      hit: (probe) => this.count(probe),
      began: (operation) => this.began(operation),
      ended: (operation, error) => {
        if (operation !== null && error < 0) this.lost(operation)
        else if (operation !== null) this.ended(operation, error)
        this.operationsDone++
        this.trace.mix(error)
        if (error > 0) this.count('nbd/guest-failed')
      },
    })
    this.guests.set(plan.lane, { guest, link })
  }

  /** The connection broke before the answer. */
  private lost(operation: GuestOperation): void {
    this.note('guest', `${operation.id}: ${operation.kind} lost`)
    this.eye?.ended(operation, true)
  }

  private *cut({ link: which, afterNs, downNs }: CutPlan): Co<void> {
    yield* this.kernel.sleepNs(afterNs)
    if (which === 'target') {
      const { job } = this
      if (!this.targetLink.cut(downNs)) return
      this.note('link', `the link of the job is cut for ${downNs} ns`)
      for (const request of this.onLink) this.eye?.ended(request, true)
      this.onLink.clear()
      this.count(job === null ? 'nbd/target-cut' : `nbd/target-cut-${job.status}`)
      this.count(faultProbe('connection-loss'))
      return
    }
    const other = this.guests.get(which)
    if (other === undefined) return
    other.guest.wasCut = true
    if (!other.link.cut(downNs)) {
      other.guest.wasCut = false
      return
    }
    this.note('link', `the link of lane ${which} is cut for ${downNs} ns`)
    this.count('nbd/guest-cut')
    this.count(faultProbe('connection-loss'))
  }

  // -------------------------------------------------------------------------------------------------------------- the job

  private *startJob(target: BlockNode): Co<void> {
    const { mirror } = this.plan
    try {
      yield* startMirror(this.graph, this.jobs, { ...mirror, jobId: JOB_ID, source: this.sourceNode, target, autoDismiss: true })
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
      const isCancelled = this.job?.isCompleteRequested !== true
      this.copiedEnd = data['error'] !== undefined ? 'failed' : isCancelled ? 'cancelled-after-ready' : 'completed'
      this.count(`nbd/mirror-${this.copiedEnd}`)
      if (this.copiedEnd === 'cancelled-after-ready') this.compareDisks()
    } else if (event === 'BLOCK_JOB_CANCELLED') this.copiedEnd = 'cancelled'
    else if (event === 'BLOCK_JOB_ERROR') this.count('job/error')
    if (event !== 'JOB_STATUS_CHANGE' || data['status'] !== 'created') return
    this.job = this.jobs.find(JOB_ID) as MirrorJob
    for (const order of this.plan.control) this.kernel.spawn(this.give(order, this.job, this.sourceNode), makeLabel(order.id))
  }

  /** Nothing happens any more by itself. A link that is down comes back while the operator thinks. */
  private *help(job: MirrorJob): Co<void> {
    yield* this.kernel.sleepNs(OPERATOR_THINKS_NS)
    helpJob(job)
  }

  /** A job that was called off after READY leaves a copy of that moment, but for what changes just now. */
  private compareDisks(): void {
    const { source, destination } = this.stores
    const isStill = this.model.look(0, source.lengthBytes)
    const left = readAfresh(source, this.plan.source, this.pool)
    const right = readAfresh(destination, this.plan.destination, this.pool)
    const copy = new FlatModel(left.slice())
    copy.isKnown.set(this.model.isKnown)
    this.compare(copy, right.subarray(0, left.length), 0, 'content/copy', 'the copy', isStill)
  }

  // -------------------------------------------------------------------------------------------------------------- the end

  private end(): void {
    this.troubles.heal()
    const hasSwitched = this.copiedEnd === 'completed'
    const root = [...this.nearServer.exports()][0]?.backend.root?.node.name ?? 'nothing'
    if (root !== (hasSwitched ? 'target' : 'source'))
      this.found('protocol', 'nbd/root', new Error(`after a mirror that is ${this.copiedEnd} guests are on ${root}`))
    if (this.copiedEnd === 'failed' && !this.isFailureExcused())
      this.found('protocol', 'nbd/failed-without-a-cause', new Error(`the job failed, and nothing had: ${this.job?.errorText}`))
    this.atOnce(this.close())
    if (this.failure !== null) return
    if (this.kernel.live.size > 0) this.stuck([...this.kernel.live].map(describeWait).join('; '))
    const { source, destination } = this.plan
    const found = hasSwitched
      ? readAfresh(this.stores.destination, destination, this.pool)
      : readAfresh(this.stores.source, source, this.pool)
    const what = hasSwitched ? 'the destination that guests have switched to' : 'the source'
    this.compare(this.model, found.subarray(0, this.model.bytes.length), 0, 'content/at-end', what)
  }

  /** Errors of disks, links that nobody waits for long enough, and disks of another length are reasons to fail. */
  private isFailureExcused(): boolean {
    const { faults, source, destination } = this.plan
    if (faults.some(isFailing) || source.lengthBytes !== destination.lengthBytes) return true
    return this.nbd.reconnectDelaySeconds < PATIENT_SECONDS && this.nbd.cuts.some(({ link }) => link === 'target')
  }

  private *close(): Co<void> {
    const { graph, targetNode, sourceNode, farNode } = this
    yield* this.nearServer.stop()
    for (const node of [targetNode!, sourceNode]) {
      if (graph.nodes.has(node.name)) yield* graph.removeNode(node)
    }
    yield* this.farServer.stop()
    yield* graph.removeNode(farNode)
  }

  protected scene(): BriefScene {
    const { job, kernel, stores } = this
    const guestDisk = [...this.nearServer.exports()][0]?.backend.root?.node.name ?? 'nothing'
    return { ...sceneOfJob(job), kernel, guestDisk, disks: { kind: 'pair', ...stores } }
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

/** As memory is that held something else before: who forgets to fill it shows that. */
function usedBuffer(bytes: number): Uint8Array {
  return new Uint8Array(bytes).fill(0xa5)
}

function nameOfCommand(command: number): string {
  const [name] = Object.entries(NbdCommand).find(([, value]) => value === command) ?? [`command ${command}`]
  return name.toLowerCase()
}
