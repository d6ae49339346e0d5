// Runs worlds with the checker and the fault, makes what fails small, writes a report and replays it: npm start
import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { failureText, makeReport, readReport, replayReport, runCampaign, shrinkPlan, withFault, writeReport } from 'mirrorsim'
import { damageChecker } from './damage_checker.mjs'
import { swapFault } from './swap_fault.mjs'

const RUNS = 300
const seed = 'own-checker'
const quiet = runCampaign({ seed, runs: RUNS, checkers: [damageChecker] })
assert.equal(quiet.failures.length, 0)
console.log(`${quiet.worlds} worlds without the fault: nothing to be found, hash ${quiet.hash}`)

/** Puts the fault into any plan whose disks have no format. @param {import('mirrorsim').Plan} plan */
const change = (plan) =>
  plan.destination.format === undefined
    ? withFault(plan, swapFault, { id: 'swap', disk: 'destination', operation: 'write', times: 3 })
    : plan
const faults = [swapFault]

const excused = runCampaign({ seed, runs: RUNS, change, faults })
assert.equal(excused.failures.length, 0)
assert.ok((excused.faultsFired[swapFault.name] ?? 0) > 0)
console.log(
  `with the fault, which fired ${excused.faultsFired[swapFault.name]} times: what it hit is left out, nothing else is wrong`,
)

const found = runCampaign({ seed, runs: RUNS, change, faults, checkers: [damageChecker] })
const first = found.failures.find(({ key }) => key === 'damage/copy-differs')?.found[0]
if (first === undefined) throw new Error('the checker has not found anything')

const options = { faults, checkers: [damageChecker] }
const small = shrinkPlan(first.plan, options)
const label = { seed: first.seed, profile: first.plan.profile, revision: 'unknown', command: 'npm start' }
const report = makeReport(small.plan, small.result, label, small.decisions)
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'own-checker-'))
const file = path.join(folder, 'report.json')
writeReport(file, report)

const reading = readReport(file, faults)
if (!reading.ok) throw new Error(reading.reason)
assert.equal(replayReport(reading.report, options).verdict, 'reproduced')
// Without the fault's code the report is refused, and says why.
const refused = readReport(file)
assert.match(refused.ok ? '' : refused.reason, /swapped-sectors is a fault from outside/)
fs.rmSync(folder, { recursive: true })
console.log(`\nwith the checker, made small in ${small.runs} worlds:\n\n${failureText(report, null)}`)
