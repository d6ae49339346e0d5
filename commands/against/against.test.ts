import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ReferenceDisk } from '../../model/disk'
import { planOfSeed } from '../../properties/plans'
import { fuzzReal, type RealFuzzOptions, unfit } from './campaign'
import { RealGuest } from './guest'
import { makeFiles, readFiles } from './images'
import { Moments } from './moments'
import { DULL_OPTIONS } from './options'
import { canTake, capabilitiesOf, Programs } from './programs'

function options(outFolder: string, folder: string | null): RealFuzzOptions {
  return {
    programs: { folder, wrapper: [] },
    seed: 'test',
    firstIndex: 0,
    lifecyclesMax: 6,
    secondsMax: null,
    workers: 1,
    profile: 'small',
    outFolder,
    folder: outFolder,
    json: true,
    command: 'test',
  }
}

async function run(folder: string | null): Promise<{ code: number; result: Record<string, unknown> }> {
  const outFolder = fs.mkdtempSync(path.join(os.tmpdir(), 'ma'))
  let text = ''
  const write = (piece: string): boolean => {
    text += piece
    return true
  }
  try {
    const code = await fuzzReal(
      options(outFolder, folder),
      { out: { write }, err: { write: () => true } } as never,
      new AbortController().signal,
    )
    return { code, result: JSON.parse(text) as Record<string, unknown> }
  } finally {
    fs.rmSync(outFolder, { recursive: true })
  }
}

test('absent programs are said to be absent, and nothing counts', async () => {
  const { code, result } = await run('/nonexistent')
  assert.is(code, 0)
  assert.match(String(result['skipped']), 'qemu-storage-daemon is not installed in /nonexistent')
  assert.is(result['lifecycles'], 0)
})

test('with nothing on the path nothing runs, and nothing counts', async () => {
  const { PATH } = process.env
  process.env['PATH'] = ''
  try {
    const { code, result } = await run(null)
    assert.equal([code, result], [0, { skipped: 'qemu-storage-daemon is not installed on the path', lifecycles: 0 }])
  } finally {
    process.env['PATH'] = PATH
  }
})

const missing = new Programs({ folder: null, wrapper: [] }).missing()
if (missing !== null) process.stdout.write(`skipped: ${missing} `)
const testWithPrograms = missing === null ? test : test.skip
testWithPrograms('lifecycles run where the programs are installed', async () => {
  const { result } = await run(null)
  const skipped = Object.values(result['skipped'] as Record<string, number>).reduce((sum, count) => sum + count, 0)
  assert.is(Number(result['lifecycles']) + skipped, 6)
  assert.ok(Number(result['lifecycles']) > 0)
  assert.ok((result['facts'] as Record<string, number>)['judged/copies']! > 0)
})

test('what a daemon can do is read from its schema', () => {
  const schema = [
    { name: 'blockdev-mirror', 'arg-type': '7' },
    { name: '7', members: [{ name: 'target-is-zero' }] },
  ]
  const capabilities = capabilitiesOf({ qemu: { major: 10, minor: 1, micro: 0 } }, schema)
  assert.is(capabilities.version, '10.1.0')
  assert.ok(canTake(capabilities, 'blockdev-mirror', 'target-is-zero'))
  assert.not.ok(canTake(capabilities, 'block-job-change', 'id'))
})

test('files hold what a disk of a world would', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'ma'))
  let withFormat = 0
  for (let index = 0; index < 20; index++) {
    const plan = planOfSeed(`files/${index}`, 'formats')
    const files = makeFiles('source', path.join(folder, String(index)), plan.source)
    const bytes = readFiles('source', files, plan.source)
    assert.is(bytes.length, plan.source.lengthBytes)
    if (plan.source.format !== undefined) withFormat++
    else
      assert.is(
        bytes.some((byte) => byte !== 0),
        plan.source.initial.some(({ content }) => content === 'data'),
      )
  }
  assert.ok(withFormat > 0)
  fs.rmSync(folder, { recursive: true })
})

test('a plan that loses its power is not for a real machine', () => {
  const plan = planOfSeed('x', 'power')
  assert.is(unfit(plan), 'a real machine keeps its power')
})

test('whoever waits for a moment goes on when it comes, or when nothing comes any more', async () => {
  const moments = new Moments()
  const first = moments.wait('a')
  const never = moments.wait('b')
  moments.reach('a')
  await first
  moments.giveUp()
  await never
  assert.ok(moments.has('a') && !moments.has('b'))
})

test('who waits for the guest to be quiet is not forgotten when somebody else lets it go on', async () => {
  const plan = planOfSeed('hold', 'small')
  const moments = new Moments()
  const model = new ReferenceDisk(plan.source.lengthBytes, () => '')
  const guest = new RealGuest({} as never, '', plan, DULL_OPTIONS, model, moments, [])
  guest.inFlight = 1
  let isQuiet = false
  const quiet = guest.hold().then(() => {
    isQuiet = true
  })
  guest.release()
  await new Promise((resolve) => setTimeout(resolve, 5))
  assert.is(isQuiet, false, 'a request is still under way')
  guest.inFlight = 0
  guest.release()
  await quiet
})

test.run()
