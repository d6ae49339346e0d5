import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Runner, Subject } from '../properties/campaign'
import { type Report, readReport, writeReport } from '../reports/format'
import { samplePlan, sampleReport } from '../reports/testing'
import type { WorldResult } from '../sim/verdict'
import { replay } from './replay'
import { recorder, scriptedSubject } from './testing'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'replay-'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))

const file = path.join(folder, 'report.json')
const failing = scriptedSubject({ failures: { 7: ['content', 'content/destination-stale'] } })
const healthy = scriptedSubject({})

/** The report that a campaign would write for what the subject does now. */
function reportOf(subject: Subject, change: Partial<Report> = {}): Report {
  const { failure, events, timeNs, hash, checkpoints, trace } = subject.run(samplePlan, 'last')
  assert.ok(failure !== null)
  return { ...sampleReport, failure: failure!, trace: { events, timeNs, hash, checkpoints, last: trace }, ...change }
}

async function run(report: Report | string, subject: Runner, options = {}): Promise<{ exitCode: number; text: string }> {
  if (typeof report === 'string') fs.writeFileSync(file, report)
  else writeReport(file, report)
  const out = recorder()
  const exitCode = await replay(file, options, { out, subject: () => subject, hangSeconds: 0.2 })
  return { exitCode, text: out.text() }
}

test('a failure that is still there is reproduced, shown and gives its exit code', async () => {
  const { exitCode, text } = await run(reportOf(failing), failing)
  assert.is(exitCode, 10)
  assert.match(text, /^content: content\/destination-stale\n/)
  assert.match(text, /\nreproduced: content\/destination-stale, with the same 60 events\n$/)
})

test('a failure after other events is told apart', async () => {
  const report = reportOf(failing)
  const { exitCode, text } = await run({ ...report, trace: { ...report.trace, hash: '12345678' } }, failing)
  assert.is(exitCode, 10)
  assert.match(text, /\nreproduced-different-trace: /)
})

test('a failure that is gone is fixed', async () => {
  const { exitCode, text } = await run(reportOf(failing), healthy)
  assert.is(exitCode, 0)
  assert.match(text, /^fixed: /)
})

test('another failure is shown as what it is now', async () => {
  const other = scriptedSubject({ failures: { 7: ['liveness', 'world/stuck'] } })
  const { exitCode, text } = await run(reportOf(failing), other)
  assert.is(exitCode, 13)
  assert.match(text, /^liveness: world\/stuck\n/)
  assert.match(text, /\nother-failure: world\/stuck instead of/)
})

test('what cannot be read is stale', async () => {
  const { exitCode, text } = await run('{"format": "mirrorsim-report", "version": 7}', failing)
  assert.is(exitCode, 2)
  assert.match(text, /^stale: .*report.json: a report of version 7/)
})

test('two runs that differ are run twice again', async () => {
  let runs = 0
  const restless = {
    run: (): WorldResult => ({ ...healthy.run(samplePlan, 'last'), hash: `0000000${runs++ % 2}` }),
  }
  const failure = { ...sampleReport.failure, class: 'nondeterminism', key: 'campaign/replay-differs' } as const
  const { exitCode, text } = await run({ ...sampleReport, failure }, restless)
  assert.is(exitCode, 14)
  assert.match(text, /\nreproduced(-different-trace)?: campaign\/replay-differs/)
})

test('a world that hangs is stopped', async () => {
  const failure = { ...sampleReport.failure, class: 'liveness', key: 'campaign/hang' } as const
  const trace = { events: 0, timeNs: 0, hash: '00000000', checkpoints: [], last: [] }
  const { exitCode, text } = await run({ ...sampleReport, failure, trace }, scriptedSubject({ hangs: [7] }))
  assert.is(exitCode, 13)
  assert.match(text, /\nreproduced: campaign\/hang/)
})

test('decisions of the report reach the world', async () => {
  const asked: unknown[] = []
  const subject: Runner = {
    run: (plan, trace, decisions) => {
      asked.push(decisions)
      return failing.run(plan, trace)
    },
  }
  await run({ ...reportOf(failing), decisions: { 'latency/g3/0': 4 } }, subject)
  await run(reportOf(failing), subject)
  assert.equal(asked, [{ 'latency/g3/0': 4 }, undefined])
})

test('--json prints one object, --trace every event', async () => {
  const { text } = await run(reportOf(failing), failing, { json: true })
  const outcome = JSON.parse(text)
  assert.is(outcome.verdict, 'reproduced')
  assert.is(outcome.failure.key, 'content/destination-stale')
  assert.match((await run(reportOf(failing), failing, { trace: true })).text, /^ {6}#60/)
})

test('--shrink writes a smaller world that fails in the same way', async () => {
  const guest = ['g1', 'g2', 'g3'].map((id) => ({ ...samplePlan.guest[0]!, id }))
  const needsSecond = {
    run: (plan: typeof samplePlan): WorldResult =>
      (plan.guest.some(({ id }) => id === 'g2') ? failing : healthy).run({ ...plan, seed: 'abc.7' }, 'last'),
  }
  const { text } = await run(reportOf(failing, { plan: { ...samplePlan, guest } }), needsSecond, { shrink: true })
  assert.match(text, /shrunk: nothing can be left out after \d+ worlds/)
  const small = readReport(file.replace('.json', '.small.json'))
  assert.ok(small.ok)
  assert.equal(small.ok && small.report.plan.guest.map(({ id }) => id), ['g2'])
})

test.run()
