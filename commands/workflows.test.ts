/** The workflows that lie ready: YAML that says what it should, and commands that exist. */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'

const ROOT = path.join(__dirname, '..')
const FOLDER = path.join(ROOT, '.github/workflows')

interface Step {
  uses?: string
  run?: string
}
interface Workflow {
  on: object
  permissions: Record<string, string>
  env?: Record<string, number>
  jobs: Record<string, { strategy?: { matrix: { shard: number[] } }; steps: Step[] }>
}

function workflow(name: string): Workflow {
  return parse(fs.readFileSync(path.join(FOLDER, name), 'utf8')) as Workflow
}

for (const name of fs.readdirSync(FOLDER)) {
  test(`${name} runs commands that there are, and only actions of GitHub's own`, () => {
    const { jobs, permissions } = workflow(name)
    const { scripts } = JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>
    }
    assert.equal(permissions, { contents: 'read' })
    const steps = Object.values(jobs).flatMap((job) => job.steps)
    for (const { uses, run } of steps) {
      if (uses !== undefined) assert.match(uses, /^actions\/[a-z-]+@v\d+$/)
      for (const [, script] of (run ?? '').matchAll(/npm run ([a-z:]+)/g)) assert.ok(Object.hasOwn(scripts, script!), script)
    }
    assert.ok(steps.some(({ run }) => run?.startsWith('npm run gate')))
  })
}

test('the ranges of the machines of a night do not overlap', () => {
  const { jobs, env } = workflow('nightly.yml')
  const { strategy, steps } = jobs['worlds']!
  const shards = strategy!.matrix.shard
  assert.equal(shards, [...shards.keys()])
  const command = steps.find(({ run }) => run?.includes('npm run fuzz'))!.run!
  assert.match(command, /--first \$\(\( \$\{\{ matrix\.shard \}\} \* WORLDS \)\) --runs \$WORLDS/)
  assert.ok(env!['WORLDS']! > 0)
})

test.run()
