// The examples for batch engines: that they can be read, and that their commands, as they stand, come to what one machine does.
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { EXIT_CODES } from '../sim/verdict'
import { EXIT_COVERAGE, EXIT_USAGE } from './cli'

const root = path.resolve(__dirname, '..')
const EXAMPLES = path.join(root, 'examples/batch')
const textOf = (name: string): string => fs.readFileSync(path.join(EXAMPLES, name), 'utf8')
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'batch-'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))

const SHARDS = 2
const RUNS = 128

interface Step {
  uses?: string
  run?: string
}
interface Workflow {
  env: Record<string, unknown>
  jobs: Record<string, { strategy?: { matrix: { shard: number[] } }; steps: Step[] }>
}
interface Container {
  env: ReadonlyArray<{ name: string; value: string }>
  command: string[]
}
interface Job {
  kind: string
  spec: {
    completionMode?: string
    completions: number
    podFailurePolicy: { rules: ReadonlyArray<{ onExitCodes: { values: number[] } }> }
    template: { spec: { containers: [Container] } }
  }
}

const workflow = parse(textOf('github-actions.yml')) as Workflow
const job = parse(textOf('kubernetes.yaml')) as Job
const mergeJob = parse(textOf('kubernetes-merge.yaml')) as Job
const containerOf = ({ spec }: Job): Container => spec.template.spec.containers[0]
const runOf = (name: string): string => workflow.jobs[name]!.steps.find(({ run }) => run?.includes('npm run campaign'))!.run!

test('the shards of each engine are all of them', () => {
  const { shard } = workflow.jobs['shard']!.strategy!.matrix
  const count = Number(workflow.env['SHARDS'])
  assert.equal(
    shard,
    Array.from({ length: count }, (_, index) => index + 1),
  )
  for (const { uses } of Object.values(workflow.jobs).flatMap(({ steps }) => steps)) {
    if (uses !== undefined) assert.match(uses, /^actions\/[a-z-]+@v\d+$/)
  }
  assert.is(job.kind, 'Job')
  assert.is(job.spec.completionMode, 'Indexed')
  assert.is(containerOf(job).env.find(({ name }) => name === 'SHARDS')!.value, String(job.spec.completions))
  const script = textOf('slurm.sh')
  assert.is(/^#SBATCH --array=1-(\d+)$/m.exec(script)![1], /^SHARDS=\$\{SHARDS:-(\d+)\}$/m.exec(script)![1])
})

test('a pod that has found a failure is not tried again', () => {
  const { values } = job.spec.podFailurePolicy.rules[0]!.onExitCodes
  assert.equal(values, [EXIT_USAGE, EXIT_COVERAGE, ...Object.values(EXIT_CODES)])
})

function bash(args: readonly string[], env: Record<string, string | number>): string {
  const numbers = Object.fromEntries(Object.entries(env).map(([name, value]) => [name, String(value)]))
  const { status, stdout, stderr } = spawnSync('bash', args, { cwd: root, encoding: 'utf8', env: { ...process.env, ...numbers } })
  assert.is(status, 0, stderr)
  return stdout
}

const ENGINES: ReadonlyArray<readonly [name: string, shard: string[], part: (at: number) => object, merge: string[]]> = [
  ['GitHub Actions', ['-e', '-c', runOf('shard')], (at) => ({ SHARD: at + 1 }), ['-e', '-c', runOf('merge')]],
  [
    'Kubernetes',
    containerOf(job).command.slice(1),
    (at) => ({ JOB_COMPLETION_INDEX: at }),
    containerOf(mergeJob).command.slice(1),
  ],
  [
    'Slurm',
    [path.join(EXAMPLES, 'slurm.sh')],
    (at) => ({ SLURM_ARRAY_TASK_ID: at + 1, SLURM_CPUS_PER_TASK: 1 }),
    [path.join(EXAMPLES, 'slurm-merge.sh')],
  ],
]

for (const name of fs.readdirSync(EXAMPLES).filter((one) => one.endsWith('.sh'))) {
  test(`${name} is bash`, () => {
    bash(['-n', path.join(EXAMPLES, name)], {})
  })
}

let unsharded = ''
test('a campaign on one machine, to compare with', () => {
  const store = path.join(folder, 'one.sqlite')
  unsharded = bash(['-c', `npm run -s campaign -- --store ${store} --seed batch --runs ${RUNS} --json`], {})
  assert.is(JSON.parse(unsharded).worlds, RUNS)
})

for (const [name, shard, part, merge] of ENGINES) {
  test(`${name}: the shards come to the same`, () => {
    const out = path.join(folder, name.replace(' ', '-'))
    fs.mkdirSync(out)
    const env = { SEED: 'batch', RUNS, SHARDS, OUT: out }
    for (let at = 0; at < SHARDS; at++) bash(shard, { ...env, ...part(at) })
    assert.is(fs.readdirSync(out).length, SHARDS, 'a store each, and nothing else')
    bash(merge, env)
    assert.is(bash(['-c', `npm run -s campaign -- show ${path.join(out, 'whole.sqlite')} --json`], {}), unsharded)
    assert.match(fs.readFileSync(path.join(out, 'campaign.html'), 'utf8'), /^<!doctype html>/)
  })
}

test.run()
