import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { runJob } from '../sim/job_run'
import { checkPlan } from '../sim/plan_check'
import { jobPlanOfSeed } from './plans/jobs'

const SEEDS = 160

test('commits, streams and backups keep what guests were told, whatever is ordered and whatever fails', () => {
  const seen: Record<string, number> = {}
  for (let index = 0; index < SEEDS; index++) {
    const plan = jobPlanOfSeed(`jobs.${index}`)
    assert.is(checkPlan(plan), null)
    const { failure, probes, hash } = runJob(plan)
    assert.is(failure, null, `jobs.${index}: ${failure?.key} ${failure?.text}`)
    if (index % 10 === 0) assert.is(runJob(plan).hash, hash)
    for (const name of Object.keys(probes)) seen[name] = (seen[name] ?? 0) + 1
  }
  const wanted = ['commit', 'active-commit', 'stream', 'backup'].map((kind) => `job/${kind}-completed`)
  for (const name of [...wanted, 'job/error', 'order/pause', 'order/drain']) {
    assert.ok((seen[name] ?? 0) > 2, `${name}: ${JSON.stringify(seen)}`)
  }
})

test.run()
