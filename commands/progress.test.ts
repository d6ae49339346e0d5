import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { emptyTally } from '../properties/campaign'
import { Progress, progressText } from './progress'
import { recorder } from './testing'

const tally = { ...emptyTally(), worlds: 12_345, events: 4_000_000, probes: { a: 1, b: 2 } }

test('the line says how far it is, how fast, what was met and what failed', () => {
  assert.is(progressText(tally, 10, 0.5), ' 50 %  12,345 worlds  1,235 worlds/s  400,000 events/s  2 probes hit  0 failures')
})

test('a terminal gets one line that is drawn over, five times a second at most', () => {
  const output = recorder(true)
  let nowMs = 0
  const progress = new Progress(output, () => nowMs)
  for (; nowMs <= 1000; nowMs += 20) progress.update(tally, nowMs / 1000)
  assert.is(output.text().split('\r').length - 1, 5)
  assert.not.match(output.text(), /\n/)
  progress.print('done\n')
  assert.ok(output.text().endsWith('\r\x1b[2Kdone\n'))
})

test('a pipe gets a plain line each five seconds', () => {
  const output = recorder(false)
  let nowMs = 0
  const progress = new Progress(output, () => nowMs)
  for (; nowMs <= 20_000; nowMs += 500) progress.update(tally, 0.1)
  assert.is(output.text().split('\n').length - 1, 4)
  assert.ok(!output.text().includes('\x1b') && !output.text().includes('\r'))
})

test.run()
