import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { makeLabel } from '../impl/co'
import { Attempts, DecisionRecorder, decisionKey, dullDecider, RecordedDecider, Site, seededDecider } from './decider'
import { recordedDecider } from './schedules'

const G1 = makeLabel('g1')
const G2 = makeLabel('g2')
const ALL = Array.from({ length: 400 }, (_, attempt) => attempt)

test('a seed gives the same decisions each time, and another seed others', () => {
  const decisions = (seed: string): number[] => ALL.map((attempt) => seededDecider(seed).decide(Site.Order, G1, attempt, 7))
  assert.equal(decisions('a'), decisions('a'))
  assert.not.equal(decisions('a'), decisions('b'))
})

test('site, subject and attempt each make another decision', () => {
  const decider = seededDecider('a')
  const shares = (other: (attempt: number) => number): number =>
    ALL.filter((attempt) => decider.decide(Site.Order, G1, attempt, 100) === other(attempt)).length
  assert.ok(shares((attempt) => decider.decide(Site.SourceLatency, G1, attempt, 100)) < 20)
  assert.ok(shares((attempt) => decider.decide(Site.Order, G2, attempt, 100)) < 20)
  assert.ok(shares((attempt) => decider.decide(Site.Order, G1, attempt + 1, 100)) < 20)
})

test('all outcomes come up about equally often', () => {
  const decider = seededDecider('a')
  const counts = [0, 0, 0, 0]
  for (let attempt = 0; attempt < 4000; attempt++) counts[decider.decide(Site.Order, G1, attempt, 4)]!++
  for (const count of counts) assert.ok(count > 850 && count < 1150, String(counts))
})

test('seeds that begin alike share no more decisions than others', () => {
  const [a, b] = [seededDecider('campaign.1'), seededDecider('campaign.2')]
  const same = ALL.filter((attempt) => a.decide(Site.Order, G1, attempt, 4) === b.decide(Site.Order, G1, attempt, 4))
  assert.ok(same.length > 60 && same.length < 140, String(same.length))
})

test('a recorded decision is followed, the others come from the seed', () => {
  const decider = recordedDecider({ seed: 'a' }, { 'order/g1/0': 5 })
  assert.is(decider.decide(Site.Order, G1, 0, 7), 5)
  assert.is(decider.decide(Site.Order, G1, 1, 100), seededDecider('a').decide(Site.Order, G1, 1, 100))
})

test('a recorded decision with fewer outcomes than it had is the last of them', () => {
  assert.is(recordedDecider({ seed: 'a' }, { 'order/g1/0': 5 }).decide(Site.Order, G1, 0, 3), 2)
})

test('recorded decisions that nobody asks for are told', () => {
  const decider = recordedDecider({ seed: 'a' }, { 'order/g1/0': 1, 'order/gone/0': 1 })
  decider.decide(Site.Order, G1, 0, 2)
  assert.equal(decider.unused(), ['order/gone/0'])
})

test('names that every object has are no recorded decisions', () => {
  const decider = new RecordedDecider({}, dullDecider)
  assert.is(decider.decide(makeLabel('toString'), G1, 0, 9), 0)
})

test('what a recorder wrote down decides the same without the seed', () => {
  const recorder = new DecisionRecorder(seededDecider('a'))
  const first = ALL.map((attempt) => recorder.decide(Site.Order, G1, attempt, 3))
  const again = new RecordedDecider(recorder.decisions, dullDecider)
  assert.equal(
    ALL.map((attempt) => again.decide(Site.Order, G1, attempt, 3)),
    first,
  )
  assert.not.ok(Object.values(recorder.decisions).includes(0), 'dull decisions need no place')
})

test('the keys of decisions name site, subject and attempt', () => {
  assert.is(decisionKey(Site.SourceLatency, G1, 3), 'source-latency/g1/3')
})

test('attempts are counted for each subject by itself', () => {
  const attempts = new Attempts()
  assert.equal([attempts.next(G1), attempts.next(G1), attempts.next(G2), attempts.next(makeLabel('g1'))], [0, 1, 0, 2])
})

test.run()
