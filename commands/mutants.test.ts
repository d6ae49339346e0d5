import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Subject } from '../properties/campaign'
import { type Mutant, occurrences, readMutants } from './mutant_catalogue'
import { attribute, hunt, type Kill, peel } from './mutant_hunt'
import { attributionLines, idleCheckers, type MutantOutcome, outcomeLine, verdictOf } from './mutants'
import { scriptedSubject } from './testing'

const root = path.resolve(__dirname, '..')
const catalogue = readMutants(path.join(root, 'scenarios/mutants'))

for (const mutant of catalogue) {
  test(`the snippet of ${mutant.id} occurs exactly once`, () => assert.is(occurrences(mutant, root), 1))
}

test('the history of bugs in the docs names mutants that exist', () => {
  const text = fs.readFileSync(path.join(root, 'docs/mutants.md'), 'utf8')
  const tables = text.slice(text.indexOf('## Bugs that QEMU has had')).split('\n')
  const named = tables.flatMap((line) => [...line.matchAll(/`([a-z][a-z0-9]*(?:-[a-z0-9]+)+)`/g)].map(([, id]) => id!))
  assert.ok(named.length > 50, String(named.length))
  const known = new Set(catalogue.map(({ id }) => id))
  for (const id of named) assert.ok(known.has(id), id)
})

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

/** Two checkers: `strict` sees the bug in world 2, `slow` in worlds 2 and 6, and without both nothing is seen. */
const subjectWithout = (off: readonly string[]): Subject => {
  const slow: Record<number, ['content', string]> = off.includes('slow')
    ? {}
    : { 2: ['content', 'slow/stale'], 6: ['content', 'slow/stale'] }
  return scriptedSubject({ failures: off.includes('strict') ? slow : { ...slow, 2: ['invariant', 'strict/bit'] } })
}
const names = ['strict', 'slow']

test('a hunt ends at the first failure or at its bound, and begins where it is told', () => {
  const quarry = { seed: 's', worldsMax: 30 }
  assert.equal(hunt(subjectWithout([]), quarry), { class: 'invariant', key: 'strict/bit', worlds: 3, seed: 's.2' })
  assert.is(hunt(subjectWithout([]), quarry, 3)?.worlds, 7)
  assert.is(hunt(subjectWithout([]), quarry, 7), null)
  assert.is(hunt(subjectWithout([]), { seed: 's', worldsMax: 2 }), null)
})

test('a checker that hides the expected class is taken away', () => {
  const keys = (expect: 'content' | 'invariant' | 'sparseness'): string[] =>
    peel(subjectWithout, names, expect, { seed: 's', worldsMax: 10 }).map(({ key, worlds }) => `${key} ${worlds}`)
  assert.equal(keys('invariant'), ['strict/bit 3'])
  assert.equal(keys('content'), ['strict/bit 3', 'slow/stale 3'])
  assert.equal(keys('sparseness'), ['strict/bit 3', 'slow/stale 3'])
})

test('a failure that no checker made cannot be taken away: the next world is asked', () => {
  const crashing = (): Subject => scriptedSubject({ failures: { 0: ['crash', 'world/crash'] } })
  assert.is(peel(crashing, names, 'content', { seed: 's', worldsMax: 10 }).length, 1)
  const later = (): Subject => scriptedSubject({ failures: { 0: ['crash', 'world/crash'], 4: ['content', 'slow/stale'] } })
  assert.equal(
    peel(later, names, 'content', { seed: 's', worldsMax: 10 }).map(({ worlds }) => worlds),
    [1, 5],
  )
})

test('attribution tries each checker alone in the worlds that fail', () => {
  assert.equal(attribute(subjectWithout, names, { seed: 's', worldsMax: 10 }, 2), { worlds: 2, found: { strict: 1, slow: 2 } })
})

const kill = (failureClass: Kill['class'], key: string, worlds: number): Kill => ({
  class: failureClass,
  key,
  worlds,
  seed: `s.${worlds - 1}`,
})
const outcome = (mutant: Partial<Mutant>, part: Partial<MutantOutcome>): MutantOutcome => ({
  mutant: { ...sample, ...mutant },
  verdict: 'killed',
  answer: { kills: [], attribution: null, world: null },
  seconds: 1,
  ...part,
})

test('a line says what happened to a mutant', () => {
  const survivor = outcomeLine(outcome({}, { verdict: 'survived' }))
  assert.match(survivor, /^survived +zero-bits-never-cleared +nothing in 100 worlds: a write leaves the zero bit set$/)
  const kills = [kill('invariant', 'strict/bit', 3), kill('content', 'slow/stale', 7)]
  const killed = outcomeLine(outcome({}, { answer: { kills, attribution: null, world: 'w' } }))
  assert.match(killed, /^killed +zero-bits-never-cleared +7 worlds +1\.0 s {2}slow\/stale {2}\(before: strict\/bit after 3\)$/)
})

test('a mutant is killed by the class that it should be killed by, and an equivalent one by nothing', () => {
  const verdict = (equivalent: string | undefined, ...classes: Kill['class'][]): string =>
    verdictOf(
      { ...sample, ...(equivalent === undefined ? {} : { equivalent }) },
      { kills: classes.map((one) => kill(one, 'x/y', 1)), attribution: null, world: null },
    )
  assert.is(verdict(undefined), 'survived')
  assert.is(verdict(undefined, 'sparseness'), 'other-class')
  assert.is(verdict(undefined, 'sparseness', 'content'), 'killed')
  assert.is(verdict('nobody looks there'), 'equivalent')
  assert.is(verdict('nobody looks there', 'content'), 'not-equivalent')
})

test('attribution shows what a checker finds, what only it finds, and who is not needed', () => {
  const found = (id: string, worlds: number, counts: Record<string, number>): MutantOutcome =>
    outcome({ id }, { answer: { kills: [], attribution: { worlds, found: counts }, world: 'w' } })
  const outcomes = [found('m1', 3, { strict: 3, slow: 1 }), found('m2', 2, { slow: 2 })]
  assert.equal(
    attributionLines(outcomes, names).map((line) => line.replace(/ +/g, ' ').trim()),
    [
      'of world strict slow',
      'm1 3 . 3 1',
      'm2 2 . . 2',
      '',
      'world finds 0, alone: none',
      'strict finds 1, alone: none',
      'slow finds 2, alone: m2',
    ],
  )
  assert.equal(idleCheckers(outcomes, names), ['strict'])
})

test.run()
