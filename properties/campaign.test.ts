import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Plan } from '../sim/plan'
import type { Failure, WorldResult } from '../sim/verdict'
import { Chunk, campaignHash, emptyTally, firstFailure, KEPT_PER_KEY, mergeTally, type Subject, type Tally } from './campaign'

/** A plan that is nothing but its seed. */
const planOf = (seed: string): Plan => ({ seed, profile: 'fake', faults: [] }) as unknown as Plan
const indexOf = (plan: Plan): number => Number(plan.seed.split('.').at(-1))

function resultOf(index: number, failure: Partial<Failure> | null = null): WorldResult {
  return {
    failure: failure && { class: 'content', key: 'content/differs', text: '', step: 3, timeNs: 4, ...failure },
    events: 100 + index,
    timeNs: 1000,
    hash: (index * 2654435761).toString(16).slice(0, 8).padStart(8, '0'),
    checkpoints: [],
    probes: index % 2 === 0 ? { even: 3, 'fault/eio': 2 } : {},
    faultsFired: { f1: 1 },
    trace: [],
    end: {} as WorldResult['end'],
  }
}

const subjectThat = (run: (index: number, plan: Plan) => WorldResult): Subject => ({
  planOf,
  run: (plan) => run(indexOf(plan), plan),
})
const healthy = subjectThat((index) => resultOf(index))
const failingAt = (...indexes: number[]): Subject => subjectThat((index) => resultOf(index, indexes.includes(index) ? {} : null))

function tallyOf(subject: Subject, ranges: ReadonlyArray<readonly [first: number, count: number]>, replayPercent = 0): Tally {
  const sum = emptyTally()
  for (const [first, count] of ranges) {
    const chunk = new Chunk(subject, { seed: 'root', replayPercent }, first, count)
    while (chunk.step());
    mergeTally(sum, JSON.parse(JSON.stringify(chunk.tally)))
  }
  return sum
}

test('the sum does not depend on how the worlds are cut into chunks, nor on their order', () => {
  const subject = failingAt(3, 17, 18, 25, 40, 41)
  const whole = tallyOf(subject, [[0, 50]], 20)
  const cut = [
    [32, 18],
    [0, 7],
    [7, 25],
  ] as const
  const pieces = tallyOf(subject, cut, 20)
  assert.is(campaignHash(pieces), campaignHash(whole))
  assert.equal({ ...pieces, replays: 0 }, { ...whole, replays: 0 })
})

test('the hash tells other worlds, other outcomes and missing worlds apart', () => {
  const hash = campaignHash(tallyOf(healthy, [[0, 20]]))
  assert.match(hash, /^[0-9a-f]{16}$/)
  assert.is.not(campaignHash(tallyOf(healthy, [[1, 20]])), hash)
  assert.is.not(campaignHash(tallyOf(healthy, [[0, 19]])), hash)
  assert.is.not(campaignHash(tallyOf(failingAt(7), [[0, 20]])), hash)
  const moved = subjectThat((index) => ({ ...resultOf(index), hash: index === 7 ? '00000000' : resultOf(index).hash }))
  assert.is.not(campaignHash(tallyOf(moved, [[0, 20]])), hash)
})

test('of one key the failures of the lowest indexes are kept, and all are counted', () => {
  const tally = tallyOf(failingAt(2, 4, 6, 8, 10, 31, 33), [
    [30, 10],
    [5, 25],
    [0, 5],
  ])
  assert.is(tally.groups.length, 1)
  assert.is(tally.groups[0]!.count, 7)
  assert.is(KEPT_PER_KEY, 4)
  assert.equal(
    tally.groups[0]!.found.map(({ index }) => index),
    [2, 4, 6, 8],
  )
  assert.is(firstFailure(tally)!.seed, 'root.2')
})

test('probes count worlds, faults count how often they fired', () => {
  const tally = tallyOf(healthy, [[0, 10]])
  assert.equal(tally.probes, { even: 5, 'fault/eio': 5 })
  assert.equal(tally.faults, { eio: 10 })
  assert.is(tally.simulatedNs, 10_000)
  assert.is(firstFailure(tally), null)
})

test('the share of worlds that run twice is about what was asked for, and all of them at 100', () => {
  assert.is(tallyOf(healthy, [[0, 200]], 0).replays, 0)
  assert.is(tallyOf(healthy, [[0, 200]], 100).replays, 200)
  const some = tallyOf(healthy, [[0, 2000]], 5).replays
  assert.ok(some > 60 && some < 140, `${some} of 2000`)
})

test('a world that runs differently the second time is a failure that names the first event that differs', () => {
  let runs = 0
  const record = (step: number, text: string) => ({ step, timeNs: step * 10, lane: 'mirror', text })
  const restless = subjectThat((index) => {
    const parity = runs++ % 2
    return {
      ...resultOf(index),
      hash: `0000000${parity}`,
      checkpoints: ['0000000a', `0000000${parity}`],
      trace: [record(1, 'same'), record(2, `read ${parity}`)],
    }
  })
  const { failure } = firstFailure(tallyOf(restless, [[0, 1]], 100))!
  assert.is(failure.class, 'nondeterminism')
  assert.match(failure.text, /between events 64 and 128/)
  assert.match(failure.expected!, /hash 00000000/)
  assert.match(failure.actual!, /hash 00000001/)
  const details = failure.details!.join('\n')
  assert.match(details, /both after: #1 10 ns mirror same/)
  assert.match(details, /one run: {4}#2 20 ns mirror read [01]/)
})

test('the second run gets a plan that has been through JSON', () => {
  const plans: Plan[] = []
  const subject = subjectThat((index, plan) => {
    plans.push(plan)
    return resultOf(index)
  })
  tallyOf(subject, [[0, 1]], 100)
  assert.is(plans.length, 2)
  assert.is.not(plans[0], plans[1])
  assert.equal(plans[0], plans[1])
})

test('every failure that is kept has been run twice', () => {
  assert.is(tallyOf(failingAt(1, 2, 3, 4, 5, 6), [[0, 10]]).replays, KEPT_PER_KEY)
})

test('an exception out of a world is a failure of the harness, and the next world runs', () => {
  const subject = subjectThat((index) => {
    if (index === 1) throw new RangeError('out of bounds')
    return resultOf(index)
  })
  const tally = tallyOf(subject, [[0, 3]])
  assert.is(tally.worlds, 3)
  const { failure } = firstFailure(tally)!
  assert.is(failure.class, 'harness')
  assert.match(failure.text, /out of bounds/)
  assert.ok(failure.details!.length > 0, 'the stack is kept')
})

test('a seed without a plan ends the campaign and is named', () => {
  const subject: Subject = {
    ...healthy,
    planOf: () => {
      throw new Error('no such shape')
    },
  }
  assert.throws(() => tallyOf(subject, [[5, 1]]), /no plan can be made of seed root.5: no such shape/)
})

test('a world that hangs is recorded and stepped over', () => {
  const chunk = new Chunk(healthy, { seed: 'root', replayPercent: 0 }, 4, 3)
  assert.ok(chunk.step())
  chunk.recordHang(20)
  assert.is(chunk.index, 6)
  assert.ok(chunk.step())
  assert.not.ok(chunk.step())
  const found = firstFailure(chunk.tally)!
  assert.is(found.index, 5)
  assert.is(found.failure.key, 'campaign/hang')
  assert.is(chunk.tally.worlds, 3)
})

test.run()
