/**
 * The moving of a machine without a processor to another program, or from one: there is no memory to be sent, so what moves is
 * whether it runs, who has the images, and dirty bitmaps. States and events are those of QEMU; the bytes are our own (wire.ts),
 * and a program of QEMU's does not understand them.
 *
 * What may fail: connections, images whose users do not let go, images that another program has locked. The machine goes on
 * where it was then.
 * What never may: images that are active in both programs because of a migration; a machine that runs in both.
 */
import { BlockError } from '../../block'
import { activateAll, checkLeaving, inactivateAll } from '../../block/activation'
import { type ByteStream, type Co, makeLabel, type StreamListener, WaitQueue } from '../../co'
import { type JsonObject, type JsonValue, jsonObject } from '../../json'
import type { QmpEnvironment } from '../environment'
import type { Machine } from '../machine/machine'
import type { RunStatus } from '../machine/run_state'
import { type MigrationAddress, parseMigrationUri } from './address'
import { applyBitmaps, collectBitmaps } from './bitmaps'
import { MigrationSettings } from './settings'
import { receiveMachine, type SentMachine, sendMachine } from './wire'

export type MigrationStatus =
  | 'none'
  | 'setup'
  | 'active'
  | 'pre-switchover'
  | 'device'
  | 'completed'
  | 'failed'
  | 'cancelling'
  | 'cancelled'

const LABEL = makeLabel('migration')
const NS_PER_MS = 1_000_000
const UNDER_WAY: ReadonlySet<MigrationStatus> = new Set(['setup', 'active', 'pre-switchover', 'device', 'cancelling'])
const PAGE_BYTES = 4096
const PASSES = 2
/** Of QEMU's statistics about memory, of which there is none. */
const NO_MEMORY = [
  'transferred',
  'remaining',
  'total',
  'duplicate',
  'normal',
  'normal-bytes',
  'dirty-pages-rate',
  'mbps',
  'postcopy-requests',
  'multifd-bytes',
  'pages-per-second',
  'precopy-bytes',
  'downtime-bytes',
  'postcopy-bytes',
  'dirty-sync-missed-zero-copy',
] as const

class Cancelled extends Error {}

export class Migration {
  readonly settings = new MigrationSettings()
  private readonly environment: QmpEnvironment
  private readonly machine: Machine
  private readonly changed: WaitQueue
  status: MigrationStatus = 'none'
  private errorText: string | null = null
  private times: JsonObject = new Map()
  private stream: ByteStream | null = null
  private listener: StreamListener | null = null
  /** The command line said that the machine comes from somewhere. */
  isExpected = false
  private hasArrivalBegun = false
  /** It runs when it has come, unless it did not where it comes from. */
  startsOnArrival = true
  /** A machine that does not arrive leaves the program without any. */
  onLost: (text: string) => void = () => {}
  /** Hears of what nobody waits for. */
  complain: (text: string) => void = () => {}

  constructor(environment: QmpEnvironment, machine: Machine) {
    this.environment = environment
    this.machine = machine
    this.changed = new WaitQueue(environment.kernel)
  }

  get isUnderWay(): boolean {
    return UNDER_WAY.has(this.status)
  }

  private enter(status: MigrationStatus): void {
    if (this.status === status) return
    this.status = status
    if (this.settings.has('events')) this.environment.events.emit('MIGRATION', { status })
    this.changed.wakeAll()
  }
  private pass(pass: number): void {
    if (this.settings.has('events')) this.environment.events.emit('MIGRATION_PASS', { pass })
  }

  // ------------------------------------------------------------------------------------------------------------- leaving

