import * as fs from 'node:fs'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { DIFFERENCES, differencesOf, isPermitted, PERMITTED } from './interop_qmp'
import { QMP_SCRIPT } from './qmp_script'

const DOCUMENT = fs.readFileSync(path.resolve(__dirname, '../docs/qmp-differences.md'), 'utf8')

test('every difference that is let through has its reason in the document', () => {
  for (const { name } of [...DIFFERENCES, ...PERMITTED]) assert.ok(DOCUMENT.includes(`**${name}**`), name)
})

test('the conversation is long, and what is permitted occurs in it', () => {
  assert.ok(QMP_SCRIPT.filter((step) => typeof step === 'string').length >= 200)
  for (const { step } of PERMITTED) {
    const texts = QMP_SCRIPT.map((each) => (typeof each === 'string' ? each : JSON.stringify(each)))
    assert.ok(
      texts.some((text) => text.includes(step)),
      step,
    )
  }
})

test('another answer, a missing event and another order of members are differences', () => {
  const step = '{"execute":"query-jobs"}'
  const one = (...lines: string[]) => [{ step, lines }]
  assert.is(differencesOf(one('{"return": []}'), one('{"return": []}')).length, 0)
  assert.is(differencesOf(one('{"return": []}'), one('{"return": {}}')).length, 1)
  assert.is(differencesOf(one('{"a": 1, "b": 2}'), one('{"b": 2, "a": 1}')).length, 1)
  assert.is(differencesOf(one('{"event": "X"}', '{"return": []}'), one('{"return": []}')).length, 1)
  // Which side of an answer an event falls on is chance.
  assert.is(differencesOf(one('{"event": "X"}', '{"return": []}'), one('{"return": []}', '{"event": "X"}')).length, 0)
  assert.not(isPermitted({ step, ours: [], theirs: [] }))
})

test.run()
