/** Worlds that are known: the corpus of mended failures, and the named scenarios. Each is a case. */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { runOrCatch } from '../../properties/campaign'
import { differences } from '../../properties/expectations'
import { readReport } from '../../reports/format'
import { judgeReplay, judgeStale } from '../../reports/verdict'
import { SCENARIOS } from '../../scenarios'
import { subjectOf } from '../subject'
import { type GateCase, type GateFailure, type GateStep, timed } from './step'

const CORPUS = 'scenarios/corpus'
const ROOT = path.resolve(__dirname, '../..')

function corpusFiles(): string[] {
  const names = fs.readdirSync(path.join(ROOT, CORPUS))
  return names.filter((name) => name !== 'index.json').sort()
}

function corpusFailure(name: string): GateFailure | null {
  const file = `${CORPUS}/${name}`
  const reading = readReport(path.join(ROOT, file))
  const subject = subjectOf('default')
  if (!reading.ok) return { ...failureOf(file, `npm run replay -- ${file}`), text: judgeStale(reading.reason).text }
  const { plan, decisions } = reading.report
  const result = runOrCatch({ run: (one, trace) => subject.run(one, trace, decisions) }, plan, 'last')
  const { verdict, text } = judgeReplay(reading.report, result)
  if (verdict === 'fixed') return null
  const { class: failureClass, key } = result.failure!
  return {
    class: failureClass,
    key,
    text: `${text}: what was mended is broken again`,
    file,
    reproduce: `npm run replay -- ${file}`,
  }
}

function failureOf(file: string, reproduce: string): Omit<GateFailure, 'text'> {
  return { class: 'harness', key: 'corpus/stale', file, reproduce }
}

export const corpusStep: GateStep = {
  name: 'corpus',
  budget: () => `${corpusFiles().length} worlds that failed once`,
  async run() {
    const cases: GateCase[] = []
    for (const name of corpusFiles()) {
      const { value, seconds } = await timed(() => corpusFailure(name))
      cases.push({ name: name.replace(/\.json$/, ''), seconds, failure: value })
    }
    return cases
  },
}

export const scenarioStep: GateStep = {
  name: 'scenarios',
  budget: () => `${SCENARIOS.length} named worlds`,
  async run() {
    const subject = subjectOf('default')
    const cases: GateCase[] = []
    for (const { name, bug, plan, expected } of SCENARIOS) {
      const { value, seconds } = await timed(() => runOrCatch(subject, plan, 'last'))
      const [first] = differences(expected, value)
      const { failure } = value
      const text = failure === null ? `${first} (${bug})` : `${failure.text} (${bug})`
      const kind = failure === null ? ({ class: 'protocol', key: 'scenario/comes-out-otherwise' } as const) : failure
      const reproduce = 'npm test -- properties/scenarios'
      cases.push({ name, seconds, failure: first === undefined ? null : { class: kind.class, key: kind.key, text, reproduce } })
    }
    return cases
  },
}
