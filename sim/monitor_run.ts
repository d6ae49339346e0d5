/**
 * A mirror whose users sit at monitors: they send QMP, right and wrong, whole and in pieces, several at once, and read what
 * comes. The monitor, its schema and the job are the real ones; guests work on a backend above the source all the while.
 *
 * What may fail: what the plan says, and the code under test; the first failure is in the result. Nothing is thrown.
 */
import { BlockBackend, BlockError, type BlockNode, type HostFiles, Permission, RequestFlag } from '../impl/block'
import { PORTABLE_CODECS } from '../impl/block/codec_portable'
import { BlockdevContext } from '../impl/blockdev'
import { type ByteStream, type Co, describeWait, ENOENT, makeLabel, OK, type StreamHost, WaitQueue } from '../impl/co'
import type { Job, MirrorJob } from '../impl/jobs'
import { DAEMON_COMMANDS, Dispatcher, endActivity, QmpEnvironment, QmpSession } from '../impl/monitor'
import { QMP_MODULES } from '../impl/qapi'
import { QmpConversation } from '../model/qmp_conversation'
import { runBriefly } from './brief_run'
import type { BriefScene, BriefWatcher } from './brief_watch'
import { BriefWorld, helpJob, sceneOfJob } from './brief_world'
import type { Decider } from './decider'
import { SimDisk } from './disk'
import { FlatModel } from './flat_model'
import { readAfresh } from './fresh_open'
import { Link } from './link'
import type { GuestOperation, MonitorUserPlan, Plan } from './plan'
import type { BufferPool } from './pool'
import { deciderOf } from './schedules'
import { DiskStore } from './store'
import type { WorldEnd, WorldResult } from './verdict'

const OPERATOR = makeLabel('operator')
const SESSION = makeLabel('session')
const JOB_ID = 'job'
const WORDS_MAX = 60
const OPERATOR_THINKS_NS = 1_000_000
const READ_BYTES = 512
const NOBODY: StreamHost = { connect: refuse, listen: refuse }
const NO_FILES: HostFiles = {
  open: refuse,
  create: refuse,
  isDevice: () => false,
  remove: () => {},
}

/** `decider`: absent, what the plan's seed gives. */
export function runMonitor(plan: Plan, decider: Decider = deciderOf(plan), eye: BriefWatcher | null = null): WorldResult {
  return runBriefly('harness/monitor', (pool) => new MonitorRun(plan, pool, decider, eye))
}

class MonitorRun extends BriefWorld {
  private readonly stores: { source: DiskStore; destination: DiskStore }
  private readonly nodes: { source: BlockNode; destination: BlockNode }
  private readonly device: BlockBackend
  private readonly environment: QmpEnvironment
  private readonly dispatcher: Dispatcher
  private readonly model: FlatModel
  private readonly conversations: QmpConversation[] = []
  private copiedEnd = 'none'
  private job: MirrorJob | null = null

  constructor(plan: Plan, pool: BufferPool, decider: Decider, eye: BriefWatcher | null) {
    super(plan, pool, decider, eye)
    const { graph, kernel } = this
    const source = new DiskStore('source', plan.source, pool)
    const destination = new DiskStore('destination', plan.destination, pool)
    this.stores = { source, destination }
    const context = new BlockdevContext({ graph, files: NO_FILES, codecs: PORTABLE_CODECS })
    this.environment = new QmpEnvironment({
      context,
      streams: NOBODY,
      version: { major: 11, minor: 0, micro: 0, package: '' },
      realTimeUs: () => Math.floor(kernel.nowNs() / 1000),
      quit: () => endActivity(this.environment),
      say: () => {},
      readFile: refuse,
      makeCredentials: () => {
        throw new BlockError('there are no keys here')
      },
    })
    this.dispatcher = new Dispatcher(kernel, this.environment, QMP_MODULES, DAEMON_COMMANDS)
    this.nodes = { source: this.addDisk('source', source), destination: this.addDisk('destination', destination) }
    this.device = new BlockBackend(graph, 'drive0')
    this.device.attach(this.nodes.source, Permission.ConsistentRead | Permission.Write, Permission.All)
    this.model = new FlatModel(readAfresh(source, plan.source, pool).slice())
    this.environment.events.listen((event) => this.heard(String(event.get('event')), event.get('data')))
  }

