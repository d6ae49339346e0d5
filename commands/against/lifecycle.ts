/**
 * One lifecycle on a real daemon: images from a plan, nodes, an export with a guest on it, a mirror with its operator, and
 * when all is quiet the images opened afresh and judged.
 *
 * What may fail: everything that the daemon does; that is a finding of the result. What never may: a lifecycle without an
 * end, since everything that is waited for has a bound; a finding that is the fault of what ran before.
 */
import * as fs from 'node:fs'
import { HostLoop } from '../../impl/host'
import { ReferenceDisk } from '../../model/disk'
import { writerOf, ZERO_WRITER } from '../../model/stamp'
import { writerNames } from '../../properties/checkers/shared'
import type { Plan } from '../../sim/plan'
import type { Finding } from '../../sim/verdict'
import type { Daemon } from './daemon'
import { RealGuest } from './guest'
import { type DiskFiles, makeBoth } from './images'
import { checkImage, type Ended, judgeImages } from './judge'
import { Moments } from './moments'
import { backingNodes, type DiskNodes, nodesOf, type Step } from './nodes'
import { RealOperator } from './operator'
import type { RealOptions } from './options'
import { mirrorCommandOf, removeNodes } from './orders'
import { canTake, type Programs } from './programs'

/** What takes longer hangs. */
const LIFECYCLE_MS_MAX = 20_000
const CRASH_MS = 500

export interface LifecycleResult {
  findings: Finding[]
  /** Facts for the tally, by name. */
  facts: Record<string, number>
  /** What was said to the daemon, for a script. */
  steps: Step[]
  /** How the job ended, in a word. */
  end: string
  milliseconds: number
  /** The daemon is of no further use. */
  isSpoilt: boolean
}

export async function runLifecycle(
  daemon: Daemon,
  programs: Programs,
  folder: string,
  plan: Plan,
  options: RealOptions,
): Promise<LifecycleResult> {
  const lifecycle = new Lifecycle(daemon, programs, folder, plan, options)
  const startMs = performance.now()
  const result = await lifecycle.run()
  result.milliseconds = performance.now() - startMs
  return result
}

class Lifecycle {
  private readonly findings: Finding[] = []
  private readonly facts: Record<string, number> = {}
  private readonly steps: Step[] = []
  private readonly moments = new Moments()
  private readonly added: DiskNodes[] = []
  private source!: DiskFiles
  private destination!: DiskFiles
  private guest!: RealGuest
  private operator!: RealOperator
  private model!: ReferenceDisk
  private attached = false
  private isHung = false
  private hasGuest = false

  constructor(
    private readonly daemon: Daemon,
    private readonly programs: Programs,
    private readonly folder: string,
    private readonly plan: Plan,
    private readonly options: RealOptions,
  ) {}

  async run(): Promise<LifecycleResult> {
    const { daemon, plan } = this
    const moments = this.moments
    daemon.lifecycles++
    daemon.monitor.events.length = 0
    this.makeImages()
    const timer = setTimeout(() => {
      this.isHung = true
      moments.giveUp()
    }, LIFECYCLE_MS_MAX)
    daemon.onEnd = () => moments.giveUp()
    let failure: string | null = null
    let isPivoted = false
    try {
      await this.live()
      isPivoted = (await this.exportedNode()) !== 'source'
      await this.tearDown()
    } catch (error) {
      failure = (error as Error).message
      moments.giveUp()
    }
    clearTimeout(timer)
    if (failure !== null && !this.hasGuest && daemon.fate === null && plan.faults.length > 0) return this.notRun()
    await this.judgeDaemon(failure)
    const isDead = this.findings.some(({ class: c }) => c === 'crash' || c === 'liveness')
    if (!isDead && failure === null) await this.judge(isPivoted)
    const end = this.endName(isPivoted)
    this.count(`end/${end}`)
    return {
      findings: this.findings,
      facts: this.facts,
      steps: this.steps,
      end,
      milliseconds: 0,
      isSpoilt: this.findings.length > 0,
    }
  }

  /** The filter's errors cannot wait: some hit the opening of the image in place of the mirror. */
  private notRun(): LifecycleResult {
    this.count('end/error-at-opening')
    return { findings: [], facts: this.facts, steps: this.steps, end: 'error-at-opening', milliseconds: 0, isSpoilt: true }
  }

