/**
 * A plan as a conversation that goes the same way each time: one request of the guest after the other, the job caught up
 * before anything else is done, and an order only when the one before has had its effect. So two daemons can be compared answer
 * by answer, event by event and counter by counter.
 *
 * What may fail: anything that the daemon does, which is told as the last line. What never may: a line that depends on time.
 */
import { createHash } from 'node:crypto'
import { strerror } from '../../impl/co'
import { HostLoop } from '../../impl/host'
import type { ClientConnection } from '../../impl/nbd/client'
import type { GuestOperation } from '../../sim/plan'
import type { Daemon } from '../against/daemon'
import { connectTo, requestOf } from '../against/guest'
import { type DiskFiles, makeBoth } from '../against/images'
import { backingNodes, type DiskNodes, nodesOf, type QmpCommand } from '../against/nodes'
import { JOB } from '../against/operator'
import { DULL_OPTIONS, type RealOptions } from '../against/options'
import { mirrorCommandOf, removeNodes } from '../against/orders'
import type { Capabilities } from '../against/programs'
import { type QmpClient, type QmpEvent, QmpRefusal } from '../qmp_client'
import { giveOrders } from './orders'
import type { ConformancePlan } from './plans'

const POLL_MS = 2
/** A job that takes longer does not come to rest. */
const REST_MS_MAX = 10_000
/** A job that has given the same answer for so many polls is at rest. */
const SAME_POLLS = 3
/** Of a job whose speed is limited: it may be between two pieces. */
const SAME_MS_SLOW = 250
const STOPS_MAX = 20

/** One thing that was asked and what came of it, or events up to one that was waited for. */
export interface Line {
  readonly kind: 'answer' | 'events' | 'guest' | 'progress' | 'failure'
  readonly asked: string
  readonly said: string
}

export interface Conversed {
  readonly lines: Line[]
  readonly source: DiskFiles
  readonly destination: DiskFiles
  /** The copy is whole: what a job has left that was broken off is nobody's promise. */
  readonly isCopy: boolean
  /** The daemon is of no further use. */
  readonly isSpoilt: boolean
}

/** Where a job is at rest, by the last event that was taken. */
export type Rest = 'running' | 'paused' | 'ready' | 'standby' | 'pending' | 'concluded' | 'null'

/** What both daemons can do. */
export function commonOf(left: Capabilities, right: Capabilities): Capabilities {
  const both = (mine: ReadonlySet<string>, other: ReadonlySet<string> | undefined): Set<string> =>
    new Set([...mine].filter((one) => other?.has(one) === true))
  const shared = [...left.commands].filter(([name]) => right.commands.has(name))
  const commands = new Map(shared.map(([name, members]) => [name, both(members, right.commands.get(name))]))
  return { version: left.version, commands, members: both(left.members, right.members) }
}

/** Images lie in `folder`, which is made anew. */
export function converse(daemon: Daemon, common: Capabilities, folder: string, plan: ConformancePlan): Promise<Conversed> {
  return new Conversation(daemon, common, folder, plan).hold()
}

export class Conversation {
  status: Rest | null = null
  readonly start: QmpCommand
  private readonly lines: Line[] = []
  private readonly added: DiskNodes[] = []
  private readonly loop = new HostLoop()
  private readonly options: RealOptions
  private readonly source: DiskFiles
  private readonly destination: DiskFiles
  private connection: ClientConnection | null = null
  private hasLeftNodes = false
  private isCopy = false

  constructor(
    private readonly daemon: Daemon,
    readonly common: Capabilities,
    private readonly folder: string,
    readonly conformance: ConformancePlan,
  ) {
    const { plan, shape } = conformance
    this.options = { ...DULL_OPTIONS, command: shape.command }
    const files = makeBoth(folder, plan, shape.command === 'drive-mirror-absolute-paths')
    this.source = files.source
    this.destination = files.destination
    const { execute, arguments: args } = mirrorCommandOf(plan, shape.command, this.destination, common)
    this.start = { execute, arguments: shape.filter === 'named' ? { ...args, 'filter-node-name': 'filter' } : args }
  }

