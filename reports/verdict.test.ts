import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { sampleReport } from './testing'
import { type Judgement, judgeReplay, judgeStale } from './verdict'

const { failure, trace } = sampleReport
const same = { failure, hash: trace.hash, events: trace.events, checkpoints: trace.checkpoints }

const cases: ReadonlyArray<readonly [name: string, Judgement, verdict: string, exitCode: number, text: RegExp]> = [
  ['the same failure and events', judgeReplay(sampleReport, same), 'reproduced', 10, /with the same 130 events/],
  [
    'the same failure after other events',
    judgeReplay(sampleReport, { ...same, hash: '00000000', checkpoints: ['00000001', '00000009'] }),
    'reproduced-different-trace',
    10,
    /differ from one of 64 to 128 on/,
  ],
  [
    'the same failure after more events',
    judgeReplay(sampleReport, { ...same, hash: '00000000', events: 131 }),
    'reproduced-different-trace',
    10,
    /after the first 128/,
  ],
  ['no failure', judgeReplay(sampleReport, { ...same, failure: null }), 'fixed', 0, /does not happen any more/],
  [
    'another failure',
    judgeReplay(sampleReport, { ...same, failure: { ...failure, class: 'liveness', key: 'world/stuck' } }),
    'other-failure',
    13,
    /world\/stuck instead of content\/destination-stale/,
  ],
  ['a report that cannot be read', judgeStale('x.json: not JSON'), 'stale', 2, /x.json: not JSON/],
]
for (const [name, judgement, verdict, exitCode, text] of cases) {
  test(`${name}: ${verdict}`, () => {
    assert.is(judgement.verdict, verdict)
    assert.is(judgement.exitCode, exitCode)
    assert.match(judgement.text, text)
    assert.ok(judgement.text.startsWith(`${verdict}: `) && !judgement.text.includes('\n'))
  })
}

test('ids and offsets do not make another failure', () => {
  const moved = { ...failure, offsetBytes: 0, operationId: 'g9', text: 'elsewhere' }
  assert.is(judgeReplay(sampleReport, { ...same, failure: moved }).verdict, 'reproduced')
})

test.run()
