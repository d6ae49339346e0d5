// The same tests on both kinds of store; without a PostgreSQL server here, those of the other kind say so.
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Chunk } from '../../properties/campaign'
import { CHUNK_WORLDS } from '../campaign_chunks'
import { UsageError } from '../cli'
import { scriptedSubject } from '../testing'
import { Ledger } from './ledger'
import { mergeStores, readLedger } from './merge'
import { openStore } from './open_store'
import type { CampaignSetup } from './setup'
import { rangeOfChunk, type Shard, WHOLE } from './shards'
import { summaryOf, summaryText } from './summary'
import { startPostgres, type TestServer } from './testing_postgres'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'campaign-store-'))
let server: TestServer | null = null
test.before(async () => {
  server = await startPostgres()
})
test.after(async () => {
  await server?.stop()
  fs.rmSync(folder, { recursive: true, force: true })
})

let places = 0
const KINDS: ReadonlyArray<readonly [name: string, fresh: () => string | null]> = [
  ['SQLite', () => path.join(folder, `${places++}.sqlite`)],
  ['PostgreSQL', () => (server === null ? null : `${server.url}#campaign-${places++}`)],
]

/** `fresh` gives a place where nothing is yet. */
function onBoth(name: string, check: (fresh: () => string) => Promise<void>): void {
  for (const [kind, fresh] of KINDS) {
    test(`${kind}: ${name}`, async () => {
      if (fresh() === null) process.stdout.write('skipped: there is no PostgreSQL server here ')
      else await check(fresh as () => string)
    })
  }
}

onBoth('what was written is read again, and what was set to null is gone', async (fresh) => {
  const place = fresh()
  const store = await openStore(place, 'own')
  await store.write(
    new Map([
      ['a', 'one'],
      ['b', 'two'],
      ["it's", '{"odd": "\u00e9 \\"text\\""}'],
    ]),
  )
  await store.write(
    new Map([
      ['a', 'three'],
      ['b', null],
    ]),
  )
  await store.close()
  const again = await openStore(place, 'read')
  assert.equal(
    [...(await again.read())],
    [
      ['a', 'three'],
      ["it's", '{"odd": "\u00e9 \\"text\\""}'],
    ],
  )
  await again.close()
})

onBoth('a write that fails in the middle leaves nothing behind', async (fresh) => {
  const store = await openStore(fresh(), 'own')
  await store.write(new Map([['a', 'before']]))
  const broken = new Map<string, string | null>([
    ['a', 'after'],
    ['b', undefined as unknown as string],
  ])
  let error: unknown
  await store.write(broken).catch((thrown) => {
    error = thrown
  })
  assert.instance(error, UsageError)
  assert.equal([...(await store.read())], [['a', 'before']])
  await store.write(new Map([['a', 'goes on']]))
  assert.equal([...(await store.read())], [['a', 'goes on']])
  await store.close()
})

onBoth('is read while it is open for writing', async (fresh) => {
  const place = fresh()
  const store = await openStore(place, 'own')
  await store.write(new Map([['a', 'b']]))
  const reader = await openStore(place, 'read')
  assert.equal([...(await reader.read())], [['a', 'b']])
  await reader.close()
  await store.write(new Map([['a', 'c']]))
  await store.close()
})

const SETUP: Omit<CampaignSetup, 'shard'> = {
  ...{ format: 'mirrorsim-campaign', version: 1, seed: 'scripted', firstIndex: 0, profile: 'default' },
  ...{ replayPercent: 5, revision: 'r1', mutant: null },
}
const CHUNKS = 40
const FAILING = [5, 33, 34, 35, 36, 37, 38, 500, 700, 701, 702, 1279]
const SUBJECT = scriptedSubject({
  failures: Object.fromEntries(FAILING.map((index) => [index, index === 500 ? ['crash', 'odd/one'] : ['content', 'a/key']])),
})

