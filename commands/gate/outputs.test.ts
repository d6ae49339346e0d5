/**
 * What a gate writes, for each class of failure: a copy of each output lies in `expected/`, and the formats are held against
 * schemas. `MIRRORSIM_UPDATE=1 npm test -- commands/gate` writes the copies anew.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import * as v from 'valibot'
import { validateXML } from 'xmllint-wasm'
import { EXIT_CODES } from '../../sim/verdict'
import { annotations, markdownSummary, tellGithub } from './github'
import { escapeXml, junitXml } from './junit'
import { sarifLog } from './sarif'
import type { GateCase, GateFailure, StepOutcome } from './step'
import { exitCodeOf, failureLines, PLAIN, stepLine } from './summary'

const EXPECTED = path.join(__dirname, 'expected')
const CLASSES = [...Object.keys(EXIT_CODES), 'coverage', 'performance'] as Array<GateFailure['class']>

function failureOf(failureClass: GateFailure['class']): GateFailure {
  const key = `${failureClass}/what-happened`
  const report = `reports/gate/reports/${failureClass}-what-happened--seed.1.json`
  const isWorld = Object.hasOwn(EXIT_CODES, failureClass)
  const where = isWorld
    ? { report, reproduce: `npm run replay -- ${report}` }
    : { file: 'scenarios/gate.json', reproduce: 'npm run gate' }
  return { class: failureClass, key, text: `a world of class <${failureClass}> & "more": 50 % of it`, ...where }
}

function outcomeOf(failureClass: GateFailure['class']): StepOutcome {
  const good: GateCase = { name: 'as it should be', seconds: 0.25, failure: null }
  const skipped: GateCase = { name: 'not tried', seconds: 0, failure: null, skipped: 'there is no server' }
  const bad: GateCase = { name: `class ${failureClass}`, seconds: 1.5, failure: failureOf(failureClass) }
  return { step: 'worlds', budget: '40000 worlds', seconds: 1.75, cases: [good, skipped, bad] }
}

function assertExpected(name: string, text: string): void {
  const file = path.join(EXPECTED, name)
  if (process.env['MIRRORSIM_UPDATE'] === '1') fs.writeFileSync(file, text)
  assert.snapshot(text, fs.readFileSync(file, 'utf8'), name)
}

for (const failureClass of CLASSES) {
  test(`a failure of class ${failureClass} is written as before in every format`, () => {
    const outcomes = [outcomeOf(failureClass)]
    const console = stepLine(outcomes[0]!, PLAIN) + failureLines(failureOf(failureClass), PLAIN)
    assertExpected(`${failureClass}.junit.xml`, junitXml(outcomes))
    assertExpected(`${failureClass}.sarif`, `${JSON.stringify(sarifLog(outcomes, '1.2.3'), null, 2)}\n`)
    assertExpected(`${failureClass}.txt`, [console, annotations(outcomes), markdownSummary(outcomes)].join('--\n'))
  })
}

async function isValidXml(text: string): Promise<boolean> {
  const schema = fs.readFileSync(path.join(EXPECTED, 'junit.xsd'), 'utf8')
  const xml = [{ fileName: 'junit.xml', contents: text }]
  return (await validateXML({ xml, schema: [{ fileName: 'junit.xsd', contents: schema }] })).valid
}

test('JUnit files are valid, and what is wrong with one is noticed', async () => {
  const text = junitXml(CLASSES.map(outcomeOf))
  assert.ok(await isValidXml(text))
  assert.not.ok(await isValidXml(text.replace('classname=', 'class=')))
  assert.not.ok(await isValidXml(text.replace('</testsuites>', '')))
})

test('texts that XML cannot hold do not break the file', async () => {
  const text = `\u0000\u001b[31m ]]> \ud800 <a b="c">&'`
  const failure = { ...failureOf('content'), text, key: text, reproduce: text }
  const outcome = { step: text, budget: '', seconds: 0, cases: [{ name: text, seconds: 0, failure }] }
  assert.ok(await isValidXml(junitXml([outcome])))
  assert.is(escapeXml('\u0001\ud83d\ude00\ud83d'), '\ufffd\ud83d\ude00\ufffd')
})

/** What section 3 of the specification demands of the parts that gates write; everything else is refused. */
const text = v.pipe(v.string(), v.minLength(1))
const count = v.pipe(v.number(), v.integer(), v.minValue(0))
const message = v.strictObject({ text })
const region = v.strictObject({ startLine: v.pipe(v.number(), v.integer(), v.minValue(1)) })
const artifactLocation = v.strictObject({ uri: v.pipe(text, v.regex(/^[^\\ :]+$/, 'no relative reference')) })
const rule = v.strictObject({
  id: text,
  shortDescription: message,
  properties: v.strictObject({ class: text }),
  defaultConfiguration: v.strictObject({ level: v.literal('error') }),
})
const result = v.strictObject({
  ruleId: text,
  ruleIndex: count,
  level: v.literal('error'),
  message,
  locations: v.array(v.strictObject({ physicalLocation: v.strictObject({ artifactLocation, region }) })),
  partialFingerprints: v.record(text, text),
})
const SARIF = v.strictObject({
  $schema: v.pipe(text, v.url()),
  version: v.literal('2.1.0'),
  runs: v.array(
    v.strictObject({
      tool: v.strictObject({ driver: v.strictObject({ name: text, version: text, rules: v.array(rule) }) }),
      results: v.array(result),
      columnKind: v.literal('utf16CodeUnits'),
    }),
  ),
})

test('SARIF logs have the shape of the specification, and each result names its rule', () => {
  const log = v.parse(SARIF, JSON.parse(JSON.stringify(sarifLog(CLASSES.map(outcomeOf), '1.2.3'))))
  const { results, tool } = log.runs[0]!
  assert.is(results.length, CLASSES.length)
  for (const { ruleId, ruleIndex } of results) assert.is(tool.driver.rules[ruleIndex]?.id, ruleId)
})

test('the exit code tells failures from what is only missing', () => {
  const codeOf = (...classes: Array<GateFailure['class']>): number => exitCodeOf(classes.map(outcomeOf))
  assert.is(exitCodeOf([]), 0)
  assert.is(codeOf('coverage', 'performance'), 3)
  assert.is(codeOf('coverage', 'content'), 1)
  for (const failureClass of Object.keys(EXIT_CODES) as Array<GateFailure['class']>) assert.is(codeOf(failureClass), 1)
})

test('GitHub hears of failures only where it listens', () => {
  let told = ''
  const outcomes = [outcomeOf('content')]
  tellGithub(outcomes, {}, (more) => (told += more))
  assert.is(told, '')
  tellGithub(outcomes, { GITHUB_ACTIONS: 'true' }, (more) => (told += more))
  assert.match(told, /^::error title=content\/what-happened::.*50 %25 of it%0Anpm run replay/)
})

test.run()