  /** `migrate`: begins. Throws BlockError. */
  leave(uri: string): void {
    const { runState } = this.machine
    if (runState.status === 'inmigrate') throw new BlockError('Guest is waiting for an incoming migration')
    if (runState.status === 'postmigrate') {
      throw new BlockError("Can't migrate the vm that was paused due to previous migration")
    }
    if (this.isUnderWay) throw new BlockError("There's a migration process in progress")
    const address = parseMigrationUri(uri)
    for (const node of this.environment.graph.nodes.values()) {
      if (!node.driver.handsOver) checkLeaving(node)
    }
    this.errorText = null
    this.times = new Map()
    this.enter('setup')
    this.environment.kernel.spawn(this.run(address), LABEL)
  }

  private *run(address: MigrationAddress): Co<void> {
    const { kernel } = this.environment
    const beginNs = kernel.nowNs()
    const { runState } = this.machine
    const wasRunning = runState.isRunning
    const before = runState.status
    try {
      this.stream = yield* this.connect(address)
      this.demandGoingOn()
      const setupNs = kernel.nowNs()
      this.pass(1)
      this.enter('active')
      yield* this.environment.inTurn(function* () {
        if (!runState.stop('finish-migrate')) runState.become('finish-migrate')
      })
      const stoppedNs = kernel.nowNs()
      if (this.settings.has('pause-before-switchover')) yield* this.waitForSwitchover()
      const machine = yield* this.environment.inTurn(() => this.giveImages(wasRunning))
      yield* sendMachine(this.stream, machine)
      // A command may have work left when it has read everything.
      if (address.type === 'exec') yield* readToEnd(this.stream)
      const endNs = kernel.nowNs()
      const ms = (fromNs: number, untilNs: number): number => Math.round((untilNs - fromNs) / NS_PER_MS)
      this.times = jsonObject({
        'setup-time': ms(beginNs, setupNs),
        downtime: ms(stoppedNs, endNs),
        'total-time': ms(beginNs, endNs),
      })
      runState.become('postmigrate')
      this.enter('completed')
    } catch (error) {
      if (!(error instanceof BlockError) && !(error instanceof Cancelled)) throw error
      yield* this.environment.inTurn(() => this.stay(error, wasRunning, before))
    } finally {
      this.stream?.close()
      this.stream = null
    }
  }

  /** Throws Cancelled. */
  private demandGoingOn(): void {
    if (this.status === 'cancelling') throw new Cancelled()
  }

  private *connect(address: MigrationAddress): Co<ByteStream> {
    const { streams, runCommand } = this.environment
    if (address.type !== 'exec') return yield* streams.connect(address)
    if (runCommand === null) throw new BlockError('Commands cannot be run here')
    return yield* runCommand(address.command)
  }

  private *waitForSwitchover(): Co<void> {
    this.enter('pre-switchover')
    while (this.status === 'pre-switchover') {
      yield* this.changed.wait({ describe: () => 'waits for migrate-continue' })
    }
    this.demandGoingOn()
  }

  /** The last moment in which anything can fail here. */
  private *giveImages(wasRunning: boolean): Co<SentMachine> {
    this.demandGoingOn()
    const { graph } = this.environment
    this.pass(PASSES)
    const bitmaps = this.settings.has('dirty-bitmaps') ? collectBitmaps(graph, this.settings.mapping) : []
    yield* inactivateAll(graph)
    return { wasRunning, bitmaps }
  }

  /** The machine stays here. */
  private *stay(error: BlockError | Cancelled, wasRunning: boolean, before: RunStatus): Co<void> {
    const { graph } = this.environment
    const { runState } = this.machine
    const isCancelled = error instanceof Cancelled || this.status === 'cancelling'
    if (!isCancelled) this.errorText = error.message
    try {
      yield* activateAll(graph)
      if (wasRunning) runState.resume()
      else if (before !== 'running') runState.become(before)
    } catch (lost) {
      if (!(lost instanceof BlockError)) throw lost
      this.complain(lost.message)
      runState.become('paused')
    }
    this.enter(isCancelled ? 'cancelled' : 'failed')
    if (!isCancelled) this.complain(error.message)
  }

