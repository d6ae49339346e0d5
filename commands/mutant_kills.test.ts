import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SCENARIOS } from '../scenarios'
import { knownCount, labelOfWorld, worldOfLabel } from './known_worlds'
import { readMutants } from './mutant_catalogue'
import { readKills, writeKills } from './mutant_kills'

test('worlds keep their names: scenarios, the corpus, and the numbers of a seed', () => {
  assert.is(labelOfWorld(0), SCENARIOS[0]!.name)
  assert.match(labelOfWorld(knownCount() - 1), /^corpus\/.*\.json$/)
  assert.is(labelOfWorld(knownCount() + 7), '#7')
  for (const index of [0, knownCount() - 1, knownCount(), knownCount() + 7]) assert.is(worldOfLabel(labelOfWorld(index)), index)
  assert.is(worldOfLabel('a scenario that was given up'), null)
})

test('a record is read as it was written, in order of the ids', () => {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'kills-')), 'kills.json')
  writeKills({ b: '#1', a: 'x' }, file)
  assert.is(fs.readFileSync(file, 'utf8'), '{\n  "a": "x",\n  "b": "#1"\n}\n')
  assert.equal(readKills(file), { a: 'x', b: '#1' })
  fs.writeFileSync(file, '{"a": 3}')
  assert.throws(() => readKills(file), /not a world's name/)
  fs.rmSync(path.dirname(file), { recursive: true })
})

test('the record names mutants that there are, and worlds that there are', () => {
  const ids = readMutants(path.join(__dirname, '../scenarios/mutants')).map(({ id }) => id)
  for (const [id, world] of Object.entries(readKills())) {
    assert.ok(ids.includes(id), `${id} is no mutant; make the record again with npm run mutants -- --record`)
    assert.ok(worldOfLabel(world) !== null, `${world} is no world`)
  }
})

test.run()