  private count(name: string, by = 1): void {
    this.facts[name] = (this.facts[name] ?? 0) + by
  }

  private makeImages(): void {
    const { plan, options } = this
    const folder = this.folder
    const files = makeBoth(folder, plan, options.command === 'drive-mirror-absolute-paths')
    this.source = files.source
    this.destination = files.destination
    this.model = new ReferenceDisk(plan.source.lengthBytes, writerNames(plan))
    const { format, initial } = plan.source
    for (const extent of [...(format?.backing?.initial ?? []), ...initial]) {
      const { id, offsetBytes, content } = extent
      const lengthBytes = Math.min(extent.lengthBytes, plan.source.lengthBytes - offsetBytes)
      const isData = content === 'data' || content === 'compressed'
      if (lengthBytes > 0) this.model.place(isData ? writerOf(id) : ZERO_WRITER, offsetBytes, lengthBytes)
    }
  }

  /** Nodes, export, guest and operator, until all is quiet. */
  private async live(): Promise<void> {
    const { plan, options, daemon, moments } = this
    const hasMember = (member: string): boolean => daemon.capabilities.members.has(member)
    await this.add(nodesOf('source', this.source, { plan, options, hasMember }))
    if (options.command === 'blockdev-mirror')
      await this.add(nodesOf('destination', this.destination, { plan, options, hasMember }))
    await this.send('block-export-add', { type: 'nbd', id: 'disk', 'node-name': 'source', name: 'disk', writable: true })
    const loop = new HostLoop()
    this.guest = new RealGuest(loop, daemon.nbdSocket, plan, options, this.model, moments, this.steps)
    const canChange = canTake(daemon.capabilities, 'block-job-change', 'id')
    const link = this.canLink() ? () => this.linkBacking() : null
    this.operator = new RealOperator(
      plan,
      daemon.monitor,
      this.guest,
      moments,
      mirrorCommandOf(plan, options.command, this.destination, daemon.capabilities),
      link,
      canChange,
      this.steps,
      options.forcedEnd === 'quiet',
    )
    this.hasGuest = true
    const guestEnds = loop.run(this.guest.run())
    guestEnds.catch(() => moments.giveUp())
    await this.operator.run()
    if (!this.isHung) await moments.wait('lanes-done')
    moments.reach('quiesced')
    await Promise.race([guestEnds, new Promise((resolve) => setTimeout(resolve, CRASH_MS))])
    this.findings.push(...this.guest.findings)

    this.count('guest/requests', this.guest.outcomes.length)
    this.count(`guest/in-flight-${this.guest.inFlightMost > 1 ? 'many' : 'one'}`)
  }

  private async send(execute: string, args: Record<string, unknown>): Promise<unknown> {
    this.steps.push({ qmp: { execute, arguments: args } })
    return this.daemon.monitor.run(execute, args)
  }

  private async add(nodes: DiskNodes): Promise<void> {
    const known = { nodes: [] as string[], objects: [] as string[] }
    this.added.push({ add: [], ...known })
    for (const { execute, arguments: args } of nodes.add) {
      await this.send(execute, args)
      if (execute === 'object-add') known.objects.push(String(args['id']))
      else known.nodes.push(String(args['node-name']))
    }
  }

  private canLink(): boolean {
    const isDetached = this.plan.destination.format?.backing?.isDetached === true
    return isDetached && this.options.command === 'blockdev-mirror'
  }

  private async linkBacking(): Promise<void> {
    if (this.attached) return
    this.attached = true
    const nodes = backingNodes('destination', this.destination, this.plan.destination)
    await this.add(nodes)
    await this.send('blockdev-snapshot', { node: nodes.nodes[0], overlay: 'destination' })
  }

  /** The node that guests are on now. */
  private async exportedNode(): Promise<string> {
    const [one] = (await this.send('query-block-exports', {})) as Array<{ 'node-name': string }>
    return one!['node-name']
  }