/** Runs the chunks of a shard in threads' disorder, in several sessions, writing now and then. */
async function runShard(place: string, shard: Shard): Promise<void> {
  for (let session = 0; session < 3; session++) {
    const store = await openStore(place, 'own')
    const records = await store.read()
    const ledger = new Ledger({ ...SETUP, shard }, records)
    ledger.history.begin(session * 10_000)
    const open = [...ledger.done.open(CHUNKS)]
    const now = open.filter((_, at) => session === 2 || at % 3 === session).reverse()
    for (const [at, chunk] of now.entries()) {
      const { firstIndex, count } = rangeOfChunk(0, chunk)
      const work = new Chunk(SUBJECT, SETUP, firstIndex, count)
      while (work.step());
      ledger.add(firstIndex, work.tally, session * 10_000 + at * 500)
      // What comes after the last write is lost, as if the process had been killed.
      if (at % 4 === 0 || session === 2) await store.write(ledger.takeChanges())
    }
    await store.close()
  }
}

onBoth('a campaign in shards and sessions has the summary of an unbroken one', async (fresh) => {
  const whole = fresh()
  await runShard(whole, WHOLE)
  const shards = [fresh(), fresh(), fresh()]
  for (const [at, place] of shards.entries()) await runShard(place, { parts: [at + 1], of: 3 })
  const merged = await mergeStores([shards[2]!, shards[0]!, shards[1]!], fresh())
  const expected = await readLedger(whole)
  assert.is(expected.tally.worlds, CHUNKS * CHUNK_WORLDS)
  assert.is(summaryText(merged, []), summaryText(expected, []))
  assert.equal(JSON.stringify(summaryOf(merged, [])), JSON.stringify(summaryOf(expected, [])))
  assert.match(summaryText(expected, []), /11 × a\/key, kept: scripted\.5 /)
  assert.is(
    expected.history.samples.reduce((sum, { worlds }) => sum + worlds, 0),
    CHUNKS * CHUNK_WORLDS,
  )
  assert.is(
    merged.history.samples.reduce((sum, { failures }) => sum + failures, 0),
    FAILING.length,
  )
})

onBoth('at most four failures of a key are kept, the smallest', async (fresh) => {
  const place = fresh()
  const sized = {
    ...SUBJECT,
    planOf: (seed: string) => ({ ...SUBJECT.planOf(seed), padding: 'x'.repeat(Math.max(0, 800 - Number(seed.split('.')[1]))) }),
  }
  const store = await openStore(place, 'own')
  const ledger = new Ledger({ ...SETUP, shard: WHOLE })
  ledger.history.begin(0)
  for (let chunk = 0; chunk < CHUNKS; chunk++) {
    const work = new Chunk(sized, SETUP, chunk * CHUNK_WORLDS, CHUNK_WORLDS)
    while (work.step());
    ledger.add(chunk * CHUNK_WORLDS, work.tally, 0)
    await store.write(ledger.takeChanges())
  }
  await store.close()
  const { tally, firstIndexes } = await readLedger(place)
  const group = tally.groups.find(({ key }) => key === 'a/key')!
  assert.equal(
    group.found.map(({ index }) => index),
    [1279, 702, 701, 700],
  )
  assert.is(group.count, 11)
  assert.is(firstIndexes['a/key'], 5)
})

onBoth('shards that do not belong together are refused', async (fresh) => {
  const [first, second] = [fresh(), fresh()]
  await runShard(first, { parts: [1], of: 2 })
  await runShard(second, { parts: [1], of: 2 })
  const refusal = async (places: string[]): Promise<string> => {
    const target = fresh()
    return mergeStores(places, target).then(
      () => 'merged',
      (error) => (error instanceof UsageError ? error.message : String(error)),
    )
  }
  assert.match(await refusal([first, second]), /both hold shard 1/)
  const other = fresh()
  const store = await openStore(other, 'own')
  await store.write(new Ledger({ ...SETUP, seed: 'another', shard: { parts: [2], of: 2 } }).takeChanges())
  await store.close()
  assert.match(await refusal([first, other]), /--seed another, and not scripted/)
})

onBoth('records that cannot be read are told of in one line', async (fresh) => {
  for (const [name, body] of [
    ['setup', '{"format": "another"}'],
    ['state', '{'],
    ['state', '{"tally": 5}'],
    ['failure/a/1', '{"failure": {"key": "never counted"}}'],
  ] as const) {
    const place = fresh()
    const store = await openStore(place, 'own')
    await store.write(new Ledger({ ...SETUP, shard: WHOLE }).takeChanges())
    await store.write(new Map([[name, body]]))
    await store.close()
    const error = await readLedger(place).catch((thrown) => thrown)
    assert.instance(error, UsageError, name)
    assert.match(error.message, /give another (store|one)/)
  }
})

test.run()
