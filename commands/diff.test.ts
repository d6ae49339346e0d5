import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { eventText } from '../reports/text'
import { compare, type History, recordsOf } from './diff'
import { recorder } from './testing'

const line = (step: number, text: string): History['lines'][number] => ({ step, timeNs: step * 1500, lane: 'guest', text })
const one: History = { name: 'A', lines: [1, 2, 3, 4].map((step) => line(step, `e${step}`)), hash: '00000001' }

function difference(other: Partial<History>): { code: number; text: string } {
  const out = recorder()
  const code = compare(one, { ...one, name: 'B', ...other }, 1, out)
  return { code, text: out.text() }
}

test('the same worlds are the same', () => assert.equal(difference({}), { code: 0, text: 'the same 4 lines\n' }))

test('lines may be the same where hashes are not', () => {
  const { code, text } = difference({ hash: '00000002' })
  assert.is(code, 1)
  assert.match(text, /00000001 \| 00000002/)
})

test('the first event that differs is named, with its neighbours', () => {
  const { code, text } = difference({ lines: [line(1, 'e1'), line(2, 'e2'), line(3, 'other'), line(4, 'e4')] })
  assert.is(code, 1)
  assert.match(text, /line 3 differs: text: e3 \| other\n$/)
  assert.match(text, /^- A\n\+ B\n.*#2 .*e2\n- .*e3\n- .*e4\n\+ .*other\n\+ .*e4\n/)
  assert.not.match(text, /e1/)
})

test('a world that ends earlier differs where it ends', () => {
  assert.match(difference({ lines: one.lines.slice(0, 2) }).text, /line 3 differs: only the first world goes on/)
})

test('printed events are read back, up to what is no event', () => {
  const printed = `${one.lines.map(eventText).join('\n')}\ncontent: a/b\n${eventText(line(9, 'late'))}\n`
  assert.equal(recordsOf(printed), one.lines)
})

test.run()
