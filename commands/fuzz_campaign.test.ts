import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { readReport } from '../reports/format'
import { CHUNK_WORLDS } from './campaign_chunks'
import { type FuzzContext, type FuzzOptions, fuzz } from './fuzz_campaign'
import { recorder, type Script, scriptedSubject } from './testing'

const folders: string[] = []
test.after(() => {
  for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true })
})

interface Run {
  exitCode: number
  out: string
  err: string
  files: string[]
  folder: string
}

/** Runs a campaign over scripted worlds, in this thread or in threads of its own. */
async function run(script: Script, options: Partial<FuzzOptions> = {}, context: Partial<FuzzContext> = {}): Promise<Run> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'fuzz-'))
  folders.push(folder)
  const out = recorder()
  const err = recorder()
  const whole: FuzzOptions = {
    seed: 's',
    firstIndex: 0,
    worldsMax: 100,
    secondsMax: null,
    workers: 0,
    profile: JSON.stringify(script),
    outFolder: folder,
    json: false,
    replayPercent: 0,
    stopAfterFailures: 0,
    showsProbes: false,
    ...options,
  }
  const exitCode = await fuzz(whole, {
    out,
    err,
    subject: () => scriptedSubject(script),
    requiredProbes: [],
    stop: new AbortController().signal,
    workerFile: path.join(__dirname, 'testing_worker.ts'),
    ...context,
  })
  return { exitCode, out: out.text(), err: err.text(), files: fs.readdirSync(folder).sort(), folder }
}

const hashOf = ({ out }: Run): string => /campaign ([0-9a-f]{16})/.exec(out)![1]!
const json = ({ out }: Run): Record<string, unknown> => JSON.parse(out)

test('healthy worlds: exit 0, no report, and the line that runs them again', async () => {
  const result = await run({})
  assert.is(result.exitCode, 0)
  assert.equal(result.files, [])
  assert.match(result.out, /^100 worlds in /)
  assert.match(result.out, /campaign [0-9a-f]{16} {2}\(--seed s --runs 100 /)
  assert.match(result.err, /^fuzz: seed s, /)
})

test('threads, the main thread and any number of them give the same hash, failures and files', async () => {
  const script: Script = { failures: { 5: ['content', 'content/x'], 70: ['content', 'content/x'], 99: ['protocol', 'job/y'] } }
  const here = await run(script)
  assert.is(here.exitCode, 10)
  for (const workers of [1, 3]) {
    const there = await run(script, { workers })
    assert.is(hashOf(there), hashOf(here))
    assert.is(there.exitCode, here.exitCode)
    assert.equal(there.files, here.files)
  }
})

test('parts of a campaign have other hashes than the whole, and can be run alone', async () => {
  const failures: Script['failures'] = { 42: ['invariant', 'invariant/z'] }
  const one = await run({ failures }, { firstIndex: 42, worldsMax: 1 })
  assert.is(one.exitCode, 12)
  assert.match(one.out, /--seed s --first 42 --runs 1/)
  assert.equal((await run({ failures }, { firstIndex: 43, worldsMax: 1 })).exitCode, 0)
})

test('each kind of failure leaves at most four reports, which can be read', async () => {
  const failures: NonNullable<Script['failures']> = {}
  for (let index = 0; index < 100; index += 9) failures[index] = ['sparseness', 'sparseness/redundant zero']
  const result = await run({ failures })
  assert.is(result.exitCode, 11)
  assert.equal(
    result.files,
    [0, 18, 27, 9].map((index) => `sparseness-redundant-zero--s.${index}.json`),
  )
  const reading = readReport(path.join(result.folder, result.files[0]!))
  assert.ok(reading.ok, JSON.stringify(reading))
  assert.match(result.out, /12 × sparseness\/redundant zero/)
  assert.match(result.out, /npm run replay -- .*redundant-zero--s\.0\.json/)
})

test('reports that cannot be written are told of, and their failures shown', async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'fuzz-'))
  folders.push(folder)
  fs.mkdirSync(path.join(folder, 'content-x--s.5.json'))
  const script: Script = { failures: { 5: ['content', 'content/x'], 7: ['content', 'content/x'] } }
  for (const workers of [0, 1]) {
    const { exitCode, out, err } = await run(script, { workers, outFolder: folder })
    assert.is(exitCode, 10)
    assert.match(out, /2 × content\/x/)
    assert.match(out, /seed s\.5/)
    assert.match(err, /content-x--s\.5\.json cannot be written: EISDIR\n/)
    assert.equal(fs.readdirSync(folder).sort(), ['content-x--s.5.json', 'content-x--s.7.json'])
  }
})

test('the first failing world gives the exit code, not the worst class', async () => {
  const failures: Script['failures'] = { 60: ['content', 'content/x'], 3: ['liveness', 'world/stuck'] }
  assert.is((await run({ failures })).exitCode, 13)
})

