/** Faults that are brought along: they meet what their entry says, are counted by name, and their own mistakes are told apart. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EIO } from '../../impl/co'
import type { OwnFaultPlan, Plan } from '../plan'
import { checkPlan } from '../plan_check'
import { smallPlan } from '../testing'
import { runWorld } from '../world'
import { faultOf, type OwnFault } from '.'

const FAULT: OwnFault = {
  name: 'grumble',
  about: 'writes of some chunk fail',
  promise: 'reported',
  operations: ['write'],
  meet: ({ settings }, { offsetBytes }) => (offsetBytes === settings!['atBytes'] ? EIO : null),
}
const ENTRY: OwnFaultPlan = {
  id: 'f1',
  kind: 'own',
  name: 'grumble',
  promise: 'reported',
  disk: 'destination',
  operation: 'write',
  offsetBytes: 0,
  lengthBytes: 16384,
  skip: 0,
  times: 1000,
  settings: { atBytes: 0 },
}
const planWith = (change: Partial<OwnFaultPlan> = {}): Plan => smallPlan({ version: 6, faults: [{ ...ENTRY, ...change }] })

test('it meets the requests that its entry says, and counts them under its name', () => {
  assert.is(checkPlan(planWith(), [FAULT]), null)
  const { failure, end, faultsFired, probes } = runWorld(planWith(), { faults: [FAULT] })
  assert.is(failure, null)
  assert.is(end.jobError, 'Input/output error')
  assert.ok(faultsFired['f1']! > 0)
  assert.is(probes['fault/grumble'], faultsFired['f1'])
  assert.is(runWorld(planWith({ settings: { atBytes: 1 } }), { faults: [FAULT] }).end.jobError, null)
})

test('what its code throws is no fault of the stack', () => {
  const broken: OwnFault = {
    ...FAULT,
    meet: () => {
      throw new TypeError('no such thing')
    },
  }
  const { failure } = runWorld(planWith(), { faults: [broken] })
  assert.equal([failure?.class, failure?.key], ['harness', 'harness/grumble'])
  assert.match(failure!.text, 'the fault grumble broke down: no such thing')
  assert.match(runWorld(planWith(), {}).failure!.text, 'nobody has brought the fault grumble along')
})

test('an entry says what its fault says', () => {
  assert.is(checkPlan(planWith({ promise: 'silent' }), [FAULT]), 'plan.faults[0].promise: grumble says reported')
  assert.is(checkPlan(planWith({ operation: 'flush' }), [FAULT]), 'plan.faults[0].operation: not one of write')
  const job = { ...planWith(), monitor: { users: [], link: { capacityBytes: 1, stepNs: 0, steps: 1, isCut: false } } }
  assert.is(checkPlan(job, [FAULT]), 'plan.faults[0]: only worlds of mirrors know faults from outside')
  const excused = (promise: OwnFaultPlan['promise']): string[] =>
    faultOf({ ...ENTRY, promise }).excuses.map(({ checker }) => checker)
  assert.equal(excused('survived'), [])
  assert.equal(excused('reported'), ['sparseness', 'qcow2'])
  assert.ok(excused('silent').includes('content'))
})

test.run()