  private async tearDown(): Promise<void> {
    const { monitor } = this.daemon
    monitor.events.length = 0
    await this.send('block-export-del', { id: 'disk', mode: 'hard' })
    await monitor.hear('BLOCK_EXPORT_DELETED')
    const isOurs = new Set(this.added.flatMap(({ nodes }) => nodes))
    const inOrder = this.added.flatMap(({ nodes }) => nodes).reverse()
    await removeNodes(inOrder, (execute, args) => this.send(execute, args))
    for (const { objects } of this.added) for (const id of objects) await this.send('object-del', { id })
    const left = (await monitor.run('query-named-block-nodes', { flat: true })) as Array<{ 'node-name': string }>
    if (left.length === 0) return
    const names = left.map((node) => node['node-name'].replace(/^#block\d+$/, '#block')).join(', ')
    const text = `when all is over there are still the nodes ${names}, of which ${isOurs.size} had been added`
    this.findings.push({ class: 'protocol', key: 'nodes/left-over', text })
  }

  /** Crashes, hangs, and complaints. */
  private async judgeDaemon(failure: string | null): Promise<void> {
    const { daemon } = this
    if (failure !== null || this.isHung) await daemon.settle(CRASH_MS)
    const complaints = this.unexpected(daemon.takeComplaints())
    if (daemon.fate !== null) {
      const { code, signal } = daemon.fate
      const text = `qemu-storage-daemon ends by ${signal ?? `exit code ${code}`}: ${complaints || 'it says nothing'}`
      this.findings.push({ class: 'crash', key: `crash/${crashName(complaints, signal)}`, text })
    } else if (this.isHung || failure !== null) {
      const { status, asked } = this.operator ?? { status: null, asked: null }
      const details = [`job: ${status}, asked to end by: ${asked}`, `what failed: ${failure ?? 'nothing'}`]
      const key = this.isHung
        ? `liveness/${status ?? 'no-job'}`
        : `harness/${(failure ?? '').replace(/[^a-z ]+/gi, ' ').slice(0, 60)}`
      const text = this.isHung
        ? `the lifecycle does not come to its end in ${LIFECYCLE_MS_MAX} ms`
        : `an order of ours fails: ${failure}`
      this.findings.push({ class: this.isHung ? 'liveness' : 'harness', key, text, details })
    } else if (complaints !== '') {
      this.findings.push({ class: 'protocol', key: 'stderr/complaint', text: `qemu-storage-daemon says: ${complaints}` })
    }
  }

  /** Where disk errors are planned, they are told of in many ways. */
  private unexpected(complaints: string): string {
    return this.plan.faults.length === 0 ? complaints : ''
  }

  private async judge(isPivoted: boolean): Promise<void> {
    const { plan, operator, options, source, destination, model, guest } = this
    const { end, asked, endedBefore, begunBefore, startRefusal, wasReady } = operator
    const ended: Ended = { end, asked, endedBefore, begunBefore, isPivoted, startRefusal, wasReady }
    const subject = { plan, options, source, destination, model, guest, ended, isAttached: this.attached }
    this.findings.push(...(await judgeImages(subject, this.programs, (name) => this.count(name))))
    for (const [name, disk, files] of [
      ['source', plan.source, source],
      ['destination', plan.destination, destination],
    ] as const) {
      if (disk.format === undefined || !fs.existsSync(files.image)) continue
      const finding = await checkImage(this.programs, name, files)
      if (finding !== null) this.findings.push(finding)
    }
    for (const { kind, refusal } of operator.outcomes) this.count(`order/${kind}-${refusal === null ? 'done' : 'refused'}`)
  }

  private endName(isPivoted: boolean): string {
    const { end, startRefusal } = this.operator ?? { end: null, startRefusal: null }
    if (end === null) return startRefusal === null ? 'none' : 'not-started'
    if (end.error !== null) return 'failed'
    return end.event === 'BLOCK_JOB_CANCELLED' ? 'cancelled' : isPivoted ? 'completed' : 'cancelled-after-ready'
  }
}

/** What is stable of an assertion's or the heap's last words. */
function crashName(complaints: string, signal: string | null): string {
  const assertion = /([\w/.-]+\.[ch]):\d+: (\w+): Assertion `([^']*)'/.exec(complaints)
  if (assertion !== null) return `${assertion[2]}: ${assertion[3]}`
  // What a spoilt heap dies of is never the same twice.
  const isHeap = /free\(\)|malloc|realloc|corrupted|double free/.test(complaints)
  return isHeap || signal === 'SIGSEGV' || signal === 'SIGBUS' ? 'memory' : (signal ?? 'exit')
}
