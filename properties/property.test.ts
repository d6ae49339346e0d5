import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { readReport } from '../reports/format'
import type { CheckerFactory } from '../sim/observer'
import { mirrorProperty, PROFILES, type ProfileName, WorldFailed } from '.'

for (const profile of Object.keys(PROFILES) as ProfileName[]) {
  test(`worlds of the ${profile} profile keep every promise`, () => {
    fc.assert(mirrorProperty({ profile }), { seed: 1, numRuns: 60 })
  })
}

test('a promise that worlds break is reported with its finding, on a plan shrunk to what it needs', () => {
  const noZeroing: CheckerFactory = () => ({
    name: 'no-zeroing',
    guestSubmitted: ({ kind }) =>
      kind === 'write-zeroes' ? { class: 'content', key: 'no-zeroing/zeroed', text: 'the guest zeroed something' } : null,
  })
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mirrorsim-bridge-'))
  try {
    const property = mirrorProperty({ checkers: [noZeroing], reportFolder: folder })
    const details = fc.check(property, { seed: 1, numRuns: 50 })
    assert.ok(details.failed)
    const error = details.errorInstance as WorldFailed
    assert.instance(error, WorldFailed)
    assert.is(error.failure.key, 'no-zeroing/zeroed')
    const [plan] = details.counterexample!
    assert.equal(
      plan.guest.map(({ kind }) => kind),
      ['write-zeroes'],
    )
    const reading = readReport(error.reportFile!)
    assert.ok(reading.ok)
    assert.equal(reading.report.plan, plan)
    assert.match(error.message, `npm run replay -- ${error.reportFile}`)
    assert.throws(
      () => fc.assert(mirrorProperty({ checkers: [noZeroing], reportFolder: folder }), { seed: 1, numRuns: 50 }),
      (thrown: Error) => thrown.message.includes(error.reportFile!) || String(thrown.cause).includes(error.reportFile!),
    )
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
})

test('a report that cannot be written is no reason to pass', () => {
  const never: CheckerFactory = () => ({
    name: 'never',
    guestSubmitted: () => ({ class: 'content', key: 'never/asked', text: 'the guest asked for something' }),
  })
  const file = path.join(os.tmpdir(), `mirrorsim-no-folder-${process.pid}`)
  fs.writeFileSync(file, '')
  try {
    const { failed, errorInstance } = fc.check(mirrorProperty({ checkers: [never], reportFolder: file }), {
      seed: 1,
      numRuns: 50,
    })
    assert.ok(failed)
    assert.is((errorInstance as WorldFailed).reportFile, null)
    assert.match((errorInstance as WorldFailed).message, /cannot be written/)
  } finally {
    fs.rmSync(file)
  }
})

test.run()
