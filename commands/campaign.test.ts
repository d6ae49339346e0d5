// The program as people start it, with a planted bug, and killed.
import { spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { KEPT_PER_KEY } from '../properties/campaign'
import { readLedger } from './campaign/merge'
import { startPostgres } from './campaign/testing_postgres'

const root = path.resolve(__dirname, '..')
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'campaign-'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))

const MUTANT = 'discard-not-marked'

interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
  /** Since the first words on the error stream. */
  talkedMs: number
  out: string
  err: string
}

interface Kill {
  /** After the first words on the error stream. */
  killMs: number
  signal?: NodeJS.Signals
}

/** Without `kill` it comes to its end. */
function campaign(args: readonly string[], kill?: Kill): Promise<Ended> {
  const words = ['-r', path.join(root, 'scripts/tsreg.cjs'), path.join(root, 'commands/campaign.ts'), ...args]
  const child = spawn(process.execPath, words, { cwd: folder, env: { ...process.env, MIRRORSIM_MUTANT: MUTANT } })
  let [out, err, startMs] = ['', '', 0]
  child.stdout.on('data', (text) => {
    out += text
  })
  child.stderr.on('data', (text) => {
    if (err === '') startMs = performance.now()
    if (err === '' && kill !== undefined) setTimeout(() => child.kill(kill.signal ?? 'SIGKILL'), kill.killMs)
    err += text
  })
  return new Promise((resolve) =>
    child.on('close', (code, signal) => {
      resolve({ code, signal, talkedMs: performance.now() - startMs, out, err })
    }),
  )
}

const KILLS = 10
/** On a machine that has become slower since it was measured, ten may come before anything was found. */
const KILLS_MAX = 20
const RUNS = ['--seed', 'kill', '--runs', '448', '--workers', '1']

/** Keys of the store, how often each was counted, and the largest failure that is kept. */
async function failuresIn(place: string): Promise<Map<string, { count: number; bytes: number }>> {
  const { tally } = await readLedger(place)
  const bytes = (plan: unknown): number => JSON.stringify(plan).length
  return new Map(
    tally.groups.map(({ key, count, found }) => {
      const full = found.length === Math.min(count, KEPT_PER_KEY)
      return [key, { count, bytes: full ? Math.max(...found.map(({ plan }) => bytes(plan))) : Number.NaN }]
    }),
  )
}

/** How long a campaign takes from its first words to the end of its first worlds, on this machine as busy as it is. */
async function measuredMs(): Promise<number> {
  const { talkedMs } = await campaign(['--store', path.join(folder, 'measured.sqlite'), '--runs', '32', '--workers', '1'])
  fs.rmSync(path.join(folder, 'measured.sqlite'))
  return talkedMs
}

/** Gives the number of worlds that are done at the end. */
async function killedAgainAndAgain(place: string): Promise<number> {
  let killMsMax = 2 * (await measuredMs())
  let known: Awaited<ReturnType<typeof failuresIn>> = new Map()
  for (let kills = 1; kills <= KILLS || (known.size === 0 && kills <= KILLS_MAX); kills++) {
    if (kills > KILLS) killMsMax *= 1.5
    const killMs = Math.floor(Math.random() * killMsMax)
    const { signal, err } = await campaign(['--store', place, '--seed', 'kill', '--workers', '1'], { killMs })
    assert.is(signal, 'SIGKILL', `it was to be killed after ${killMs} ms: ${err}`)
    const now = await failuresIn(place)
    for (const [, key] of err.matchAll(/failure (\S+) in world/g)) assert.ok(now.has(key!), `${key}, told before kill ${kills}`)
    for (const [key, { count, bytes }] of known) {
      const after = now.get(key)
      assert.ok(after !== undefined && after.count >= count, `${key} after kill ${kills}`)
      // Kept failures give way to smaller ones alone.
      if (count >= KEPT_PER_KEY) assert.ok(after.bytes <= bytes, `${key}: ${after.bytes} bytes were ${bytes}`)
      assert.not.ok(Number.isNaN(after.bytes), `${key}: fewer are kept than there were`)
    }
    known = now
  }
  assert.ok(known.size > 0, 'there are failures')
  return (await readLedger(place)).tally.worlds
}

/** Killed, a campaign comes to the same as another of as many worlds that was not. */
async function killedAndWhole(place: string, wholePlace: string): Promise<void> {
  const worlds = (await killedAgainAndAgain(place)) + 64
  const runs = ['--seed', 'kill', '--workers', '1', '--runs', String(worlds)]
  const end = await campaign(['--store', place, ...runs])
  const whole = await campaign(['--store', wholePlace, ...runs])
  assert.is(end.out, whole.out, end.err)
  assert.match(end.out, /[1-9]\d* × /)
}

let unbroken: Promise<Ended> | undefined
const unbrokenCampaign = (): Promise<Ended> => (unbroken ??= campaign(['--store', path.join(folder, 'whole.sqlite'), ...RUNS]))

test('killed ten times it loses nothing, and ends as if it had not been: SQLite', async () => {
  await killedAndWhole(path.join(folder, 'killed.sqlite'), path.join(folder, 'unkilled.sqlite'))
})

