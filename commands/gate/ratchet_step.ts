/**
 * What must not get worse: how much of `impl` and `model` the tests run, and how fast worlds are. Speed is measured against a
 * loop of the same kind of work in the same process, in CPU seconds and by turns, so that a slow or busy machine changes
 * both alike; the tolerance is wide, because what is left of that is noise.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { Chunk } from '../../properties/campaign'
import { runProcess } from '../child_command'
import { subjectOf } from '../subject'
import { brokenCase, type GateCase, type GateStep, timed } from './step'

const ROOT = path.resolve(__dirname, '../..')
const KEPT = path.join(ROOT, 'scenarios/gate.json')
/** Points of a percentage that a run may lie below what is kept. */
const COVERAGE_SLACK = 0.3
/** Share of the speed that may be missing. */
const SPEED_SLACK = 0.35
const ROUNDS = 5
const WORLDS_A_ROUND = 400
const WARM_UP_WORLDS = 400
const LOOPS_A_ROUND = 40

export interface Kept {
  /** Percentages of c8. */
  readonly coverage: Readonly<Record<'lines' | 'branches' | 'functions', number>>
  /** Worlds for each pass of the loop. */
  readonly worldsPerLoop: number
}

export function readKept(file: string = KEPT): Kept {
  return JSON.parse(fs.readFileSync(file, 'utf8')) as Kept
}

export const coverageStep: GateStep = {
  name: 'coverage',
  budget: () => 'all tests',
  async run({ artifacts }) {
    const folder = path.join(artifacts, 'coverage')
    const words = [path.join(ROOT, 'node_modules/c8/bin/c8.js'), '--reporter', 'json-summary', '--reports-dir', folder]
    const reproduce = 'npm run cover'
    const tests = [process.execPath, path.join(ROOT, 'scripts/test.cjs')]
    const { value: exit, seconds } = await timed(() => runProcess(process.execPath, [...words, ...tests], null))
    const failed = { class: 'harness', key: 'tests/fail', text: 'a test fails', reproduce: 'npm test' } as const
    const cases: GateCase[] = [{ name: 'tests', seconds, failure: exit.code === 0 ? null : failed }]
    fs.writeFileSync(path.join(artifacts, 'tests.txt'), `${exit.out}\n${exit.errors}`)
    const file = path.join(folder, 'coverage-summary.json')
    if (!fs.existsSync(file)) return [...cases, brokenCase('coverage', reproduce, exit.errors)]
    const { total } = JSON.parse(fs.readFileSync(file, 'utf8')) as { total: Record<string, { pct: number }> }
    return [...cases, ...coverageCases(total, readKept(), reproduce)]
  },
}

export function coverageCases(total: Readonly<Record<string, { pct: number }>>, kept: Kept, reproduce: string): GateCase[] {
  return Object.entries(kept.coverage).map(([kind, before]): GateCase => {
    const now = total[kind]?.pct ?? 0
    const text = `${now} % of the ${kind} are run by tests, ${before} % were`
    const failure = { class: 'coverage', key: `coverage/${kind}`, text, file: 'scenarios/gate.json', reproduce } as const
    return { name: `${kind} ${now} %`, seconds: 0, failure: now < before - COVERAGE_SLACK ? failure : null }
  })
}

/** Work of the kind that worlds do: small objects, a map, typed arrays, calls; what it computes is of no use. */
function loop(): number {
  let sum = 0
  const seen = new Map<number, { count: number }>()
  const bytes = new Uint8Array(4096)
  for (let index = 0; index < 20_000; index++) {
    const key = (index * 2654435761) >>> 20
    const entry = seen.get(key)
    if (entry === undefined) seen.set(key, { count: 1 })
    else entry.count++
    bytes[key]! ^= index
    sum = (sum * 31 + bytes[(key * 7) & 4095]!) >>> 0
  }
  for (const { count } of seen.values()) sum = (sum + count) >>> 0
  return sum
}

function cpuSecondsOf(work: () => void): number {
  const before = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1e6
}

/** Worlds for each pass of the loop: the median of several rounds, each of which measures both. */
export function measureSpeed(): number {
  const chunk = new Chunk(subjectOf('default'), { seed: 'speed', replayPercent: 0 }, 0, WARM_UP_WORLDS + ROUNDS * WORLDS_A_ROUND)
  const steps = (count: number): void => {
    for (let number = 0; number < count; number++) chunk.step()
  }
  steps(WARM_UP_WORLDS)
  for (let number = 0; number < LOOPS_A_ROUND; number++) loop()
  const ratios: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const loopSeconds = cpuSecondsOf(() => {
      for (let number = 0; number < LOOPS_A_ROUND; number++) loop()
    })
    const worldSeconds = cpuSecondsOf(() => steps(WORLDS_A_ROUND))
    ratios.push(WORLDS_A_ROUND / worldSeconds / (LOOPS_A_ROUND / loopSeconds))
  }
  return ratios.sort((left, right) => left - right)[Math.floor(ROUNDS / 2)]!
}

export const speedStep: GateStep = {
  name: 'speed',
  budget: () => `${WARM_UP_WORLDS + ROUNDS * WORLDS_A_ROUND} worlds`,
  async run() {
    const { value: now, seconds } = await timed(measureSpeed)
    return [speedCase(now, readKept().worldsPerLoop, seconds)]
  },
}

export function speedCase(now: number, before: number, seconds: number): GateCase {
  const text = `${now.toFixed(2)} worlds for each pass of the loop, ${before.toFixed(2)} were`
  const reproduce = 'npm run gate -- --only speed'
  const failure = { class: 'performance', key: 'speed/worlds', text, file: 'scenarios/gate.json', reproduce } as const
  return { name: 'worlds', seconds, failure: now < before * (1 - SPEED_SLACK) ? failure : null }
}
