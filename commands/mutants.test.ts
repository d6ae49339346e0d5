import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Subject } from '../properties/campaign'
import { type Mutant, occurrences, readMutants } from './mutant_catalogue'
import { attribute, hunt, peel } from './mutant_hunt'
import { attributionLines, type MutantOutcome, outcomeLine } from './mutants'
import { scriptedSubject } from './testing'

const root = path.resolve(__dirname, '..')
const catalogue = readMutants(path.join(root, 'scenarios/mutants'))

for (const mutant of catalogue) {
  test(`the snippet of ${mutant.id} occurs exactly once`, () => assert.is(occurrences(mutant, root), 1))
}

const sample: Mutant = {
  id: 'zero-bits-never-cleared',
  file: 'impl/jobs/mirror/x.ts',
  find: 'a',
  replace: 'b',
  bug: 'a write leaves the zero bit set',
  expect: 'content',
  worldsMax: 100,
}

test('files that are no mutants are refused with their name', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mutants-'))
  const reasonFor = (change: object): string => {
    fs.writeFileSync(path.join(folder, `${sample.id}.json`), JSON.stringify({ ...sample, ...change }))
    try {
      readMutants(folder)
      return 'accepted'
    } catch (error) {
      return (error as Error).message
    }
  }
  assert.is(reasonFor({}), 'accepted')
  assert.match(reasonFor({ id: 'other' }), /^zero-bits-never-cleared.json: the id other is not the file's name/)
  assert.match(reasonFor({ expect: 'beauty' }), /no class of failures "beauty"/)
  assert.match(reasonFor({ replace: 'a' }), /changes nothing/)
  assert.match(reasonFor({ bug: 3 }), /"bug" is no text/)
  assert.match(reasonFor({ worldsMax: 0 }), /"worldsMax"/)
  assert.match(reasonFor({ mood: 'grim' }), /"mood" is not known/)
  fs.rmSync(folder, { recursive: true })
})

/** Two checkers: `strict` sees the bug in world 2, `slow` in world 6, and without both nothing is seen. */
const subjectWithout = (off: readonly string[]): Subject => {
  if (!off.includes('strict')) return scriptedSubject({ failures: { 2: ['invariant', 'strict/bit'] } })
  if (!off.includes('slow')) return scriptedSubject({ failures: { 6: ['content', 'slow/stale'] } })
  return scriptedSubject({})
}
const names = ['strict', 'slow']

test('a hunt ends at the first failure or at its bound', () => {
  assert.equal(hunt(subjectWithout([]), { seed: 's', worldsMax: 3 }), {
    class: 'invariant',
    key: 'strict/bit',
    worlds: 3,
    seed: 's.2',
  })
  assert.is(hunt(subjectWithout([]), { seed: 's', worldsMax: 2 }), null)
})

test('a checker that hides the expected class is taken away', () => {
  const quarry = { seed: 's', worldsMax: 10 }
  const keys = (expect: 'content' | 'invariant' | 'sparseness'): string[] =>
    peel(subjectWithout, names, expect, quarry).map(({ key }) => key)
  assert.equal(keys('invariant'), ['strict/bit'])
  assert.equal(keys('content'), ['strict/bit', 'slow/stale'])
  assert.equal(keys('sparseness'), ['strict/bit', 'slow/stale'])
})

test('a failure that no checker made cannot be taken away', () => {
  const crashing = (): Subject => scriptedSubject({ failures: { 0: ['crash', 'world/crash'] } })
  assert.is(peel(crashing, names, 'content', { seed: 's', worldsMax: 10 }).length, 1)
})

test('attribution tries each checker alone', () => {
  assert.equal(attribute(subjectWithout, names, { seed: 's', worldsMax: 10 }), { strict: 3, slow: 7 })
})

const outcome = (mutant: Partial<Mutant>, part: Partial<MutantOutcome>): MutantOutcome => ({
  mutant: { ...sample, ...mutant },
  verdict: 'killed',
  answer: { kills: [], attribution: null, isHung: false },
  seconds: 1,
  ...part,
})

test('a line says what happened to a mutant', () => {
  const survivor = outcomeLine(outcome({}, { verdict: 'survived' }))
  assert.match(survivor, /^survived +zero-bits-never-cleared +nothing in 100 worlds: a write leaves the zero bit set$/)
  const kills = peel(subjectWithout, names, 'content', { seed: 's', worldsMax: 10 })
  const killed = outcomeLine(outcome({}, { answer: { kills, attribution: null, isHung: false } }))
  assert.match(killed, /^killed +zero-bits-never-cleared +7 worlds +1\.0 s {2}slow\/stale {2}\(before: strict\/bit after 3\)$/)
})

test('attribution counts what a checker finds, and names what only it finds', () => {
  const found = (id: string, attribution: Record<string, number>): MutantOutcome =>
    outcome({ id }, { answer: { kills: [], attribution, isHung: false } })
  assert.equal(attributionLines([found('m1', { strict: 3, slow: 7 }), found('m2', { slow: 1 })]), [
    'strict               finds   1, alone: none',
    'slow                 finds   2, alone: m2',
  ])
})

test.run()
