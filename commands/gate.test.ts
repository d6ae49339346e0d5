import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { main, STEPS } from './gate'
import { fastMutants } from './gate/net_step'
import { coverageCases, readKept, speedCase } from './gate/ratchet_step'
import { recorder } from './testing'

async function gate(...args: string[]): Promise<{ code: number; out: string; err: string; folder: string }> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mirrorsim-gate-'))
  const [out, err] = [recorder(), recorder()]
  const code = await main(['--artifacts', folder, ...args], { out, err })
  return { code, out: out.text(), err: err.text(), folder }
}

test('known worlds pass, and the folder says so in every format', async () => {
  const { code, out, folder } = await gate('--only', 'corpus,scenarios', '--commit', 'abc')
  try {
    assert.is(code, 0, out)
    assert.match(out, /^ok {6}corpus/)
    const { commit, steps, isWhole } = JSON.parse(fs.readFileSync(path.join(folder, 'summary.json'), 'utf8'))
    assert.equal([commit, steps.length, isWhole], ['abc', 2, true])
    assert.match(
      fs.readFileSync(path.join(folder, 'junit.xml'), 'utf8'),
      /<testsuite name="scenarios" tests="\d{3}" failures="0"/,
    )
    assert.equal(JSON.parse(fs.readFileSync(path.join(folder, 'gate.sarif'), 'utf8')).runs[0].results, [])
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
})

test('the worlds of a commit are found to fail with a bug planted, each kind with report, page and command', async () => {
  process.env['MIRRORSIM_MUTANT'] = 'discard-not-marked'
  const { code, out, folder } = await gate('--only', 'worlds', '--commit', 'planted', '--scale', '0.005', '--workers', '1')
  delete process.env['MIRRORSIM_MUTANT']
  try {
    assert.is(code, 1, out)
    assert.match(out, /chunks\/clean-chunk-differs: chunk \d+ is neither/)
    const [, report] = /npm run replay -- (.*\.json)/.exec(out) ?? []
    assert.ok(report?.startsWith(folder), out)
    assert.ok(fs.existsSync(report!) && fs.existsSync(report!.replace(/\.json$/, '.html')), report)
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
})

test('bad use is one line and exit code 2', async () => {
  const { code, err, folder } = await gate('--only', 'nothing')
  fs.rmSync(folder, { recursive: true })
  assert.is(code, 2)
  assert.match(err, /There is no step "nothing"; there are corpus, /)
})

test('steps have names of their own and budgets that are no times', () => {
  assert.is(new Set(STEPS.map(({ name }) => name)).size, STEPS.length)
  for (const step of STEPS) assert.not.match(step.budget({ scale: 1 }), /second|minute/)
})

test('the fast tier takes known worlds first, then those with the lowest numbers, and nothing unknown', () => {
  assert.equal(fastMutants({ a: '#150', b: 'a scenario', c: '#7', d: '#201' }, ['a', 'b', 'c', 'd', 'e']), ['b', 'c', 'a'])
})

test('coverage and speed are held against what is kept, with some slack', () => {
  const kept = { coverage: { lines: 90, branches: 80, functions: 70 }, worldsPerLoop: 10 }
  const total = { lines: { pct: 89.8 }, branches: { pct: 79.5 }, functions: { pct: 99 } }
  assert.equal(
    coverageCases(total, kept, '').map(({ failure }) => failure?.key ?? null),
    [null, 'coverage/branches', null],
  )
  assert.is(speedCase(6.6, kept.worldsPerLoop, 0).failure, null)
  assert.is(speedCase(6.4, kept.worldsPerLoop, 0).failure?.class, 'performance')
  assert.ok(readKept().worldsPerLoop > 0)
})

test.run()
