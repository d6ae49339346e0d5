import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Report } from './format'
import { sampleReport } from './testing'
import { COLUMNS_MAX, counted, eventText, failureText, grouped, TEXT_LINES_MAX, timeText } from './text'

test('a failure says what broke, where, what was expected, what happened last and how to see it again', () => {
  assert.equal(failureText(sampleReport, 'reports/out/one.json').split('\n'), [
    'content: content/destination-stale',
    '  the destination still holds what the guest has overwritten',
    '',
    '  disk       destination',
    '  offset     4096 (0x1000), 512 bytes, sectors [8, 9)',
    '  chunk      1',
    '  operation  g1: guest write of 1024 bytes at 4096, lane 0',
    '  expected   written by g1',
    '  actual     zeroes',
    '  when       event 130 of 130, 12345.678 us of virtual time',
    '  world      seed abc.7, uniform, write-blocking, sync full, 65536 bytes, 1 guest operation, 1 control, 0 faults',
    '  code       revision 0123456789ab, node 20.20.2',
    '',
    '    event          time  who          what',
    '     #130  12345.678 us  destination  write 4096+1024 done',
    '',
    '  npm run replay -- reports/out/one.json',
    '',
  ])
})

test('facts that do not apply take no line', () => {
  const { class: failureClass, key, text, step, timeNs } = sampleReport.failure
  const bare: Report = { ...sampleReport, failure: { class: failureClass, key, text, step, timeNs } }
  assert.not.match(failureText(bare, null), /offset|chunk|operation {2}|expected|actual|npm run/)
})

test('the longest failure fits into its lines and columns', () => {
  const wide = 'x'.repeat(500)
  const records = Array.from({ length: 300 }, (_, step) => ({ step, timeNs: step, lane: 'mirror', text: wide }))
  const failure = { ...sampleReport.failure, text: wide, details: Array.from({ length: 90 }, () => wide) }
  const text = failureText({ ...sampleReport, failure, trace: { ...sampleReport.trace, last: records } }, 'one.json')
  const lines = text.trimEnd().split('\n')
  assert.ok(lines.length <= TEXT_LINES_MAX, `${lines.length} lines`)
  for (const line of lines) assert.ok(line.length <= COLUMNS_MAX, line)
  assert.match(text, /and 82 more/)
  assert.match(text, /#299/)
})

test('what was planned to go wrong is named, in place of the oldest events', () => {
  const occasion = { disk: 'source', operation: 'write', offsetBytes: 0, lengthBytes: 512, skip: 0, times: 1 } as const
  const faults = ['x1', 'x2', 'x3', 'x4'].map((id) => ({ ...occasion, id, kind: 'lost-write' as const }))
  const records = Array.from({ length: 20 }, (_, step) => ({ step, timeNs: step, lane: 'mirror', text: 'copies' }))
  const { plan, trace, failure } = sampleReport
  const text = failureText({ ...sampleReport, plan: { ...plan, faults }, trace: { ...trace, last: records } }, null)
  assert.match(text, /fault {6}x1: lost-write at a write of the source: a write, or a write of zeroes, is answered with success/)
  assert.not.match(text, /x4/)
  assert.is(text.match(/copies/g)?.length, 11)
  const about = failureText({ ...sampleReport, plan: { ...plan, faults }, failure: { ...failure, operationId: 'x4' } }, null)
  assert.match(about, /operation {2}x4: lost-write/)
})

test('a text of several lines stays in its line', () => {
  assert.is(eventText({ step: 1, timeNs: 2, lane: 'job', text: 'a\n  b' }), '       #1      0.002 us  job          a b')
})

test('times keep every digit', () => {
  assert.is(timeText(0), '0.000 us')
  assert.is(timeText(1_000_000_007), '1000000.007 us')
})

test('thousands are set apart in one way everywhere', () => {
  assert.equal([0, 999, 1000, 1234567].map(grouped), ['0', '999', '1,000', '1,234,567'])
  assert.equal(
    [0, 1, 2000].map((count) => counted(count, 'fault')),
    ['0 faults', '1 fault', '2,000 faults'],
  )
})

test.run()
