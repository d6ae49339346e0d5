import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { formatReport, parseReport, readReport, reportFileName, writeReport } from './format'
import { samplePlan, sampleReport } from './testing'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'reports-'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))

/** The sample report with one field set to another value, as text. */
function changed(at: string, value: unknown): string {
  const report = JSON.parse(formatReport(sampleReport))
  const names = at.split('.')
  const last = names.pop()!
  let holder = report
  for (const name of names) holder = holder[name]
  if (value === undefined) delete holder[last]
  else holder[last] = value
  return JSON.stringify(report)
}

test('what is written is read back, and nothing else is left in the folder', () => {
  const file = path.join(folder, 'deep/er', 'one.json')
  writeReport(file, sampleReport)
  writeReport(file, sampleReport)
  assert.equal(fs.readdirSync(path.dirname(file)), ['one.json'])
  assert.equal(readReport(file), { ok: true, report: sampleReport })
})

test('recorded decisions survive', () => {
  const report = { ...sampleReport, decisions: { 'latency/g3/0': 4 } }
  assert.equal(parseReport(formatReport(report)), { ok: true, report })
})

test('each operation of the plan and each event has a line of its own', () => {
  const lines = formatReport(sampleReport).split('\n')
  assert.ok(lines.some((line) => line.includes(`${JSON.stringify(samplePlan.guest[0])}`) && !line.includes('mirror-start')))
  assert.ok(lines.some((line) => line.includes('write 4096+1024 done') && line.length < 130))
})

const refused: ReadonlyArray<readonly [why: string, text: string, reason: RegExp]> = [
  ['an empty file', '', /^not JSON/],
  ['half a report', formatReport(sampleReport).slice(0, 300), /^not JSON/],
  ['a list', '[]', /"format" is not/],
  ['nothing', 'null', /"format" is not/],
  ['a plan', JSON.stringify(samplePlan), /"format" is not/],
  ['a report of tomorrow', changed('version', 2), /a report of version 2; this program reads version 1/],
  ['a class that does not exist', changed('failure.class', 'beauty'), /^failure.class: .*beauty/],
  ['a negative offset', changed('failure.offsetBytes', -1), /^failure.offsetBytes: /],
  ['a fraction of a step', changed('failure.step', 1.5), /^failure.step: /],
  ['a field that does not exist', changed('failure.mood', 'grim'), /^failure.mood: /],
  ['a field too few', changed('trace.hash', undefined), /^trace.hash: /],
  ['a hash that is none', changed('trace.hash', 'xyz'), /^trace.hash: not 8 hex digits/],
  ['no plan', changed('plan', 3), /^plan: not a plan/],
  [
    'a plan with an operation outside the disk',
    changed('plan.guest', [{ ...samplePlan.guest[0], offsetBytes: 65536 }]),
    /guest\[0\]/,
  ],
  ['a plan with an unknown kind of operation', changed('plan.guest', [{ ...samplePlan.guest[0], kind: 'sing' }]), /guest\[0\]/],
]
for (const [why, text, reason] of refused) {
  test(`${why} is refused in one line`, () => {
    const reading = parseReport(text)
    assert.not.ok(reading.ok)
    if (reading.ok) return
    assert.match(reading.reason, reason)
    assert.not.match(reading.reason, /\n/)
  })
}

test('a file without an end is not read to its end', () => {
  const reading = readReport('/dev/zero')
  assert.not.ok(reading.ok)
  assert.match(reading.ok ? '' : reading.reason, /^\/dev\/zero: more than 67108864 bytes are too many for a report$/)
})

test('a report that cannot be put in its place leaves nothing behind', () => {
  const inTheWay = path.join(folder, 'taken', 'one.json')
  fs.mkdirSync(inTheWay, { recursive: true })
  assert.throws(() => writeReport(inTheWay, sampleReport), /EISDIR/)
  assert.equal(fs.readdirSync(path.dirname(inTheWay)), ['one.json'])
  assert.throws(() => writeReport('/proc/no-such-folder/one.json', sampleReport), /ENOENT|EACCES|EPERM/)
})

test('a file that is not there is named', () => {
  assert.equal(readReport('/nowhere/at-all.json'), { ok: false, reason: '/nowhere/at-all.json: cannot be read: ENOENT' })
})

test('file names hold nothing that a shell or a file system would mind', () => {
  assert.is(reportFileName('content/destination stale', '../x.12'), 'content-destination-stale--..-x.12.json')
})

test.run()
