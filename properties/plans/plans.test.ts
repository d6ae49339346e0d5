import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Plan } from '../../sim/plan'
import type { WorldResult } from '../../sim/verdict'
import { shrinkFailure } from '../shrink'
import { PROFILES, type ProfileName, planOfSeed } from '.'
import { planArbitrary } from './arbitrary'
import { Choices } from './choices'
import { smallerPlans } from './smaller'
import { complaints } from './testing'

const PROFILE_NAMES = Object.keys(PROFILES) as ProfileName[]

function plansOf(profile: ProfileName, count: number): Plan[] {
  return Array.from({ length: count }, (_, index) => planOfSeed(`test.${index}`, profile))
}

test('a seed gives the same plan again, and another seed another plan', () => {
  assert.equal(planOfSeed('a', 'default'), planOfSeed('a', 'default'))
  assert.is.not(JSON.stringify(planOfSeed('a', 'default')), JSON.stringify(planOfSeed('b', 'default')))
})

test('a plan survives JSON unchanged', () => {
  for (const plan of plansOf('faults', 50)) assert.equal(JSON.parse(JSON.stringify(plan)), plan)
})

test('every plan of every profile can run and can end', () => {
  for (const profile of PROFILE_NAMES) {
    for (const plan of plansOf(profile, 400)) assert.equal(complaints(plan), [], `${profile} ${plan.seed}`)
  }
})

test('complaints notice a plan that cannot run or cannot end', () => {
  const plan = planOfSeed('test.0', 'small')
  const spoilt = (change: (copy: Plan) => void): string[] => {
    const copy: Plan = JSON.parse(JSON.stringify(plan))
    change(copy)
    return complaints(copy)
  }
  assert.equal(complaints(plan), [])
  const write = {
    id: 'g99',
    kind: 'write',
    lane: 0,
    offsetBytes: plan.source.lengthBytes,
    lengthBytes: 4096,
    thinkNs: 0,
  } as const
  assert.equal(
    spoilt((copy) => void copy.guest.push(write)),
    ['g99 leaves the disk'],
  )
  assert.equal(
    spoilt((copy) => void copy.control.push({ id: 'c99', when: { on: 'ready', afterNs: 0 }, kind: 'pause' })),
    ['nobody resumes after c99'],
  )
  assert.equal(
    spoilt((copy) => void copy.control.push({ id: 'c99', when: { on: { controlDone: 'c98' }, afterNs: 0 }, kind: 'complete' })),
    ['c99 waits for nobody'],
  )
  assert.equal(
    spoilt((copy) => void copy.control.shift()),
    ['the mirror starts neither once nor twice'],
  )
})

test('the quiet profile has no guest, and the faults profile a fault in every world', () => {
  for (const plan of plansOf('quiet', 100)) assert.is(plan.guest.length, 0)
  for (const plan of plansOf('faults', 100)) assert.ok(plan.faults.length > 0)
})

test('small plans are small', () => {
  for (const plan of plansOf('small', 300)) {
    assert.ok(plan.source.lengthBytes <= 32 * 1024)
    assert.ok(plan.guest.length <= 6)
  }
})

test('parts of a plan are drawn from streams of their own', () => {
  const draw = (part: string): number[] => {
    const choices = new Choices('seed', part, 'uniform')
    return Array.from({ length: 8 }, () => choices.below(1000))
  }
  assert.equal(draw('guest'), draw('guest'))
  assert.is.not(String(draw('guest')), String(draw('control')))
})

test('an extreme stream takes the other column, and a swarm does without some rows', () => {
  const table = [
    ['usual', 1, 0],
    ['rare', 0, 1],
  ] as const
  assert.is(new Choices('seed', 'part', 'uniform').pick(table), 'usual')
  assert.is(new Choices('seed', 'part', 'extreme').pick(table), 'rare')
  const rows = Array.from({ length: 16 }, (_, value) => [value, 1, 1] as const)
  const kept = new Choices('seed', 'part', 'swarm').weigh(rows).values.length
  assert.ok(kept > 0 && kept < 16)
  assert.is(new Choices('seed', 'part', 'uniform').weigh(rows).values.length, 16)
})

