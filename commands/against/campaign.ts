/**
 * npm run fuzz -- --against qemu: plans of consecutive seeds on real storage daemons, one kept alive by each worker. What
 * fails becomes a report, smaller where a smaller plan still fails, with a script that needs nothing of ours.
 *
 * What never may: programs that are absent, or plans that a real program cannot run, counted as passed.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { planOfSeed } from '../../properties/plans'
import type { ProfileName } from '../../properties/plans/mixture'
import { type Report, reportFileName, writeReport } from '../../reports/format'
import type { Plan } from '../../sim/plan'
import { EXIT_CODES, type Finding } from '../../sim/verdict'
import { EXIT_INTERRUPTED, EXIT_OK, type Streams } from '../cli'
import { makeScratch, removeScratch } from '../interrupt'
import { revisionOf } from '../report_folder'
import { Daemon } from './daemon'
import { type LifecycleResult, runLifecycle } from './lifecycle'
import { drawOptions, type RealOptions } from './options'
import { Programs, type ProgramsWish } from './programs'
import { scriptOf } from './script'
import { type ShrunkReal, shrinkReal } from './shrink'

/** A daemon is asked to quit after so many lifecycles, and its end judged. */
const LIFECYCLES_A_DAEMON = 1000
/** Lifecycles that are spent on making one failure smaller; one of each key is, when the campaign is over. */
const SHRINK_RUNS_MAX = 150
/** No failure is made smaller any more when this much of the campaign's time, and at least so long, has gone into that. */
const SHRINK_SHARE = 0.25
const SHRINK_SECONDS_LEAST = 120
const TOLD_EVERY_MS = 10_000

export interface RealFuzzOptions {
  programs: ProgramsWish
  seed: string
  firstIndex: number
  /** null: no limit. */
  lifecyclesMax: number | null
  secondsMax: number | null
  workers: number
  profile: ProfileName
  outFolder: string
  /** Where images and sockets lie. */
  folder: string
  json: boolean
  command: string
}

interface RealGroup {
  finding: Finding
  count: number
  seeds: string[]
  report: string | null
}

/** A failure that is new, as it was met. */
interface Met {
  plan: Plan
  options: RealOptions
  finding: Finding
  result: LifecycleResult
  /** Where its images lay. */
  folder: string
}

export interface RealTally {
  lifecycles: number
  skipped: Record<string, number>
  facts: Record<string, number>
  groups: Map<string, RealGroup>
}

export async function fuzzReal(options: RealFuzzOptions, { out, err }: Streams, stop: AbortSignal): Promise<number> {
  const programs = new Programs(options.programs)
  const missing = programs.missing()
  if (missing !== null) {
    out.write(options.json ? `${JSON.stringify({ skipped: missing, lifecycles: 0 })}\n` : `fuzz: skipped: ${missing}\n`)
    return EXIT_OK
  }
  const campaign = new RealCampaign(options, programs, (text) => err.write(`fuzz: ${text}\n`), stop)
  await campaign.run()
  out.write(options.json ? `${JSON.stringify(campaign.summary())}\n` : campaign.text())
  if (stop.aborted) return EXIT_INTERRUPTED
  const [first] = campaign.tally.groups.values()
  return first === undefined ? EXIT_OK : EXIT_CODES[first.finding.class]
}

/** Why a real daemon cannot run a plan; null: it can. */
export function unfit(plan: Plan): string | null {
  if (plan.source.node.readOnly === true) return 'nobody can write to the source'
  if (plan.control.some(({ kind }) => kind === 'power-cut')) return 'a real machine keeps its power'
  if (plan.faults.some(({ kind }) => kind !== 'error')) return 'errors that no filter of QEMU can make'
  if (plan.job !== undefined || plan.nbd !== undefined || plan.monitor !== undefined || plan.damage !== undefined) {
    return 'worlds without a device'
  }
  return null
}

function imagesIn(folder: string): string {
  return path.join(folder, 'l')
}

/** A daemon that is started anew when it is of no further use. */
export class DaemonKeeper {
  private daemon: Daemon | null = null

  constructor(
    readonly programs: Programs,
    readonly folder: string,
  ) {}

