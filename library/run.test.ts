/** What other programs do with worlds: with checkers and faults of their own, and with plans that cannot be run. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { decisionsOf } from '../commands/subject'
import type { CheckerFactory, OwnFault, Plan } from '.'
import * as library from '.'
import {
  checkPlan,
  ERRNO,
  KiB,
  makeReport,
  PlanRefused,
  planOf,
  replayReport,
  runCampaign,
  runPlan,
  runScenario,
  scenario,
  shrinkPlan,
  withFault,
  write,
} from '.'

const refused = (pattern: RegExp) => (error: unknown) => error instanceof PlanRefused && pattern.test(error.message)

/** Finds fault with every write of the guest that is as long as it says. */
const dislikes =
  (lengthBytes: number): CheckerFactory =>
  () => ({
    name: 'dislikes',
    guestCompleted: (operation) =>
      operation.kind === 'write' && operation.lengthBytes === lengthBytes
        ? { class: 'invariant', key: 'dislikes/write', text: 'a write of that length', operationId: operation.id }
        : null,
  })

const noSpace: OwnFault = {
  name: 'no-space',
  about: 'writes find no space',
  promise: 'reported',
  operations: ['write'],
  meet: () => ERRNO.ENOSPC,
}

const calm = scenario({ name: 'calm', bug: 'none', guest: [write('g1', 0, 4 * KiB), write('g2', 8 * KiB, 512)] })

test('a plan of a seed runs twice to one hash, and a decision changes it', () => {
  const plan = planOf('seed', 'default')
  assert.is(checkPlan(plan), null)
  const first = runPlan(plan)
  assert.is(first.failure, null)
  assert.is(runPlan(planOf('seed')).hash, first.hash)
  const [key] = Object.keys(decisionsOf(plan))
  assert.is.not(runPlan(plan, { decisions: { [key!]: 0 } }).hash, first.hash)
})

test('a checker from outside finds, is shrunk, replayed, and gone with the next call', () => {
  const checkers = [dislikes(512)]
  const { failure } = runPlan(calm.plan, { checkers })
  assert.is(failure?.operationId, 'g2')
  assert.is(runPlan(calm.plan).failure, null)
  const small = shrinkPlan(calm.plan, { checkers })
  assert.equal([small.plan.guest.length, small.isMinimal, small.plan.seed], [1, true, ''])
  assert.is(shrinkPlan(calm.plan, { checkers, runsMax: 1 }).isMinimal, false)
  const label = { seed: '', profile: 'scenario', revision: 'unknown', command: 'test' }
  const report = makeReport(small.plan, small.result, label, small.decisions)
  assert.is(replayReport(report, { checkers }).verdict, 'reproduced')
  assert.is(replayReport(report).verdict, 'fixed')
})

test('a report of a world that did not fail is not made', () => {
  const label = { seed: '', profile: 'scenario', revision: 'unknown', command: 'test' }
  assert.throws(() => makeReport(calm.plan, runPlan(calm.plan), label), /only a world that failed has a report/)
})

test('a fault from outside is met where the plan says, and counted in campaigns', () => {
  const plan = withFault(calm.plan, noSpace, { id: 'f1', disk: 'destination', operation: 'write' })
  const { result, differences } = runScenario({ ...calm, plan }, { faults: [noSpace] })
  assert.is(result.faultsFired['f1'], 1)
  assert.equal(differences, ['job error No space left on device, expected null'])
  const change = (one: Plan): Plan => withFault(one, noSpace, { id: 'own', disk: 'destination', operation: 'write', skip: 1 })
  const { worlds, faultsFired, failures } = runCampaign({ seed: 'own', runs: 30, change, faults: [noSpace] })
  assert.equal([worlds, failures.length], [30, 0])
  assert.ok(faultsFired['no-space']! > 10)
})

test('a campaign ends when its caller says so, and keeps what failed', () => {
  const onWorld = (worlds: number): boolean => worlds < 7
  assert.is(runCampaign({ seed: 'x', runs: 100, onWorld }).worlds, 7)
  const { failures } = runCampaign({ seed: 'x', runs: 20, checkers: [dislikes(4096)] })
  assert.is(failures[0]?.key, 'dislikes/write')
  assert.is(runPlan(failures[0]!.found[0]!.plan, { checkers: [dislikes(4096)] }).failure?.key, 'dislikes/write')
})

test('what cannot be run is refused with a reason', () => {
  const spoilt = (plan: Plan): Plan => ({ ...plan, device: { ...plan.device, blockBytes: 7 } })
  assert.throws(() => runPlan(spoilt(calm.plan)), refused(/plan.device.blockBytes: not one of 512, 4096/))
  assert.throws(() => runCampaign({ seed: 'x', runs: 3, change: spoilt }), refused(/x\.0: plan.device.blockBytes/))
  assert.throws(
    () => runPlan(calm.plan, { checkersOff: ['contents'] }),
    refused(/there is no checker contents; give some of content/),
  )
  assert.throws(() => planOf('x', 'dull' as 'default'), refused(/there is no profile dull; give one of default/))
  assert.throws(() => shrinkPlan(calm.plan), refused(/does not fail/))
  const unknown = withFault(calm.plan, noSpace, { id: 'f1', disk: 'source', operation: 'write' })
  assert.throws(() => runPlan(unknown), refused(/no-space is a fault from outside, and is not here/))
})

test('a checker that breaks down is a failure of the harness', () => {
  const broken: CheckerFactory = () => ({
    name: 'broken',
    afterEvent: () => {
      throw new Error('oh')
    },
  })
  assert.is(runPlan(calm.plan, { checkers: [broken] }).failure?.key, 'harness/broken')
})

test('the property of fast-check takes checkers and faults from outside', async () => {
  const fc: typeof import('fast-check') = require('fast-check')
  const property = library.mirrorProperty({ checkers: [dislikes(512)], reportFolder: null })
  const { failed, errorInstance } = fc.check(property, { seed: 7, numRuns: 200 })
  assert.ok(failed && errorInstance instanceof library.WorldFailed)
  assert.is(errorInstance.failure.key, 'dislikes/write')
  const [plan] = fc.sample(
    library.planArbitrary('small', (one) => ({ ...one, profile: 'changed' })),
    1,
  )
  assert.is(plan?.profile, 'changed')
})

test.run()