test('killed ten times it loses nothing, and ends as if it had not been: PostgreSQL', async () => {
  const server = await startPostgres()
  if (server === null) {
    process.stdout.write('skipped: there is no PostgreSQL server here ')
    return
  }
  try {
    await killedAndWhole(`${server.url}#killed`, `${server.url}#unkilled`)
  } finally {
    await server.stop()
  }
})

test('Ctrl-C writes what is done, and leaves nothing in the way', async () => {
  const place = path.join(folder, 'interrupted.sqlite')
  const { code, out, err } = await campaign(['--store', place, '--seed', 'stop', '--workers', '1', '--json'], {
    killMs: 1000,
    signal: 'SIGINT',
  })
  assert.is(code, 130, err)
  assert.is((await readLedger(place)).tally.worlds, JSON.parse(out).worlds)
  assert.ok(JSON.parse(out).worlds > 0)
  assert.equal(
    fs.readdirSync(folder).filter((name) => name.startsWith('interrupted')),
    ['interrupted.sqlite'],
  )
})

test('shards are merged to the bytes of the whole', async () => {
  const { out, code } = await unbrokenCampaign()
  const stores = [1, 2, 3].map((part) => path.join(folder, `${part}.sqlite`))
  for (const [at, store] of stores.entries()) await campaign(['--store', store, '--shard', `${at + 1}/3`, ...RUNS])
  const merged = await campaign(['merge', ...stores, '-o', path.join(folder, 'merged.sqlite')])
  assert.is(merged.out, out)
  assert.match(out, /[1-9]\d* × /, 'there are failures')
  assert.is(merged.code, 0)
  assert.is.not(code, 0)
  const shown = await campaign(['show', path.join(folder, 'merged.sqlite'), '--json', '--reports', path.join(folder, 'reports')])
  const { worlds, failures, campaignHash } = JSON.parse(shown.out)
  assert.is(worlds, 448)
  const words = ['-r', path.join(root, 'scripts/tsreg.cjs'), path.join(root, 'commands/fuzz.ts'), ...RUNS, '--json']
  const fuzzed = spawnSync(process.execPath, words, {
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, MIRRORSIM_MUTANT: MUTANT },
  })
  assert.is(JSON.parse(fuzzed.stdout).campaignHash, campaignHash, 'and npm run fuzz sees the same worlds')
  const kept = failures.reduce((sum: number, failure: { kept: string[] }) => sum + failure.kept.length, 0)
  assert.is(fs.readdirSync(path.join(folder, 'reports')).length, kept)
})

test('scores are recorded beside a campaign, also while it runs', async () => {
  await unbrokenCampaign()
  const place = path.join(folder, 'scored.sqlite')
  fs.copyFileSync(path.join(folder, 'whole.sqlite'), place)
  const files = ['mutants.json', 'canary.json'].map((name) => path.join(folder, name))
  const mutants = [
    { id: 'one', verdict: 'killed' },
    { id: 'two', verdict: 'survived' },
  ]
  fs.writeFileSync(files[0]!, `\n> npm run mutants\n\n${JSON.stringify({ killed: 1, total: 2, exitCode: 3, mutants })}\n`)
  fs.writeFileSync(files[1]!, JSON.stringify({ steps: [{ name: 'a' }], failed: 0, exitCode: 0 }))
  const running = campaign(['--store', place, '--workers', '1'], { killMs: 6000, signal: 'SIGINT' })
  const { out, code, err } = await campaign(['record', place, ...files])
  assert.is(code, 0, err)
  assert.is(out, 'mutants: 1 of 2 killed\ncanary: 1 of 1 noticed\n')
  assert.is((await running).code, 130)
  const { scores } = await readLedger(place)
  assert.equal(scores.map(({ kind }) => kind).sort(), ['canary', 'mutants'])
})

for (const [name, args, message] of [
  ['a store of another campaign', ['--store', 'whole.sqlite', '--seed', 'other'], /--seed kill, and not other: .*another store/],
  ['a shard that cannot be', ['--shard', '4/3'], /K\/N, with K from 1 to N/],
  ['a profile that is not there', ['--store', 'new.sqlite', '--profile', 'none'], /no profile 'none'; there are: default/],
  ['a record that is no result', ['record', 'whole.sqlite', __filename], /no result of the mutants or the canary: give what/],
  ['a file that is no store', ['show', __filename], /campaign\.test\.ts: .*give a store of a campaign/],
  ['a number of worlds that is none', ['--runs', 'many'], /whole number/],
  ['a command that is not there', ['fly'], /too many arguments|unknown command/],
  ['a merge without a place for it', ['merge', 'whole.sqlite'], /required option '-o, --output <store>'/],
  ['a store that is not there', ['show', 'nothing.sqlite'], /nothing\.sqlite: there is no such store/],
  [
    'a server that does not answer',
    ['--store', 'postgres://nobody:secret@127.0.0.1:1/none'],
    /postgres:\/\/nobody@127.0.0.1:1\/none: /,
  ],
] as const) {
  test(`refuses ${name}`, async () => {
    await unbrokenCampaign()
    const { code, err, out } = await campaign(args)
    assert.is(code, 2, err)
    assert.match(err, message)
    assert.is(err.trim().split('\n').length, 1, err)
    assert.is(out, '')
  })
}

test.run()
