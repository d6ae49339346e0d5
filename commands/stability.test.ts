import * as fs from 'node:fs'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EXTRA_DRAW, exitCodeOf, main, type StabilitySummary, stabilitySummary } from './stability'
import type { Gathered } from './stability_worker'
import { recorder } from './testing'

const stable: StabilitySummary = { reports: 4, mutants: 2, reproduced: 4, otherPlans: 4, deletions: 100, stillFailing: 65 }

test('the change of the generator is one edit', () => {
  const source = fs.readFileSync(path.join(__dirname, '..', EXTRA_DRAW.file), 'utf8')
  assert.is(source.split(EXTRA_DRAW.find).length, 2)
})

test('one report that is another world, a generator that did not change, brittle plans or too few reports are no success', () => {
  assert.is(exitCodeOf(stable, 4), 0)
  assert.is(exitCodeOf({ ...stable, reproduced: 3 }, 4), 3)
  assert.is(exitCodeOf({ ...stable, otherPlans: 3 }, 4), 3)
  assert.is(exitCodeOf({ ...stable, stillFailing: 64 }, 4), 3)
  assert.is(exitCodeOf(stable, 5), 3)
})

test('reports of all mutants are added up, and only exact reproductions count', () => {
  const one = { found: {}, deletions: 10, kept: 7 } as unknown as Gathered
  const outcomes = [
    { id: 'a', gathered: [one, one], again: [again('reproduced', true), again('reproduced-different-trace', true)] },
    { id: 'b', gathered: [], again: [] },
    { id: 'c', gathered: [one], again: [again('reproduced', false)] },
  ]
  assert.equal(stabilitySummary(outcomes), {
    reports: 3,
    mutants: 2,
    reproduced: 2,
    otherPlans: 2,
    deletions: 30,
    stillFailing: 21,
  })
})

test('a failure of a mutant outlives the change of the generator', async () => {
  const out = recorder()
  const args = ['--reports', '2', '--workers', '1', '--json', 'zero-bits-never-set']
  assert.is(await main(args, { out, err: out }), 0, out.text())
  const { reports, reproduced, otherPlans } = JSON.parse(out.text()) as StabilitySummary
  assert.equal([reports >= 2, reproduced, otherPlans], [true, reports, reports])
})

function again(verdict: 'reproduced' | 'reproduced-different-trace', hasOtherPlan: boolean) {
  return { verdict, hasOtherPlan }
}

test.run()
