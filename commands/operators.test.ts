import * as fs from 'node:fs'
import * as path from 'node:path'
import * as ts from 'typescript'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EQUIVALENTS_FILE, Equivalents, readEquivalents, staleEquivalents } from './operator_equivalents'
import { mutantsOf, type OperatorMutant, withSwitches } from './operator_mutants'
import { countOutcomes, type OperatorOutcome, survivorLines, tableLines } from './operator_table'
import { filesOf, main, sampleOf } from './operators'

const root = path.resolve(__dirname, '..')

/** `operator: from -> to` of every mutant. */
function changes(text: string): string[] {
  return mutantsOf('x.ts', text).map(({ operator, from, to }) => `${operator}: ${from} -> ${to}`)
}

test('each kind of operator is changed in its way', () => {
  assert.equal(changes('const a = b < c'), ['boundary: b < c -> b <= c'])
  assert.equal(changes('const a = b === c'), ['equality: b === c -> b !== c'])
  assert.equal(changes('const a = b ?? c'), ['logical: b ?? c -> b', 'logical: b ?? c -> c'])
  assert.equal(changes('const a = b * (c + d)'), ['arithmetic: b * (c + d) -> b / (c + d)', 'arithmetic: c + d -> c - d'])
  assert.equal(changes('const a = Math.min(b, c)'), ['min-max: Math.min(b, c) -> Math.max(b, c)'])
  assert.equal(changes('const a = b.slice(7)').slice(0, 2), ['method: b.slice(7) -> b', 'number: 7 -> 8'])
  assert.equal(changes('a += b'), ['statement-removal: a += b -> ', 'assignment: a += b -> a -= b'])
  assert.equal(changes('function* f() { yield* g() }'), ['yield-removal: yield* g() -> '])
  assert.equal(changes('function f(): Errno { return g() }'), ['return-value: g() -> 0'])
  assert.equal(changes('function f(): boolean { return a(b) }'), ['return-value: a(b) -> !(a(b))'])
})

test('operands keep together, whatever the new operator binds', () => {
  assert.ok(changes('const a = b || c || d').includes('logical: b || c || d -> (b || c) && d'))
})

test('an if that does one thing is left out as a whole', () => {
  const removals = changes('function f() { if (a) return; b() }').filter((change) => /^(statement|call)-removal/.test(change))
  assert.equal(removals, ['statement-removal: if (a) return; -> ', 'call-removal: b() -> '])
})

test('assertions, what is thrown, texts and types are left alone', () => {
  for (const text of [
    "assert(a < b, 'name', () => String(a + 1))",
    "if (a) throw new Error('a' + 1)",
    'class A { describe(): string { return a < b ? c : d } }',
    'type T = 1 | 2',
    'enum E { A = 1 }',
    'const a = `x $' + '{b + 1}`',
    "import { a } from 'b'",
  ]) {
    const found = changes(text).filter((change) => !change.includes('if (a)') && !change.startsWith('negated-condition: a ->'))
    assert.equal(found, [], text)
  }
})

test('ids tell the place and the change, and no two are the same', () => {
  const file = 'impl/block/dirty_bitmap.ts'
  const mutants = mutantsOf(file, fs.readFileSync(path.join(root, file), 'utf8'))
  assert.is(new Set(mutants.map(({ id }) => id)).size, mutants.length)
  assert.match(mutants[0]!.id, /^impl\/block\/dirty_bitmap\.ts:\d+:\d+:[a-z-]+:[0-9a-f]{8}$/)
})

/** What a text evaluates to with one mutant on. */
function evaluate(text: string, active: number): unknown {
  const slots = { is: `((number: number) => number === ${active})` }
  const { outputText } = ts.transpileModule(withSwitches('x.ts', text, 0, slots), {
    compilerOptions: { target: ts.ScriptTarget.ES2022 },
  })
  return new Function(`${outputText}\nreturn f`)()
}

const SAMPLE = `
function f(a: number, b: number): number {
  let sum = 0
  for (let i = a; i < b; i++) {
    if (i % 2 === 0) continue
    sum += i
  }
  const list = [3, 1].sort()
  return sum + Math.max(...list) - list[0]!
}`

