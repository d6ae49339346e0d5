// The same from CommonJS: a scenario of our own, with a fault that is told as an error: npm run start:cjs
const assert = require('node:assert/strict')
const { ERRNO, KiB, runScenario, scenario, withFault, write } = require('mirrorsim')

/** Which requests it meets, and how often, is said by the entry of the plan; so are its settings.
 * @type {import('mirrorsim').OwnFault} */
const fullFault = {
  name: 'full-from-here',
  about: 'writes behind a line find no space',
  promise: 'reported',
  operations: ['write'],
  meet: ({ settings }, { offsetBytes }) => (offsetBytes >= (settings?.lineBytes ?? 0) ? ERRNO.ENOSPC : null),
}

/** The guest must be told of no error: the disk that fails is the copy. @type {import('mirrorsim').CheckerFactory} */
const calmChecker = () => ({
  name: 'calm',
  guestCompleted: ({ id }, status) =>
    status === 0 ? null : { class: 'invariant', key: 'calm/told-of-an-error', text: `${id} failed`, operationId: id },
})

const plain = scenario({
  name: 'copy-runs-out-of-space',
  bug: 'an error of the copy reaches the guest',
  guest: [write('g1', 0, 4 * KiB), write('g2', 64 * KiB, 4 * KiB)],
  expected: { jobError: 'No space left on device', guestOperationsDone: 2, allFaultsFire: true },
})
/** @type {import('mirrorsim').FaultOccasion} */
const occasion = { id: 'f1', disk: 'destination', operation: 'write', times: 100, settings: { lineBytes: 64 * KiB } }
const plan = withFault(plain.plan, fullFault, occasion)

const { result, differences } = runScenario({ ...plain, plan }, { faults: [fullFault], checkers: [calmChecker] })
assert.deepEqual(differences, [])
console.log(`${plain.name}: as expected after ${result.events} events: the job ends with "${result.end.jobError}"`)