  private addDisk(name: 'source' | 'destination', store: DiskStore): BlockNode {
    const plan = this.plan[name]
    const disk = new SimDisk(store, plan, this.decider, this.troubles.faults[name], this.watcher())
    this.troubles.join(disk)
    const node = this.graph.addNode({ name, driver: disk, options: plan.node })
    this.environment.context.owned.add(node)
    return node
  }

  run(): void {
    const { kernel, plan } = this
    for (const lane of new Set(plan.guest.map((operation) => operation.lane)))
      kernel.spawn(this.guest(lane), makeLabel(`lane-${lane}`))
    for (const user of plan.monitor!.users) kernel.spawn(this.user(user), makeLabel(user.id))
    this.toRest()
    for (let words = 0; this.failure === null && this.environment.jobs.jobs.size > 0; words++) {
      if (words === WORDS_MAX) this.stuck('a job is there for ever')
      else for (const job of this.environment.jobs.jobs.values()) this.kernel.spawn(this.help(job), OPERATOR)
      this.toRest()
    }
    const left = [...this.kernel.live]
    if (this.failure === null && left.length > 0) this.stuck(left.map(describeWait).join('; '))
    for (const { openCommands } of this.conversations) {
      if (this.failure === null && openCommands > 0)
        this.found('protocol', 'qmp/unanswered', new Error(`${openCommands} commands were not answered`))
    }
    if (this.failure === null) this.end()
  }

  /** The world's own ear: what the job is now. */
  private heard(event: string, data: unknown): void {
    this.trace.mixText(event)
    const facts = data instanceof Map ? (data as ReadonlyMap<string, unknown>) : new Map<string, unknown>()
    this.told(event, facts.get('status') ?? facts.get('action') ?? facts.get('error'))
    if (event === 'JOB_STATUS_CHANGE' && facts.get('id') === JOB_ID && facts.get('status') === 'created') {
      this.job = this.environment.jobs.find(JOB_ID) as MirrorJob
      this.copiedEnd = 'none'
      this.count('monitor/mirror-started')
    }
    if (facts.get('device') !== JOB_ID) return
    if (event === 'BLOCK_JOB_COMPLETED') {
      const isFailed = facts.get('error') !== undefined
      this.copiedEnd = isFailed ? 'failed' : this.job?.isCompleteRequested === true ? 'completed' : 'cancelled-after-ready'
      this.count(`monitor/mirror-${this.copiedEnd}`)
    } else if (event === 'BLOCK_JOB_CANCELLED') {
      this.copiedEnd = 'cancelled'
      this.count('monitor/mirror-cancelled')
    }
  }

  // ------------------------------------------------------------------------------------------------------------ the users

  private *user(plan: MonitorUserPlan): Co<void> {
    const { kernel } = this
    const serve = (stream: ByteStream): void => {
      kernel.spawn(new QmpSession({ dispatcher: this.dispatcher, stream }).run(), SESSION)
    }
    const stream = yield* new Link(kernel, this.decider, this.plan.monitor!.link, plan.id, serve, null).connect()
    const answered = new WaitQueue(kernel)
    const asked: object[] = []
    const conversation = new QmpConversation((command, isError) => {
      const key = asked.shift()
      if (key !== undefined) this.eye?.ended(key, isError)
      this.operationsDone++
      this.count(`qmp/${isError ? 'refused' : 'answered'}/${command}`)
      this.trace.mixText(command)
      answered.wakeAll()
    })
    const reader = kernel.spawn(this.read(plan.id, stream, conversation), makeLabel(`${plan.id}-reads`))
    for (const [index, { id, afterNs, isPatient, text, expects }] of plan.commands.entries()) {
      if (index === plan.leavesAfter) {
        this.note(plan.id, 'leaves')
        this.count('monitor/user-left')
        stream.close()
        return
      }
      if (afterNs > 0) yield* kernel.sleepNs(afterNs)
      while (isPatient && conversation.openCommands > 0)
        yield* answered.wait({ describe: () => `${plan.id} waits for ${conversation.openCommands} answers` })
      const { command, sentId } = namesOf(text)
      conversation.command(sentId, command, expects)
      const key = {}
      asked.push(key)
      this.note(plan.id, `${id} → ${text}`)
      this.eye?.began('users', key, `${plan.id}/${id}`, command, 0, 0)
      if ((yield* stream.write(Buffer.from(`${text}\n`))) !== OK) {
        this.found('protocol', 'qmp/left', new Error(`the monitor left ${plan.id} before ${id}`))
        return
      }
    }
    this.conversations.push(conversation)
    yield* stream.endWrite()
    yield* kernel.join(reader)
  }

