import * as fs from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { FAULTS } from '../sim/faults'
import { FAULT_TABLE, faultTable } from './fault_table'

test('the table of faults in the docs is what the faults say of themselves', () => {
  assert.is(fs.readFileSync(FAULT_TABLE, 'utf8'), faultTable())
})

test('each fault has a row', () => {
  for (const { name } of FAULTS) assert.ok(faultTable().includes(`| ${name} | `), name)
})

test.run()
