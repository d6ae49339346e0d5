/** The sweep of the floating-point instructions as a command: what it counts, and what it calls a failure. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { OPERATIONS } from '../impl/machine/softfloat/testing_operations'
import { main } from './softfloat'
import { recorder } from './testing'

test('tries each operation as often as asked', async () => {
  const out = recorder()
  assert.is(await main(['--count', '20', '--json'], { out, err: recorder() }), 0)
  const { rows, exitCode } = JSON.parse(out.text())
  assert.is(exitCode, 0)
  assert.equal(
    rows,
    OPERATIONS.map(({ name }) => ({ operation: name, cases: 20, difference: null })),
  )
})

test('tells of the first difference, and fails', async () => {
  const operation = OPERATIONS.find(({ name }) => name === 'fclass.s')!
  const { run } = operation
  const out = recorder()
  operation.run = () => 3
  try {
    assert.is(await main(['--count', '20', 'fclass.s', 'feq.s'], { out, err: recorder() }), 1)
  } finally {
    operation.run = run
  }
  assert.match(
    out.text(),
    /^2 operations, 40 cases, 1 difference\n {2}fclass\.s 0x[0-9a-f]+, mode 0: 0x3 with flags 0, expected 0x/,
  )
})

test('refuses an operation that there is not', async () => {
  const err = recorder()
  assert.is(await main(['fadd.q'], { out: recorder(), err }), 2)
  assert.match(err.text(), /there is no operation 'fadd\.q'; there are: fadd\.s, fsub\.s/)
})

test('measures instead, where asked', async () => {
  const out = recorder()
  assert.is(await main(['--speed', 'fadd.d', '--json'], { out, err: recorder() }), 0)
  const [row] = JSON.parse(out.text()).rows
  assert.is(row.operation, 'fadd.d')
  assert.ok(row.integerNs > 0 && row.hostNs > 0, out.text())
})

test.run()