  async lifecycle(plan: Plan, options: RealOptions): Promise<LifecycleResult> {
    this.daemon ??= await Daemon.start(this.programs, this.folder)
    const { daemon } = this
    const result = await runLifecycle(daemon, this.programs, imagesIn(this.folder), plan, options)
    if (result.isSpoilt) await this.drop()
    else if (daemon.lifecycles >= LIFECYCLES_A_DAEMON) result.findings.push(...(await this.quit()))
    return result
  }

  async version(): Promise<string> {
    this.daemon ??= await Daemon.start(this.programs, this.folder)
    return this.daemon.capabilities.version
  }

  private async drop(): Promise<void> {
    const { daemon } = this
    this.daemon = null
    await daemon?.kill()
  }

  /** Asks the daemon to end; what is wrong with how it does. */
  async quit(): Promise<Finding[]> {
    const { daemon } = this
    this.daemon = null
    if (daemon === null) return []
    const hasQuit = await daemon.quit()
    const complaints = daemon.takeComplaints()
    if (!hasQuit)
      return [{ class: 'liveness', key: 'liveness/quit', text: 'qemu-storage-daemon does not end when it is told to' }]
    if (daemon.fate?.code === 0 && complaints === '') return []
    const text = `qemu-storage-daemon, told to quit, ends by ${daemon.fate?.signal ?? `exit code ${daemon.fate?.code}`}: ${complaints}`
    return [{ class: 'crash', key: 'crash/quit', text }]
  }
}

class RealCampaign {
  readonly tally: RealTally = { lifecycles: 0, skipped: {}, facts: {}, groups: new Map() }
  private nextIndex: number
  private readonly startMs = performance.now()
  private toldMs = 0
  private version = ''
  private lifecycleSeconds = 0
  /** What is to be made smaller when all lifecycles have run. */
  private readonly met: Met[] = []

  constructor(
    private readonly options: RealFuzzOptions,
    private readonly programs: Programs,
    private readonly tell: (text: string) => void,
    private readonly stop: AbortSignal,
  ) {
    this.nextIndex = options.firstIndex
  }

  async run(): Promise<void> {
    const { workers } = this.options
    await Promise.all(Array.from({ length: workers }, () => this.work()))
    this.lifecycleSeconds = this.seconds
    const endSeconds = this.seconds + Math.max(this.seconds * SHRINK_SHARE, SHRINK_SECONDS_LEAST)
    await Promise.all(Array.from({ length: Math.min(workers, this.met.length) }, () => this.shrink(endSeconds)))
  }

  private get seconds(): number {
    return (performance.now() - this.startMs) / 1000
  }

  private next(): number | null {
    const { firstIndex, lifecyclesMax, secondsMax } = this.options
    if (this.stop.aborted || (secondsMax !== null && this.seconds >= secondsMax)) return null
    if (lifecyclesMax !== null && this.nextIndex - firstIndex >= lifecyclesMax) return null
    return this.nextIndex++
  }

  private async work(): Promise<void> {
    const folder = makeScratch(this.options.folder, 'mq')
    const keeper = new DaemonKeeper(this.programs, folder)
    try {
      this.version ||= await keeper.version()
      for (let index = this.next(); index !== null; index = this.next()) await this.one(keeper, index)
      for (const finding of await keeper.quit()) this.note(finding, 'quit')
    } finally {
      await keeper.quit()
      removeScratch(folder)
    }
  }

  private async shrink(endSeconds: number): Promise<void> {
    const folder = makeScratch(this.options.folder, 'mq')
    const keeper = new DaemonKeeper(this.programs, folder)
    try {
      for (let met = this.met.shift(); met !== undefined; met = this.met.shift()) {
        if (this.stop.aborted || this.seconds > endSeconds) return
        await this.makeSmaller(keeper, met)
      }
    } finally {
      await keeper.quit()
      removeScratch(folder)
    }
  }

