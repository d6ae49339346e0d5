import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { stampSectors } from '../model/stamp'
import { LINES_KEPT, sampleHash, Trace } from './trace'

function traceOf(times: readonly number[], labels: readonly number[] = times.map(() => 1), keepsAll = false): Trace {
  const trace = new Trace(keepsAll)
  for (const [index, timeNs] of times.entries()) {
    trace.begin(timeNs)
    trace.line('lane', (line) => `${line.subject} ${line.code}`, 'x', '', 0, 0, index)
    trace.end(labels[index]!)
  }
  return trace
}

test('the hash depends on times, on who ran, on order, and on what is mixed in', () => {
  const hash = traceOf([1, 2]).hashText()
  assert.match(hash, /^[0-9a-f]{8}$/)
  assert.is(traceOf([1, 2]).hashText(), hash)
  const others = [traceOf([1, 3]), traceOf([2, 1]), traceOf([1, 2 + 2 ** 32]), traceOf([1, 2], [1, 2]), traceOf([1])]
  const mixed = traceOf([1, 2])
  mixed.mix(0)
  const named = traceOf([1, 2])
  named.mixText('a')
  const hashes = new Set([hash, ...[...others, mixed, named].map((trace) => trace.hashText())])
  assert.is(hashes.size, 8)
})

test('there is a checkpoint at each 64th event, of the hash there', () => {
  const times = Array.from({ length: 200 }, (_, index) => index)
  const { checkpoints } = traceOf(times)
  assert.is(checkpoints.length, 3)
  assert.is(checkpoints[1], traceOf(times.slice(0, 128)).hashText())
})

test('the last lines are kept, in order, or all of them', () => {
  const times = Array.from({ length: 2 * LINES_KEPT + 7 }, (_, index) => index)
  const last = traceOf(times).records()
  assert.is(last.length, LINES_KEPT)
  assert.equal(last[0], { step: LINES_KEPT + 8, timeNs: LINES_KEPT + 7, lane: 'lane', text: `x ${LINES_KEPT + 7}` })
  assert.is(last.at(-1)!.step, times.length)
  assert.is(traceOf(times, undefined, true).records().length, times.length)
  assert.is(traceOf([5, 6]).records().length, 2)
})

test('the hash of data tells writers and lengths apart', () => {
  const hashes = new Set<number>()
  for (const [writer, sectors] of [
    [0, 2],
    [1, 2],
    [2, 2],
    [1, 3],
  ] as const) {
    const data = new Uint8Array(sectors * 512)
    stampSectors(data, 0, writer, 0, sectors)
    hashes.add(sampleHash(data))
  }
  const mixed = new Uint8Array(1024)
  stampSectors(mixed, 512, 1, 1, 1)
  hashes.add(sampleHash(mixed))
  assert.is(hashes.size, 5)
  assert.type(sampleHash(new Uint8Array(3)), 'number')
})

test.run()
