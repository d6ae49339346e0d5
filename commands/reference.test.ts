/** The reference is as it would be written today, and leaves nothing out: no option, no field without a meaning. */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { main, referenceText, TYPE_FILES, withCommandTable } from './reference'
import { definedCommands, leavesOf } from './reference/commands'
import { type DescribedType, type Field, TypeSources } from './reference/fields'
import { exportedNames } from './reference/library'
import { recorder } from './testing'

const root = path.resolve(__dirname, '..')
const types = new TypeSources(TYPE_FILES).reachable('Report')
const typeNamed = (name: string): DescribedType => types.find((one) => one.name === name)!

test('docs/reference.md and the table of the README are as they would be written', async () => {
  const err = recorder()
  assert.is(await main(['--check'], { out: recorder(), err }), 0, err.text())
})

test('what was changed since is noticed', () => {
  const readme = fs.readFileSync(path.join(root, 'README.md'), 'utf8')
  assert.is(withCommandTable(readme), readme)
  const old = readme.replace(/^\| `npm run replay`.*\n/m, '')
  assert.is.not(old, readme)
  assert.is(withCommandTable(old), readme)
  assert.throws(() => withCommandTable('# another file'), /README.md has no lines <!-- commands/)
  const reference = referenceText()
  assert.match(reference, /^\| `--replay-share <percent>` \| 0 to 100 \| 5 \| share of the worlds/m)
  assert.match(reference, /^\| `step` \| number \| count \| Number of the event after which it was found. \|$/m)
  assert.not.match(reference, root)
})

test('each command says what it does, and what each option means', () => {
  const leaves = definedCommands().flatMap(({ script, command }) => leavesOf(command).map((leaf) => ({ script, leaf })))
  const dumb = leaves.flatMap(({ script, leaf }) => [
    ...(leaf.description().length < 20 ? [script] : []),
    ...leaf.options.filter(({ description }) => description === '').map(({ flags }) => `${script} ${flags}`),
    ...leaf.registeredArguments.filter(({ description }) => description === '').map((one) => `${script} ${one.name()}`),
  ])
  assert.equal(dumb, [])
})

test('each field of a report and of a plan says what it means', () => {
  const dumb = types.flatMap(({ name, fields }) =>
    fields.filter(({ meaning }) => meaning === '').map((field: Field) => `${name}.${field.name}`),
  )
  assert.equal(dumb, [])
  assert.ok(types.length > 35, `${types.length} types`)
})

test('each name of the library says what it is', () => {
  const names = exportedNames()
  assert.equal(
    names.filter(({ meaning }) => meaning === '').map(({ name }) => name),
    [],
  )
  assert.ok(names.length > 70, `${names.length} names`)
  const { signature } = names.find(({ name }) => name === 'planOf')!
  assert.is(signature, "planOf(seed: string, profile: ProfileName = 'default'): Plan")
})

test('types, units, comments and variants are read from the sources', () => {
  assert.equal(typeNamed('Report').fields.find(({ name }) => name === 'trace.timeNs')?.unit, 'ns')
  assert.is(typeNamed('Report').fields.find(({ name }) => name === 'version')?.type, '1')
  assert.is(typeNamed('ThrottlePlan').fields.find(({ name }) => name === 'bytesPerSecond')?.unit, 'bytes/s')
  assert.equal(typeNamed('ErrorFaultPlan').extends, ['OccasionPlan'])
  const resize = typeNamed('ControlOperation').variants.find(({ type }) => type.includes('resize'))
  assert.match(resize!.meaning, /refused as long as a mirror depends on it/)
  assert.equal(typeNamed('DiskName').variants, [
    { type: 'source', meaning: '' },
    { type: 'destination', meaning: '' },
  ])
  assert.throws(() => new TypeSources(TYPE_FILES).reachable('Nothing'), /there is no type Nothing/)
})

test.run()