  private async one(keeper: DaemonKeeper, index: number): Promise<void> {
    const { seed, profile } = this.options
    const plan = planOfSeed(`${seed}/${index}`, profile)
    const why = unfit(plan)
    if (why !== null) {
      this.tally.skipped[why] = (this.tally.skipped[why] ?? 0) + 1
      return
    }
    const options = drawOptions(plan)
    const result = await keeper.lifecycle(plan, options)
    this.tally.lifecycles++
    for (const [name, count] of Object.entries(result.facts)) this.tally.facts[name] = (this.tally.facts[name] ?? 0) + count
    const [finding] = result.findings
    if (finding !== undefined && this.note(finding, plan.seed)) {
      const met = { plan, options, finding, result, folder: imagesIn(keeper.folder) }
      this.met.push(met)
      this.report({ ...met, runs: 0, attempts: 0, failed: 0 }, met)
    }
    if (performance.now() - this.toldMs < TOLD_EVERY_MS) return
    this.toldMs = performance.now()
    this.tell(`${this.tally.lifecycles} lifecycles, ${(this.tally.lifecycles / this.seconds).toFixed(1)} a second`)
  }

  /** True if such a failure is new. */
  private note(finding: Finding, seed: string): boolean {
    const known = this.tally.groups.get(finding.key)
    if (known !== undefined) {
      known.count++
      if (known.seeds.length < 8) known.seeds.push(seed)
      return false
    }
    this.tally.groups.set(finding.key, { finding, count: 1, seeds: [seed], report: null })
    this.tell(`failure ${finding.key} in ${seed}: ${finding.text}`)
    return true
  }

  private async makeSmaller(keeper: DaemonKeeper, met: Met): Promise<void> {
    const run = (smaller: Plan, with_: RealOptions): Promise<LifecycleResult> => keeper.lifecycle(smaller, with_)
    const shrunk = await shrinkReal(met, run, SHRINK_RUNS_MAX, this.stop)
    const { runs, attempts, failed } = shrunk
    this.tell(`${met.finding.key}: ${runs} lifecycles to make it smaller, ${failed} of ${attempts} repetitions fail`)
    // Nothing smaller has failed: the lifecycle that was met is the one that was told of.
    this.report(shrunk, { ...met, folder: shrunk.result === met.result ? met.folder : imagesIn(keeper.folder) })
  }

  private report(shrunk: ShrunkReal, { plan, finding, folder }: Met): void {
    const { seed } = plan
    const report: Report = {
      format: 'mirrorsim-report',
      version: 1,
      failure: { ...shrunk.finding, step: 0, timeNs: 0 },
      label: {
        seed,
        profile: plan.profile,
        revision: revisionOf(__dirname),
        node: process.versions.node,
        command: this.options.command,
      },
      plan: shrunk.plan,
      against: {
        program: `qemu-storage-daemon ${this.version}`,
        options: { ...shrunk.options },
        attempts: shrunk.attempts,
        failed: shrunk.failed,
      },
      trace: { events: 0, timeNs: 0, hash: '00000000', checkpoints: [], last: [] },
    }
    const file = path.join(this.options.outFolder, reportFileName(finding.key, seed))
    writeReport(file, report)
    const script = scriptOf(shrunk.plan, shrunk.result, shrunk.finding, this.version, folder)
    fs.writeFileSync(file.replace(/json$/, 'sh'), script, { mode: 0o755 })
    this.tally.groups.get(finding.key)!.report = path.relative(process.cwd(), file)
  }

  summary(): object {
    const { lifecycles, skipped, facts, groups } = this.tally
    const failures = [...groups.values()].map(({ finding, ...group }) => ({ class: finding.class, key: finding.key, ...group }))
    const { seed, profile } = this.options
    const revision = revisionOf(__dirname)
    const seconds = this.lifecycleSeconds
    return { against: this.version, seed, profile, revision, lifecycles, seconds, skipped, failures, facts }
  }

  text(): string {
    const { lifecycles, skipped, groups } = this.tally
    const lines = [
      `fuzz: ${lifecycles} lifecycles on QEMU ${this.version} in ${this.lifecycleSeconds.toFixed(1)} s, seed ${this.options.seed}`,
    ]
    for (const [why, count] of Object.entries(skipped)) lines.push(`  skipped ${count}: ${why}`)
    for (const { finding, count, seeds, report } of groups.values()) {
      lines.push(`  ${count} × ${finding.key}: ${finding.text}`, `    seeds ${seeds.join(', ')}; report ${report ?? 'none'}`)
    }
    if (groups.size === 0) lines.push('  no failure')
    return `${lines.join('\n')}\n`
  }
}