test('a thread whose world hangs is replaced; no other world is lost', async () => {
  const script: Script = { hangs: [37] }
  const result = await run(script, { workers: 2 }, { hangSeconds: 0.5 })
  assert.is(result.exitCode, 13)
  assert.match(result.out, /^100 worlds in /)
  assert.match(result.out, /1 × campaign\/hang/)
  assert.equal(result.files, ['campaign-hang--s.37.json'])
})

test('a world that hangs in this thread ends the campaign with its report written', async () => {
  const result = await run({ hangs: [37] }, {}, { hangSeconds: 0.1 })
  assert.is(result.exitCode, 13)
  assert.match(result.out, /^38 worlds in /)
  assert.equal(result.files, ['campaign-hang--s.37.json'])
})

test('a seed that gives no plan ends the campaign with its name', async () => {
  for (const workers of [0, 2]) {
    try {
      await run({ throws: [50] }, { workers })
      assert.unreachable()
    } catch (error) {
      assert.match((error as Error).message, /no plan can be made of seed s.50: no such shape/)
    }
  }
})

test('an interrupt finishes what is under way, keeps its failures and exits with 130', async () => {
  const stop = new AbortController()
  const script: Script = { failures: { 31: ['content', 'content/x'] } }
  const subject = scriptedSubject(script)
  const interrupting = {
    ...subject,
    planOf: (seed: string) => {
      if (seed === 's.10') stop.abort()
      return subject.planOf(seed)
    },
  }
  const result = await run(script, {}, { stop: stop.signal, subject: () => interrupting })
  assert.is(result.exitCode, 130)
  assert.match(result.out, new RegExp(`^${CHUNK_WORLDS} worlds in .*, interrupted`))
  assert.equal(result.files, ['content-x--s.31.json'])
})

test('the time budget ends a campaign between two chunks, and the failures do', async () => {
  let nowMs = 0
  const clock = (): number => {
    nowMs += 10
    return nowMs
  }
  const timed = await run({}, { worldsMax: null, secondsMax: 1, json: true }, { clock })
  const { worlds } = json(timed) as { worlds: number }
  assert.ok(worlds > 0 && worlds % CHUNK_WORLDS === 0, `${worlds} worlds`)
  const failures: Script['failures'] = { 1: ['content', 'content/x'], 2: ['content', 'content/x'] }
  assert.is((json(await run({ failures }, { json: true, stopAfterFailures: 2 })) as { worlds: number }).worlds, CHUNK_WORLDS)
})

test('a situation that is met too rarely gives exit 3, in campaigns that are long enough to say so', async () => {
  const requiredProbes = [
    { name: 'every-world', worldsPerTenThousandMin: 9_000 },
    { name: 'one-in-a-hundred', worldsPerTenThousandMin: 101 },
    { name: 'never', worldsPerTenThousandMin: 1 },
  ]
  const long = await run({}, { worldsMax: 10_000 }, { requiredProbes })
  assert.is(long.exitCode, 3)
  assert.match(long.out, /too rare: one-in-a-hundred, in 100 worlds, at least 101 in 10,000/)
  assert.match(long.out, /too rare: never, in 0 worlds/)
  assert.not.match(long.out, /too rare: every-world/)
  const short = await run({}, { worldsMax: 9_999 }, { requiredProbes })
  assert.is(short.exitCode, 0)
  assert.match(short.out, /the floors of 3 situations are not judged below 10,000 worlds; not met yet: 1/)
  assert.not.match(short.out, / worlds {2}every-world/)
  const shown = await run({}, { worldsMax: 100, showsProbes: true }, { requiredProbes })
  assert.match(shown.out, /100 worlds {2}every-world \(at least 9000 in 10,000\)/)
  assert.match(shown.out, /0 worlds {2}never \(at least 1 in 10,000\)/)
})

test('a fault that never fires is in the list with 0, and gives exit 3', async () => {
  const requiredProbes = [{ name: 'fault/bit-rot', worldsPerTenThousandMin: 1 }]
  const result = await run({}, { worldsMax: 10_000 }, { requiredProbes })
  assert.is(result.exitCode, 3)
  assert.match(result.out, /^ {2}bit-rot 0$/m)
  assert.equal(json(await run({}, { json: true }, { requiredProbes }))['faultsFired'], { 'bit-rot': 0 })
})

test('--json prints one object and no progress', async () => {
  const result = await run({ failures: { 7: ['content', 'content/x'] } }, { json: true, replayPercent: 100 })
  const { campaignHash, failures, exitCode, replays } = json(result)
  assert.match(String(campaignHash), /^[0-9a-f]{16}$/)
  assert.is(exitCode, 10)
  assert.is(replays, 100)
  assert.is((failures as unknown[]).length, 1)
  assert.is(result.out.trimEnd().split('\n').length, 1)
})

test.run()