  /** `migrate-continue`. Throws BlockError. */
  proceed(state: string): void {
    if (this.status !== state) throw new BlockError(`Migration not in expected state: ${this.status}`)
    if (this.status === 'pre-switchover') this.enter('device')
  }
  /** `migrate_cancel`: nothing happens where nothing goes on. */
  cancel(): void {
    if (!this.isUnderWay || this.hasArrivalBegun || this.status === 'device') return
    this.enter('cancelling')
    this.stream?.close()
  }

  // ------------------------------------------------------------------------------------------------------------ arriving

  /** `migrate-incoming`, and `-incoming` with an address: waits for the machine. Throws BlockError. */
  *expect(uri: string): Co<void> {
    if (!this.isExpected) throw new BlockError("'-incoming' was not specified on the command line")
    if (this.hasArrivalBegun) throw new BlockError('The incoming migration has already been started')
    const address = parseMigrationUri(uri)
    const { streams, kernel } = this.environment
    if (address.type === 'unix' || address.type === 'inet') this.listener = yield* streams.listen(address)
    this.hasArrivalBegun = true
    this.enter('setup')
    kernel.spawn(this.arrive(address), LABEL)
  }

  private *arrive(address: MigrationAddress): Co<void> {
    try {
      const { listener } = this
      this.stream = listener === null ? yield* this.connect(address) : yield* listener.accept()
      listener?.close()
      this.listener = null
      // The program has ended.
      if (this.stream === null) return
      this.enter('active')
      const machine = yield* receiveMachine(this.stream)
      yield* this.environment.inTurn(() => this.takeImages(machine))
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
      this.errorText = error.message
      this.enter('failed')
      this.onLost(`load of migration failed: ${error.message}`)
    } finally {
      this.stream?.close()
      this.stream = null
    }
  }

  private *takeImages({ wasRunning, bitmaps }: SentMachine): Co<void> {
    const { graph, context } = this.environment
    const { runState } = this.machine
    context.opensInactive = false
    const isToRun = this.startsOnArrival && wasRunning
    const { mapping } = this.settings
    if (isToRun || !this.settings.has('late-block-activate')) yield* activateAll(graph)
    yield* applyBitmaps(graph, mapping, bitmaps, (text) => this.complain(text))
    if (isToRun) runState.resume()
    else runState.become('paused')
    this.enter('completed')
  }

  /** The program ends: nobody waits any more. */
  end(): void {
    this.listener?.close()
    this.stream?.close()
  }

  // -------------------------------------------------------------------------------------------------------------- queries

  /** MigrationInfo. */
  query(): JsonValue {
    const { listener, status } = this
    if (listener !== null) return jsonObject({ 'socket-address': [addressObject(listener)] })
    if (status === 'none') return new Map()
    return jsonObject({
      status,
      ...(this.hasArrivalBegun || status === 'setup' || status === 'failed' ? {} : { ram: memoryFacts(status) }),
      ...Object.fromEntries(this.times),
      'error-desc': this.errorText ?? undefined,
    })
  }
  get isArrival(): boolean {
    return this.hasArrivalBegun
  }
}

function* readToEnd(stream: ByteStream): Co<void> {
  const buffer = new Uint8Array(PAGE_BYTES)
  while ((yield* stream.read(buffer)) > 0);
}

function addressObject({ address }: StreamListener): JsonObject {
  if (address.type === 'unix') return jsonObject({ path: address.path, type: 'unix' })
  if (address.type === 'inet') return jsonObject({ port: String(address.port), host: address.host, type: 'inet' })
  return jsonObject({ str: String(address.descriptor), type: 'fd' })
}

function memoryFacts(status: MigrationStatus): JsonObject {
  const facts = jsonObject(Object.fromEntries(NO_MEMORY.map((name) => [name, 0])))
  facts.set('dirty-sync-count', status === 'completed' ? PASSES : 1)
  facts.set('page-size', PAGE_BYTES)
  return facts
}
