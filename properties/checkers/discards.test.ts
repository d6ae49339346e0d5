import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { makeDiscardChecker } from './discards'
import { FakeWorld, keyOf, op, type PlanParts, UNIT } from './testing'

function world(discard: ReturnType<typeof op>, parts: PlanParts = {}): FakeWorld {
  const made = new FakeWorld(makeDiscardChecker, { guest: [discard], ...parts })
  made.source.write('g9', 0, 8 * UNIT)
  made.begin(discard)
  return made
}
const WHOLE = op('g1', 'discard', UNIT, 2 * UNIT)

test('a discard that succeeds frees the units that it covers', () => {
  const made = world(WHOLE)
  const found = made.end(WHOLE)
  assert.is(keyOf(found), 'discards/not-effective')
  assert.is(found?.offsetBytes, UNIT)
  const freed = world(WHOLE)
  freed.source.free(UNIT, 2 * UNIT)
  assert.is(freed.end(WHOLE), null)
})

test('parts of units may stay', () => {
  const part = op('g1', 'discard', 512, UNIT)
  assert.is(world(part).end(part), null)
})

test('a discard that failed, was aborted or met an error promises nothing', () => {
  assert.is(world(WHOLE).end(WHOLE, 1), null)
  const aborted = world(WHOLE)
  aborted.abort(WHOLE)
  assert.is(aborted.end(WHOLE), null)
  const failing = world(WHOLE)
  failing.send('source', 'write-zeroes', [UNIT, UNIT], 'g1', { errno: 5 })
  assert.is(failing.end(WHOLE), null)
})

test('what was written meanwhile stays, what was written before does not', () => {
  const made = world(WHOLE)
  made.send('source', 'write', [UNIT, 512], 'g2')
  assert.is(made.end(WHOLE)?.offsetBytes, 2 * UNIT)
  const late = new FakeWorld(makeDiscardChecker, { guest: [WHOLE] })
  late.source.write('g9', UNIT, UNIT)
  late.send('source', 'write', [UNIT, UNIT], 'g9')
  late.begin(WHOLE)
  assert.is(late.end(WHOLE)?.offsetBytes, UNIT)
})

test('the end of another discard may allocate what this one has freed', () => {
  const other = op('g2', 'discard', 2 * UNIT, UNIT + 512)
  const made = new FakeWorld(makeDiscardChecker, { guest: [WHOLE, other] })
  made.begin(WHOLE)
  made.begin(other)
  made.source.write('g9', UNIT, 2 * UNIT)
  made.send('source', 'write-zeroes', [2 * UNIT, 512], 'g2')
  assert.is(made.end(WHOLE)?.offsetBytes, UNIT)
  made.source.free(UNIT, UNIT)
  assert.is(made.end(other)?.offsetBytes, undefined)
})

test('nothing is promised by a source that cannot, or is told not to', () => {
  const cases: PlanParts['source'][] = [
    { discard: 'none' },
    { node: { discard: 'ignore', detectZeroes: 'off' } },
    { discardAlignmentBytes: 4 * UNIT },
    { maxDiscardBytes: 512 },
  ]
  for (const source of cases) assert.is(world(WHOLE, { source: source! }).end(WHOLE), null, JSON.stringify(source))
})

test('a discard that begins inside a unit and is cut into parts promises nothing', () => {
  const long = op('g1', 'discard', 512, 6 * UNIT)
  assert.is(world(long, { source: { maxDiscardBytes: 2 * UNIT } }).end(long), null)
  assert.is(keyOf(world(long).end(long)), 'discards/not-effective')
})

test('the short unit at the end is freed unless the disk ends between two blocks', () => {
  const lengthBytes = 8 * UNIT - 512
  const tail = op('g1', 'discard', 7 * UNIT, 512)
  const parts = (source: PlanParts['source']): PlanParts => ({ source: { lengthBytes, ...source } })
  const build = (source: PlanParts['source']): FakeWorld => {
    const made = new FakeWorld(makeDiscardChecker, { guest: [tail], ...parts(source) })
    made.source.write('g9', 0, lengthBytes)
    made.begin(tail)
    return made
  }
  assert.is(keyOf(build({}).end(tail)), 'discards/not-effective')
  assert.is(build({ discardAlignmentBytes: UNIT }).end(tail), null)
})

test('after the switch the source is nobody’s', () => {
  const made = world(WHOLE)
  made.guestDisk = 'destination'
  assert.is(made.end(WHOLE), null)
})

test.run()
