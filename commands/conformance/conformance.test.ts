import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { OwnPrograms } from '../against/programs'
import { conform, exitCodeOf } from '../conformance'
import { makeScratch, removeScratch } from '../interrupt'
import { compareImages, compareLines, type Difference, type ImageState, treeDifferences } from './compare'
import type { Line } from './conversation'
import { coveringShapes, DIMENSIONS, isPossible, NAMES, pairsOf, possiblePairs } from './dimensions'
import { documentOf } from './document'
import { conformancePlans } from './plans'
import { faultsOf, type Reason, Reasons, readReasons } from './reasons'

const ROOT = path.resolve(__dirname, '../..')
const PLANS_LEAST = 100
// Made once: it takes a second.
const PLANS = conformancePlans()
const SHAPES = PLANS.map(({ shape }) => shape)

test('every pair of values that go together is in some plan, and no plan breaks a rule', () => {
  const met = new Set(SHAPES.flatMap(pairsOf))
  assert.equal(
    [...possiblePairs().keys()].filter((key) => !met.has(key)),
    [],
  )
  assert.ok(SHAPES.every(isPossible))
  assert.ok(SHAPES.length >= PLANS_LEAST)
  for (const name of NAMES) {
    for (const value of DIMENSIONS[name])
      assert.ok(
        SHAPES.some((shape) => shape[name] === value),
        `${name} ${value}`,
      )
  }
})

test('a shape that breaks a rule is not possible', () => {
  const shape = SHAPES.find(({ command }) => command === 'blockdev-mirror')!
  assert.not.ok(isPossible({ ...shape, unmap: 'no' }))
})

test('plans are the same each time', () => {
  assert.equal(coveringShapes(), SHAPES)
})

test('each reason says what it explains and why, and the page shows them all', () => {
  const reasons = readReasons()
  assert.equal(faultsOf(reasons), [])
  const page = fs.readFileSync(path.join(ROOT, 'docs/conformance.md'), 'utf8')
  assert.is(page, documentOf(reasons, PLANS.length), 'run: npm run conformance -- --document')
})

test('a reason that explains everything, nothing, or is there twice is found', () => {
  const good: Reason = { name: 'a', reason: 'because it is so everywhere', kinds: ['answer'], at: 'len$' }
  const { at: _at, ...wide } = good
  const never = { ...good, name: 'c', where: { sync: ['sideways'] } } as unknown as Reason
  const faults = faultsOf([good, good, { ...wide, name: 'b' }, never, { ...good, name: 'd', reason: 'so' }])
  assert.equal(faults, ['a: listed twice', 'b: says nothing of what it explains', 'c: sync is never sideways', 'd: no reason'])
})

test('a reason explains what it names, in the versions that it names, and is told when nothing needs it', () => {
  const [shape] = SHAPES
  const reason: Reason = {
    ...{ name: 'a', reason: 'because it is so everywhere', kinds: ['answer'], at: 'len$', until: '10.2' },
    where: { sync: [shape!.sync] },
  }
  const difference: Difference = { kind: 'answer', asked: 'query-jobs', at: 'return/job/len', ours: '1', theirs: '2' }
  const old = new Reasons('7.2.22 (Debian)', [reason])
  assert.equal(old.unused(), ['a'])
  assert.is(old.explain({ ...difference, at: 'return/job/offset' }, shape!), null)
  assert.is(old.explain({ ...difference, kind: 'progress' }, shape!), null)
  const others = DIMENSIONS.sync.filter((sync) => sync !== shape!.sync)
  assert.is(old.explain(difference, { ...shape!, sync: others[0]! }), null)
  assert.is(old.explain(difference, shape!), 'a')
  assert.equal(old.unused(), [])
  const now = new Reasons('11.1.3', [reason])
  assert.is(now.explain(difference, shape!), null)
  assert.equal(now.unused(), [])
})

test('answers differ in members, values, order and lists', () => {
  const tell = (ours: unknown, theirs: unknown): string[] =>
    treeDifferences(ours as never, theirs as never, '').map(({ at, ours: mine, theirs: other }) => `${at} ${mine} ${other}`)
  assert.equal(tell({ a: 1, b: [1, 2] }, { a: 1, b: [1, 2] }), [])
  assert.equal(tell({ a: 1 }, { a: 2, c: true }), ['a 1 2', 'c absent true'])
  assert.equal(tell({ a: 1, b: 2 }, { b: 2, a: 1 }), ['/order a,b b,a'])
  assert.equal(tell([1, 2], [1]), ['/list   '])
  const [one, other] = [{ event: 'A' }, { event: 'B' }]
  assert.equal(tell([one, other], [other, one]), ['/list A B B A'])
  assert.equal(tell([{ 'node-name': 'n', ro: true }], [{ 'node-name': 'n', ro: false }]), ['/n/ro true false'])
})

test('conversations that go another way are compared up to there', () => {
  const line = (asked: string, said: string): Line => ({ kind: 'guest', asked, said })
  const ours = [line('a', '1'), line('b', '2'), line('c', '3')]
  const theirs = [line('a', '9'), line('x', '2'), line('c', '4')]
  const kinds = compareLines(ours, theirs).map(({ kind, asked }) => `${kind} ${asked}`)
  assert.equal(kinds, ['guest a', 'course a'])
  assert.equal(compareLines(ours, ours), [])
})

test('images are compared by content, soundness and each sector', () => {
  const image = (name: 'source' | 'destination', content: string, ...allocated: number[]): ImageState => ({
    ...{ name, content, check: 'sound' },
    allocated: Uint8Array.from(allocated),
  })
  const ours = [image('source', 'x', 1, 0), image('destination', 'x', 1)]
  const theirs = [image('source', 'x', 0, 1), image('destination', 'y', 1)]
  const tell = (withCopy: boolean): string[] =>
    compareImages(ours, theirs, withCopy).map(({ kind, asked, at }) => `${kind} ${asked} ${at}`)
  assert.equal(tell(true), ['allocation source more', 'allocation source less', 'content destination '])
  assert.equal(tell(false), ['allocation source more', 'allocation source less'])
})

test('ours beside ours differs in nothing, and needs no reason', async () => {
  const folder = makeScratch(os.tmpdir(), 'mt')
  try {
    const ours = new OwnPrograms()
    const plans = PLANS.slice(0, 3)
    const result = await conform(plans, true, [ours, ours], folder, () => {})
    assert.is(result.pairs, 3)
    assert.ok(result.lines > 60)
    assert.equal(result.unexplained, [])
    assert.is(exitCodeOf({ ...result, unused: [] }), 0)
    // Nothing needed any: so many reasons too many.
    assert.ok(result.unused.length > 0)
    assert.is(exitCodeOf(result), 1)
    const difference: Difference = { kind: 'answer', asked: 'query-jobs', at: 'x', ours: '1', theirs: '2' }
    assert.is(exitCodeOf({ ...result, unused: [], unexplained: [{ ...difference, plan: 'c000' }] }), 1)
  } finally {
    removeScratch(folder)
  }
})

test('programs that are absent are said to be, and nothing counts as compared', () => {
  const folder = makeScratch(os.tmpdir(), 'mt')
  const args = ['-r', path.join(ROOT, 'scripts/tsreg.cjs'), path.join(ROOT, 'commands/conformance.ts'), '--json']
  const { status, stdout } = spawnSync(process.execPath, args, { encoding: 'utf8', env: { ...process.env, PATH: folder } })
  removeScratch(folder)
  assert.is(status, 0)
  assert.equal(JSON.parse(stdout), { skipped: 'qemu-storage-daemon is not installed on the path', pairs: 0 })
})

test.run()
