/**
 * Random worlds, whose seeds come from the commit, and the exhaustive search of small ones. Each kind of failure is a case,
 * with its report and the page that shows it among the artifacts.
 */
import * as path from 'node:path'
import { readReport } from '../../reports/format'
import { type ChildExit, jsonOf, runChild } from '../child_command'
import { brokenCase, type GateCase, type GateFailure, type GateStep, type StepContext, timed } from './step'

/** Worlds of each profile, before they are scaled. */
const WORLDS: Readonly<Record<string, number>> = {
  default: 20_000,
  faults: 3_000,
  formats: 3_000,
  chains: 2_000,
  power: 2_000,
  crashes: 1_000,
  image: 3_000,
  jobs: 2_000,
  nbd: 2_000,
  monitor: 2_000,
}
/** Enough for every commit; all of them are nightly work. */
const EXHAUSTIVE_TIERS = ['mirror-alone', 'one-operation']
const REPORTS = 'reports'

interface FoundKinds {
  readonly worlds?: number
  readonly executions?: number
  readonly failures: ReadonlyArray<{
    class: GateFailure['class']
    key: string
    count: number
    reports: ReadonlyArray<string | null>
  }>
  readonly missedProbes?: readonly string[]
  readonly shrunk?: readonly string[]
  readonly exitCode: number
}

/** The page of a failure, beside its report; not every kind of world can be shown. */
async function showFailure(report: string): Promise<void> {
  await runChild('view', [report, '-o', report.replace(/\.json$/, '.html')])
}

async function kindCases(name: string, found: FoundKinds, seconds: number, command: string): Promise<GateCase[]> {
  const cases: GateCase[] = []
  for (const { class: failureClass, key, count, reports } of found.failures) {
    const report = reports.find((one) => one !== null) ?? undefined
    const reading = report === undefined ? null : readReport(report)
    const text = reading?.ok === true ? reading.report.failure.text : `${count} worlds fail`
    if (report !== undefined) await showFailure(report)
    const shown = report === undefined ? {} : { report }
    const reproduce = report === undefined ? command : `npm run replay -- ${report}`
    const failure = { class: failureClass, key, text: `${text} (${count} worlds)`, reproduce, ...shown }
    cases.push({ name: `${name}: ${key}`, seconds: 0, failure })
  }
  for (const missed of [...(found.missedProbes ?? []), ...(found.shrunk ?? [])]) {
    const text = `met too rarely: ${missed}`
    cases.push({
      name: `${name}: ${missed}`,
      seconds: 0,
      failure: { class: 'coverage', key: 'gate/too-rare', text, reproduce: command },
    })
  }
  if (cases.length === 0 && found.exitCode !== 0) cases.push(brokenCase(name, command, `exit code ${found.exitCode}`))
  return cases.length > 0 ? cases : [{ name, seconds, failure: null }]
}

async function runKinds(name: string, command: string, args: readonly string[], context: StepContext): Promise<GateCase[]> {
  const out = path.join(context.artifacts, REPORTS)
  const shared = ['--json', '--workers', String(context.workers), '--out', out]
  const { value: exit, seconds } = await timed<ChildExit>(() => runChild(command, [...args, ...shared]))
  const shown = `npm run ${command} -- ${args.join(' ')}`
  const found = jsonOf<FoundKinds>(exit)
  if (found === null) return [brokenCase(name, shown, exit.errors)]
  return kindCases(name, found, seconds, shown)
}

function worldsOf(profile: string, scale: number): number {
  return Math.max(1, Math.round(WORLDS[profile]! * scale))
}

export const worldStep: GateStep = {
  name: 'worlds',
  budget: ({ scale }) => `${Object.keys(WORLDS).reduce((sum, profile) => sum + worldsOf(profile, scale), 0)} worlds`,
  async run(context) {
    const cases: GateCase[] = []
    for (const profile of Object.keys(WORLDS)) {
      const runs = String(worldsOf(profile, context.scale))
      context.tell(`${runs} worlds of the profile ${profile}`)
      cases.push(...(await runKinds(profile, 'fuzz', ['--seed', context.commit, '--runs', runs, '--profile', profile], context)))
    }
    return cases
  },
}

export const exhaustiveStep: GateStep = {
  name: 'exhaustive',
  budget: () => `all plans of the tiers ${EXHAUSTIVE_TIERS.join(', ')}`,
  run: (context) => runKinds('exhaustive', 'exhaustive', EXHAUSTIVE_TIERS, context),
}