/** The smallest plan that `fails`, and how many were tried. */
function shrink(plan: Plan, fails: (plan: Plan) => boolean): { plan: Plan; tried: number } {
  const failed = { failure: { key: 'test/failed' } } as WorldResult
  const passed = { failure: null } as WorldResult
  const {
    plan: smallest,
    runs,
    isMinimal,
  } = shrinkFailure(plan, failed, {
    run: (smaller) => (fails(smaller) ? failed : passed),
  })
  assert.ok(isMinimal)
  return { plan: smallest, tried: runs }
}

test('whatever is taken from a plan, what remains can run and can end', () => {
  for (const plan of plansOf('faults', 12)) {
    for (const smaller of smallerPlans(plan)) assert.equal(complaints(smaller), [], plan.seed)
  }
})

test('a plan of which nothing is needed shrinks to one that only starts a mirror', () => {
  for (const seed of plansOf('faults', 10)) {
    const { plan, tried } = shrink(seed, () => true)
    assert.is(plan.guest.length + plan.faults.length + plan.source.initial.length, 0)
    assert.equal(
      plan.control.map(({ kind }) => kind),
      ['mirror-start'],
    )
    assert.is(plan.destination.node.detectZeroes, 'off')
    assert.ok(tried < 100, `${tried} candidates`)
  }
})

test('two operations that only fail together are all that shrinking leaves, under their own names', () => {
  const plan = plansOf('default', 100).find(({ guest }) => guest.length > 30)!
  const needed = [plan.guest[3]!.id, plan.guest[20]!.id]
  const isThere = ({ guest }: Plan): boolean => needed.every((id) => guest.some((operation) => operation.id === id))
  const { plan: smallest, tried } = shrink(plan, isThere)
  assert.equal(
    smallest.guest.map(({ id }) => id),
    needed,
  )
  assert.ok(tried < 400, `${tried} candidates`)
})

test('a pause that a failure needs keeps its resume', () => {
  const isPaused = ({ control }: Plan): boolean => control.some(({ kind }) => kind === 'pause')
  const { plan } = shrink(plansOf('default', 100).find(isPaused)!, isPaused)
  assert.equal(
    plan.control.map(({ kind }) => kind),
    ['mirror-start', 'pause', 'resume'],
  )
})

test('the search for the smallest plan neither slips to another failure nor runs on for ever', () => {
  const plan = plansOf('default', 100).find(({ guest }) => guest.length > 30)!
  const outcome = (key: string): WorldResult => ({ failure: { key } }) as WorldResult
  const run = ({ guest }: Plan): WorldResult => outcome(guest.length >= 8 ? 'test/wanted' : 'test/another')
  assert.is(shrinkFailure(plan, outcome('test/wanted'), { run }).plan.guest.length, 8)
  assert.not(shrinkFailure(plan, outcome('test/wanted'), { run }, 10).isMinimal)
  assert.throws(
    () => shrinkFailure(plan, { failure: null } as WorldResult, { run }),
    (error: Error) => error.message === 'only a plan that fails can be shrunk',
  )
})

test('fast-check draws the same mixture and shrinks to what a failure needs', () => {
  const hasZeroes = (plan: Plan): boolean => plan.guest.some(({ kind }) => kind === 'write-zeroes')
  const details = fc.check(
    fc.property(planArbitrary('default'), (plan) => !hasZeroes(plan)),
    { seed: 7, numRuns: 50 },
  )
  assert.ok(details.failed)
  const smallest = details.counterexample![0]
  assert.equal(
    smallest.guest.map(({ kind, thinkNs, lane }) => ({ kind, thinkNs, lane })),
    [{ kind: 'write-zeroes', thinkNs: 0, lane: 0 }],
  )
  assert.equal(planOfSeed(smallest.seed, 'default').profile, smallest.profile)
})

test('a plan from a report shrinks as one that was drawn', () => {
  const arbitrary = planArbitrary('default')
  assert.ok(arbitrary.canShrinkWithoutContext(planOfSeed('a', 'default')))
  assert.not(arbitrary.canShrinkWithoutContext({ format: 'another' }))
})

test.run()