test('the text with switches is the text as it stands with none on, and each mutant with its own', () => {
  const f = (active: number): unknown => {
    try {
      return (evaluate(SAMPLE, active) as (a: number, b: number) => number)(1, 6)
    } catch (error) {
      return String(error)
    }
  }
  const mutants = mutantsOf('x.ts', SAMPLE)
  assert.is(f(-1), 11)
  // A loop that counts down never ends; everything else may be run.
  const others = mutants.flatMap(({ operator }, number) => (operator === 'update' ? [] : [number]))
  const changed = others.filter((number) => f(number) !== 11)
  assert.ok(changed.length > others.length / 2, `${changed.length} of ${others.length}`)
  const boundary = mutants.findIndex(({ to }) => to === 'i <= b')
  assert.is(f(boundary), 11, '6 is even')
  assert.is(f(mutants.findIndex(({ to }) => to === 'sum -= i')), -7)
})

test('a pure expression is looked at in both ways, and what has effects is not', () => {
  const text = withSwitches('x.ts', 'const a = b < c\nconst d = e() < f\nconst g = ++h < i', 0, { is: 'x', seen: 'y' })
  assert.match(text, '$seen(0,()=>(b <= c),(b < c))')
  assert.match(text, '$is(1)?(e() <= f):(e() < f)')
  assert.match(text, '$is(2)?(++h <= i):')
})

test('lines stay where they are', () => {
  assert.is(withSwitches('x.ts', SAMPLE, 0, { is: 'x' }).split('\n').length, SAMPLE.split('\n').length)
})

test('every text with switches in jobs and bitmaps is TypeScript', () => {
  for (const file of filesOf(['impl/jobs', 'impl/block/dirty_bitmap.ts', 'impl/virtio'])) {
    const text = withSwitches(file, fs.readFileSync(path.join(root, file), 'utf8'), 0, { is: 'x', seen: 'y' })
    const options = { reportDiagnostics: true, compilerOptions: { target: ts.ScriptTarget.ES2022 } }
    assert.equal(ts.transpileModule(text, options).diagnostics, [], file)
  }
})

const mutant: OperatorMutant = mutantsOf('a.ts', 'function f(): void { if (b < c) g() }')[2]!
const outcome: OperatorOutcome = { mutant, kill: null, equivalent: null, reach: 3 }
const kill = { by: 'a test', kind: 'test', class: 'test' } as const

test('equivalents are not counted, unless they are found', () => {
  const outcomes = [outcome, { ...outcome, kill }, { ...outcome, equivalent: 'because' }]
  const { mutants, survived, tests, equivalent, score, refuted } = countOutcomes(outcomes)
  assert.equal([mutants, survived, tests, equivalent, score, refuted], [3, 1, 1, 1, 50, 0])
  assert.is(countOutcomes([{ ...outcome, kill, equivalent: 'because' }]).refuted, 1)
  assert.match(tableLines(outcomes).at(-1)!, /^all +3 +1 +0 +0 +1 +1 +50\.0 %$/)
})

test('a survivor is shown as a change of the text', () => {
  assert.equal(survivorLines(outcome), ['a.ts:1:26 negated-condition in f: 3 come by it', '  - b < c', '  + !(b < c)'])
})

test('equivalents are found by what they are, and every entry still matches', () => {
  const entry = { ...mutant, reason: 'nobody calls this function' }
  assert.is(new Equivalents([entry]).reasonOf({ ...mutant, line: 77, id: 'moved' }), entry.reason)
  assert.is(new Equivalents([entry]).reasonOf({ ...mutant, to: 'b > c' }), null)
  assert.equal(staleEquivalents([entry], []), [entry])
  const list = readEquivalents(root)
  const files = [...new Set(list.map(({ file }) => file))]
  const mutants = files.flatMap((file) => mutantsOf(file, fs.readFileSync(path.join(root, file), 'utf8')))
  const stale = staleEquivalents(list, mutants).map(({ file, within, from, to }) => `${file} ${within}: ${from} -> ${to}`)
  assert.equal(stale, [], `${EQUIVALENTS_FILE}: the code has moved on; look at the argument again`)
})

test('a sample is the same each time', () => {
  const many = mutantsOf('x.ts', SAMPLE)
  assert.equal([...sampleOf(many, 5)], [...sampleOf([...many].reverse(), 5)])
  assert.is(sampleOf(many, 1e6).size, many.length)
})

test('paths without anything to change are refused', async () => {
  assert.throws(() => filesOf(['impl/nowhere']), /there is no file or folder 'impl\/nowhere'/)
  assert.throws(() => filesOf(['docs']), /has no file to change anything in/)
  let text = ''
  const streams = { out: { write: () => {} }, err: { write: (more: string) => (text += more) } }
  assert.is(await main([], streams), 2)
  assert.match(text, /missing required argument 'paths'/)
})

test.run()
