/** From what a store knows to the page that shows it. */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { campaignHash } from '../../properties/campaign'
import { counted, grouped } from '../../reports/text'
import { type Dashboard, type DashboardSample, dashboardPage } from '../../reports/viewer/dashboard'
import { COVERAGE_WORLDS_MIN, failuresOf, firingsByName, type RequiredProbe } from '../fuzz_campaign'
import type { Sample } from './history'
import type { Ledger } from './ledger'
import type { CanaryScore, MutantScore } from './scores'
import { isWhole, shardText } from './shards'

const ROOT = path.resolve(__dirname, '../..')
const SCRIPT = 'reports/viewer/browser/dashboard/app.ts'
const STYLES = ['node_modules/uplot/dist/uPlot.min.css', 'reports/viewer/browser/dashboard/style.css']

/** Nearly every request has one; beside it no fault would be seen. */
const USUAL = 'latency'

function samplesOf(samples: readonly Sample[]): DashboardSample[] {
  const met = new Set<string>()
  return samples.map(({ probes, faults, ...sample }) => {
    for (const name in probes) met.add(name)
    const fired = Object.entries(faults).reduce((sum, [name, count]) => sum + (name === USUAL ? 0 : count), 0)
    return { ...sample, probesMet: met.size, faults: fired }
  })
}

function factsOf({ setup, tally, history }: Ledger): Dashboard['facts'] {
  const seconds = history.samples.reduce((sum, sample) => sum + sample.seconds, 0)
  return [
    ['seed', setup.seed],
    ['revision', setup.revision],
    ...(setup.mutant === null ? [] : [['planted mutant', setup.mutant] as const]),
    ...(isWhole(setup.shard) ? [] : [['shard', shardText(setup.shard)] as const]),
    ['worlds', grouped(tally.worlds)],
    ['events', grouped(tally.events)],
    ['run twice', grouped(tally.replays)],
    ['running time', `${(seconds / 3600).toFixed(2)} h`],
    ['worlds per second', (tally.worlds / Math.max(seconds, 1e-3)).toFixed(1)],
    ['failures', `${grouped(failuresOf(tally))} of ${counted(tally.groups.length, 'key')}`],
    ['probes met', grouped(Object.keys(tally.probes).length)],
    ['campaign hash', campaignHash(tally)],
  ]
}

export function dashboardOf(ledger: Ledger, required: readonly RequiredProbe[], nowMs: number): Dashboard {
  const { tally, setup, history, scores } = ledger
  const isJudged = tally.worlds >= COVERAGE_WORLDS_MIN
  const floors = new Map(required.map(({ name, worldsPerTenThousandMin }) => [name, worldsPerTenThousandMin]))
  const names = new Set([...Object.keys(tally.probes), ...floors.keys()])
  const probes = [...names].sort().map((name) => {
    const floor = floors.get(name)
    return {
      name,
      worlds: tally.probes[name] ?? 0,
      floor: floor === undefined || !isJudged ? null : Math.floor((floor * tally.worlds) / 10_000),
    }
  })
  return {
    title: `Campaign of profile ${setup.profile}`,
    facts: factsOf(ledger),
    samples: samplesOf(history.samples),
    failures: [...tally.groups]
      .sort((left, right) => right.count - left.count)
      .map(({ found, ...group }) => ({ ...group, kept: found.map(({ seed }) => seed), text: found[0]?.failure.text ?? '' })),
    probes: probes.sort((left, right) => left.worlds - right.worlds),
    faults: Object.entries(firingsByName(tally, required)),
    mutants: scores.filter((score): score is MutantScore => score.kind === 'mutants'),
    canary: scores.filter((score): score is CanaryScore => score.kind === 'canary').at(-1) ?? null,
    madeMs: nowMs,
  }
}

/** One HTML file that needs no network. */
export async function dashboardHtml(dashboard: Dashboard): Promise<string> {
  const esbuild: typeof import('esbuild') = require('esbuild')
  const { outputFiles } = await esbuild.build({
    ...{ absWorkingDir: ROOT, entryPoints: [SCRIPT], bundle: true, minify: true, write: false },
    ...{ platform: 'browser', target: 'es2022', format: 'iife', charset: 'utf8', logLevel: 'silent' },
  })
  const style = STYLES.map((file) => fs.readFileSync(path.join(ROOT, file), 'utf8')).join('\n')
  return dashboardPage(dashboard, style, outputFiles[0]!.text)
}