  private *read(userId: string, stream: ByteStream, conversation: QmpConversation): Co<void> {
    const buffer = new Uint8Array(READ_BYTES)
    for (let count = yield* stream.read(buffer); count > 0; count = yield* stream.read(buffer)) {
      const text = Buffer.from(buffer.subarray(0, count)).toString('latin1')
      this.note(userId, `← ${text.trim()}`)
      conversation.received(text)
      const [breach] = conversation.breaches
      if (breach !== undefined) this.found('protocol', breach.key, new Error(breach.text))
    }
  }

  private *help(job: Job): Co<void> {
    yield* this.kernel.sleepNs(OPERATOR_THINKS_NS)
    try {
      if (job.status === 'concluded') job.dismiss()
      else if (job.status !== 'null') helpJob(job)
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
    }
  }

  // ------------------------------------------------------------------------------------------------------------ the guest

  private *guest(lane: number): Co<void> {
    for (const operation of this.plan.guest) {
      if (operation.lane !== lane) continue
      if (operation.thinkNs > 0) yield* this.kernel.sleepNs(operation.thinkNs)
      yield* this.operate(operation)
    }
  }

  private *operate(operation: GuestOperation): Co<void> {
    const { kind, offsetBytes, lengthBytes } = operation
    const { device, model } = this
    this.began(operation)
    let errno: number
    if (kind === 'flush' || kind === 'get-id') {
      errno = yield* device.flush()
      this.trace.mix(errno)
    } else if (kind === 'read') {
      const buffer = new Uint8Array(lengthBytes)
      const isStable = model.look(offsetBytes, lengthBytes)
      errno = yield* device.pread(offsetBytes, buffer)
      if (errno === OK) this.compare(model, buffer, offsetBytes, 'content/guest-read', `a read (${operation.id})`, isStable)
    } else {
      const change = model.begin(operation)
      if (kind === 'write') errno = yield* device.pwrite(offsetBytes, change.data)
      else if (kind === 'discard') errno = yield* device.pdiscard(offsetBytes, lengthBytes)
      else errno = yield* device.pwriteZeroes(offsetBytes, lengthBytes, operation.unmap === true ? RequestFlag.MayUnmap : 0)
      model.end(change, errno === OK)
      this.trace.mix(errno)
    }
    this.ended(operation, errno)
  }

  // -------------------------------------------------------------------------------------------------------------- the end

  private end(): void {
    this.troubles.heal()
    const root = this.device.root?.node.name ?? 'nothing'
    const onDestination = root === 'destination'
    if (onDestination !== (this.copiedEnd === 'completed'))
      this.found('protocol', 'monitor/root', new Error(`after a mirror that is ${this.copiedEnd} the guest is on ${root}`))
    this.device.dispose()
    const name = onDestination ? 'destination' : 'source'
    const found = readAfresh(this.stores[name], this.plan[name], this.pool)
    const what = `the ${name}, on which the guest is`
    this.compare(this.model, found.subarray(0, this.model.bytes.length), 0, 'content/at-end', what)
  }

  protected scene(): BriefScene {
    const { job, kernel, stores, device } = this
    const guestDisk = device.root?.node.name ?? 'nothing'
    return { ...sceneOfJob(job), kernel, guestDisk, disks: { kind: 'pair', ...stores } }
  }

  protected endFacts(): Partial<WorldEnd> {
    return {
      jobStatus: this.copiedEnd,
      jobError: this.job?.errorText ?? null,
      copiedBytes: this.job?.progress.offsetBytes ?? 0,
    }
  }
}

/** The command and the id in a request; where it is none, what it looks like. */
function namesOf(text: string): { command: string; sentId: string | null } {
  try {
    const { execute, id } = JSON.parse(text) as { execute?: unknown; id?: unknown }
    return { command: typeof execute === 'string' ? execute : 'nothing', sentId: typeof id === 'string' ? id : null }
  } catch {
    return { command: 'no JSON', sentId: null }
  }
}

function* refuse(): Co<never> {
  throw new BlockError('No such file or directory', { errno: ENOENT })
}
