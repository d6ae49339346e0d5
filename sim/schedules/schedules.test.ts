import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Label, makeLabel, type WaitReason } from '../../impl/co'
import { Site, type Waiting } from '../decider'
import type { SchedulePlan } from '../plan'
import { smallPlan } from '../testing'
import { runWorld } from '../world'
import { deciderOf, SCHEDULES } from './index'

const KINDS = Object.keys(SCHEDULES) as Array<SchedulePlan['kind']>
const LABELS = Array.from({ length: 200 }, (_, index) => makeLabel(`g${index}`))

function scheduleOf(kind: SchedulePlan['kind']): SchedulePlan {
  return kind === 'pct' ? { kind, depth: 3 } : { kind }
}
function waiting(label: Label, parkSerial: number, waitsFor: WaitReason | null = null): Waiting {
  return { label, parkSerial, waitsFor }
}
function line(count: number): Waiting[] {
  return LABELS.slice(0, count).map((label) => waiting(label, 1))
}

for (const kind of KINDS) {
  const make = (seed: string): ReturnType<typeof deciderOf> => deciderOf({ seed, schedule: scheduleOf(kind) })

  test(`${kind}: choices lie in their range, and the same seed gives the same ones`, () => {
    const [left, right] = [make('a'), make('a')]
    for (const site of [Site.Order, Site.SourceLatency, Site.DestinationLatency, Site.SourceCut]) {
      for (const [index, label] of LABELS.entries()) {
        const people = site === Site.Order ? line(4) : undefined
        const choice = left.decide(site, label, index, 4, people)
        assert.ok(Number.isInteger(choice) && choice >= 0 && choice < 4)
        assert.is(right.decide(site, label, index, 4, people), choice)
      }
    }
  })

  test(`${kind}: another seed gives another order, and none the dull one`, () => {
    const orders = (seed: string): number[] =>
      LABELS.map((label, index) => make(seed).decide(Site.Order, label, index, 4, line(4)))
    const seeds = ['a', 'b', 'c', 'd', 'e', 'f'].map((seed) => orders(seed).join(''))
    assert.ok(new Set(seeds).size > 1)
    assert.is(
      orders('').find((choice) => choice !== 0),
      undefined,
    )
  })

  test(`${kind}: a world under it comes to its end, twice the same`, () => {
    const plan = { ...smallPlan(), version: 4 as const, seed: 'a', schedule: scheduleOf(kind) }
    const [first, second] = [runWorld(plan), runWorld(plan)]
    assert.is(first.failure, null)
    assert.is(first.hash, second.hash)
    assert.is(first.probes[`schedule/${kind}`], 1)
  })
}

test('uniform: nobody takes longer than the least', () => {
  const decider = deciderOf({ seed: 'a', schedule: { kind: 'uniform' } })
  for (const label of LABELS) assert.is(decider.decide(Site.SourceLatency, label, 0, 16), 0)
})

test('pct: who goes first goes first again, until somebody falls', () => {
  const decider = deciderOf({ seed: 'a', schedule: { kind: 'pct', depth: 1 } })
  const people = line(6)
  const first = people[decider.decide(Site.Order, people[0]!.label, 0, 6, people)]!
  const reversed = [...people].reverse()
  assert.is(reversed[decider.decide(Site.Order, reversed[0]!.label, 9, 6, reversed)], first)
  const fallen = (depth: number): number => {
    const { decide } = deciderOf({ seed: 'a', schedule: { kind: 'pct', depth } })
    return LABELS.filter((label) => decide(Site.SourceLatency, label, 0, 16) !== decide(Site.SourceLatency, label, 100, 16))
      .length
  }
  assert.ok(fallen(1) > 0 && fallen(1) < fallen(4) && fallen(4) < 100)
})

test('pos: whoever races with the first draws anew, and others keep their priority', () => {
  const place = (disk: string, offsetBytes: number): WaitReason =>
    ({ disk, offsetBytes, lengthBytes: 512, describe: () => '' }) as unknown as WaitReason
  let same = 0
  let changed = 0
  for (let seed = 0; seed < 60; seed++) {
    const decider = deciderOf({ seed: `s${seed}`, schedule: { kind: 'pos' } })
    const order = (people: Waiting[]): Label[] => {
      const left = [...people]
      const labels: Label[] = []
      while (left.length > 1)
        labels.push(left.splice(decider.decide(Site.Order, left[0]!.label, 0, left.length, left), 1)[0]!.label)
      return labels
    }
    const apart = LABELS.slice(0, 4).map((label, index) => waiting(label, 1, place('source', 512 * index)))
    const before = order(apart).join()
    if (order(apart).join() === before) same++
    const together = LABELS.slice(0, 4).map((label) => waiting(label, 1, place('source', 0)))
    const ids = (): string =>
      order(together)
        .map(({ id }) => id)
        .join()
    const first = ids()
    if (ids() !== first) changed++
  }
  assert.is(same, 60)
  assert.ok(changed > 20)
})

test('few: most decisions are dull', () => {
  const decider = deciderOf({ seed: 'a', schedule: { kind: 'few' } })
  const count = LABELS.filter((label, index) => decider.decide(Site.SourceLatency, label, index, 16) !== 0).length
  assert.ok(count > 0 && count < 30)
})

test.run()