  async hold(): Promise<Conversed> {
    this.daemon.lifecycles++
    this.daemon.monitor.events.length = 0
    let isSpoilt = false
    try {
      await this.live()
      isSpoilt = this.hasLeftNodes
    } catch (error) {
      isSpoilt = true
      this.lines.push({ kind: 'failure', asked: 'all', said: error instanceof QmpRefusal ? error.description : String(error) })
    }
    const { source, destination } = this
    // Images of the two lie in different folders, and numbers in the names of nodes that nobody has named are of no account.
    const same = (text: string): string => text.replaceAll(this.folder, 'FOLDER').replace(/#block\d+/g, '#block')
    const lines = this.lines.map(({ kind, asked, said }) => ({ kind, asked: same(asked), said: same(said) }))
    return { lines, source, destination, isCopy: this.isCopy, isSpoilt }
  }

  private async live(): Promise<void> {
    const { plan, guestBefore } = this.conformance
    const wish = { plan, options: this.options, hasMember: (member: string): boolean => this.common.members.has(member) }
    await this.add(nodesOf('source', this.source, wish))
    if (this.options.command === 'blockdev-mirror') await this.add(nodesOf('destination', this.destination, wish))
    await this.ask('block-export-add', { type: 'nbd', id: 'disk', 'node-name': 'source', name: 'disk', writable: true })
    this.connection = await this.loop.run(connectTo(this.daemon.nbdSocket, this.loop))
    await this.guest(guestBefore)
    await giveOrders(this)
    await this.loop.run(this.connection.close())
    await this.ask('query-block-exports', {})
    await this.ask('block-export-del', { id: 'disk', mode: 'hard' })
    await this.until(({ event }) => event === 'BLOCK_EXPORT_DELETED', 'the export is gone')
    await removeNodes(this.added.flatMap(({ nodes }) => nodes).reverse(), (execute, args) => this.say(execute, args))
    for (const { objects } of this.added) for (const id of objects) await this.ask('object-del', { id })
    const left = (await this.say('query-named-block-nodes', { flat: true })) as unknown[]
    this.hasLeftNodes = left.length > 0
  }

  get isOver(): boolean {
    return this.status === null || this.status === 'pending' || this.status === 'concluded' || this.status === 'null'
  }

  // ------------------------------------------------------------------------------------------------------------- asking

  private async add(nodes: DiskNodes): Promise<void> {
    this.added.push(nodes)
    for (const { execute, arguments: args } of nodes.add) await this.say(execute, args)
  }

  /** True if the daemon has done it. */
  async ask(execute: string, args: Record<string, unknown>): Promise<boolean> {
    try {
      await this.say(execute, args)
      return true
    } catch (error) {
      if (error instanceof QmpRefusal) return false
      throw error
    }
  }

  private async say(execute: string, args: Record<string, unknown>): Promise<unknown> {
    const asked = JSON.stringify({ execute, arguments: args })
    const note = (said: object): number => this.lines.push({ kind: 'answer', asked, said: JSON.stringify(said) })
    try {
      const answer = await this.daemon.monitor.run(execute, args)
      note({ return: answer })
      return answer
    } catch (error) {
      if (!(error instanceof QmpRefusal)) throw error
      note({ error: { class: error.qmpClass, desc: error.description } })
      throw error
    }
  }

  /** All that can be asked of a job at rest, and the nodes around it. */
  async look(): Promise<void> {
    await this.ask('query-jobs', {})
    await this.ask('query-block-jobs', {})
    await this.ask('query-named-block-nodes', { flat: true })
  }

  /** The lower part of a destination that was opened without it. */
  async link(): Promise<void> {
    const { plan, shape } = this.conformance
    if (shape.target !== 'qcow2-detached' || this.added.length !== 2) return
    const below = backingNodes('destination', this.destination, plan.destination)
    await this.add(below)
    await this.ask('blockdev-snapshot', { node: below.nodes[0], overlay: 'destination' })
  }

  // ------------------------------------------------------------------------------------------------------------ waiting

  /** Takes all events up to the first that is wanted. */
  async until(isIt: (event: QmpEvent) => boolean, what: string): Promise<void> {
    const { events } = this.daemon.monitor
    const found = await this.daemon.monitor.hearThat(isIt, what)
    const taken = events.splice(0, events.indexOf(found) + 1)
    for (const event of taken) {
      this.status = (statusIn(event) ?? this.status) as Rest | null
      if (event.event === 'BLOCK_JOB_COMPLETED') this.isCopy = event.data['error'] === undefined
    }
    this.lines.push({ kind: 'events', asked: what, said: taken.map((event) => JSON.stringify(event)).join('\n') })
  }

  /** Takes what has been told so far. */
  takeEvents(what: string): void {
    const taken = this.daemon.monitor.events.splice(0)
    this.lines.push({ kind: 'events', asked: what, said: taken.map((event) => JSON.stringify(event)).join('\n') })
  }

  /** Until the job is in one of these, or waits for an order at its end, or has gone. */
  async awaitRest(...rests: Rest[]): Promise<void> {
    const { autoFinalize, autoDismiss } = this.conformance.shape
    const ends = [autoFinalize === 'yes' ? '' : 'pending', autoDismiss === 'yes' ? '' : 'concluded', 'null']
    const isIt = (event: QmpEvent): boolean => {
      // What is told right after a change belongs to it.
      if (event.event === 'BLOCK_JOB_READY') return rests.includes('ready')
      if (event.event === 'BLOCK_JOB_PENDING') return ends.includes('pending')
      const status = statusIn(event)
      if (status === null || (status === 'ready' && this.status === 'running') || status === 'pending') return false
      return ends.includes(status) || rests.includes(status as Rest)
    }
    await this.until(isIt, `${rests.join(' or ')} or the end`)
  }

  /** Gives an order, and waits for what it brings about. */
  async turn(execute: string, args: Record<string, unknown>, ...rests: Rest[]): Promise<boolean> {
    const isDone = await this.ask(execute, args)
    if (isDone) await this.awaitRest(...rests)
    return isDone
  }

  /** Until the job has caught up, and goes on where an error has stopped it. */
  async settle(): Promise<void> {
    for (let stops = 0; stops < STOPS_MAX; stops++) {
      const wasPaused = this.status === 'standby' || this.status === 'paused'
      const job = await this.poll(false)
      if (job === null) return this.awaitRest()
      if (wasPaused || job['paused'] === false) return
      await this.goOn(this.status === 'ready' ? 'standby' : 'paused')
    }
  }

  /** An error has stopped the job. */
  async goOn(rest: Rest): Promise<void> {
    if (this.status !== rest) await this.awaitRest(rest)
    if (this.isOver) return
    await this.look()
    await this.turn('job-resume', { id: JOB }, 'ready', 'running')
    if (this.status === 'running') await this.awaitRest('ready', 'paused')
  }

  /** Until a job whose speed is limited stands still. */
  async standStill(): Promise<void> {
    await this.poll(true)
  }

  /** Asks until the answer stays the same and the job is at rest; null: it has gone. */
  private async poll(isSlow: boolean): Promise<Record<string, unknown> | null> {
    let [quiet, said, sinceMs] = [0, '', performance.now()]
    const { monitor } = this.daemon
    const endMs = performance.now() + REST_MS_MAX
    while (performance.now() < endMs) {
      // Of what the guest has changed an idle job hears only after a while; the bitmap has it at once.
      const isClean = (await dirtyBytes(monitor)) === 0
      const [job] = (await monitor.run('query-block-jobs')) as Array<Record<string, unknown>>
      if (job === undefined || ['waiting', 'pending', 'aborting', 'concluded'].includes(String(job['status']))) return null
      const next = JSON.stringify(job)
      quiet = next === said && ((isClean && job['len'] === job['offset']) || isSlow || job['paused'] === true) ? quiet + 1 : 0
      if (next !== said) sinceMs = performance.now()
      said = next
      if (quiet >= SAME_POLLS && (!isSlow || performance.now() - sinceMs > SAME_MS_SLOW)) {
        this.lines.push({ kind: 'progress', asked: 'the job is at rest', said })
        return job
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    }
    throw new Error(`the job does not come to rest: ${said}`)
  }

  // -------------------------------------------------------------------------------------------------------------- guest

  /** One request after the other; beside a job, which has caught up after each. */
  async guest(requests: readonly GuestOperation[]): Promise<void> {
    for (const operation of requests) {
      const request = requestOf(operation)!
      await this.loop.run(this.connection!.execute(request))
      if (request.isLost) throw new Error('the connection of the guest is lost')
      const digest = operation.kind === 'read' ? ` ${createHash('sha1').update(request.buffer!).digest('hex')}` : ''
      const { kind, offsetBytes, lengthBytes } = operation
      const asked = `${kind} ${offsetBytes}+${lengthBytes}`
      this.lines.push({ kind: 'guest', asked, said: `${strerror(request.errno)}${digest}` })
      if (!this.isOver && operation.kind !== 'read') await this.settle()
    }
  }
}

/** Of the bitmaps that nobody has named: those of jobs. */
async function dirtyBytes(monitor: QmpClient): Promise<number> {
  const nodes = (await monitor.run('query-named-block-nodes', { flat: true })) as Array<Record<string, unknown>>
  const bitmaps = nodes.flatMap((node) => (node['dirty-bitmaps'] ?? []) as Array<{ name?: string; count: number }>)
  return bitmaps.filter(({ name }) => name === undefined || name === '').reduce((sum, { count }) => sum + count, 0)
}

function statusIn({ event, data }: QmpEvent): string | null {
  return event === 'JOB_STATUS_CHANGE' && data['id'] === JOB ? String(data['status']) : null
}
