// What only a store in a file has: an owner, a lock, and transactions that are cut off.
import { spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ownerFileOf } from './owner'
import { openSqliteStore } from './sqlite_store'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'campaign-sqlite-'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))
const placeOf = (name: string): string => path.join(folder, `${name}.sqlite`)

async function stored(place: string, records: ReadonlyArray<readonly [string, string]>): Promise<void> {
  const store = await openSqliteStore(place, 'own')
  await store.write(new Map(records))
  await store.close()
}

async function contents(place: string): Promise<Array<[string, string]>> {
  const store = await openSqliteStore(place, 'read')
  const records = [...(await store.read())]
  await store.close()
  return records
}

const refusal = (place: string): Promise<string> =>
  openSqliteStore(place, 'own').then(
    () => 'taken',
    (error) => error.message,
  )

test('a store belongs to a process while it lives', async () => {
  const place = placeOf('owned')
  await stored(place, [['a', 'b']])
  const other = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'])
  try {
    const stat = fs.readFileSync(`/proc/${other.pid}/stat`, 'utf8')
    const note = { machine: os.hostname(), processId: other.pid, startedTicks: stat.split(') ')[1]!.split(' ')[19] }
    fs.writeFileSync(ownerFileOf(place), JSON.stringify(note))
    assert.match(await refusal(place), new RegExp(`process ${other.pid} runs this campaign: end it`))
    assert.equal(await contents(place), [['a', 'b']], 'but anybody may read')
    // Another process that has the id now.
    fs.writeFileSync(ownerFileOf(place), JSON.stringify({ ...note, startedTicks: '1' }))
    assert.is(await refusal(place), 'taken')
  } finally {
    other.kill('SIGKILL')
  }
})

test('a note of another machine counts while it is renewed', async () => {
  const place = placeOf('elsewhere')
  await stored(place, [['a', 'b']])
  fs.writeFileSync(ownerFileOf(place), JSON.stringify({ machine: 'elsewhere', processId: 1, startedTicks: '' }))
  assert.match(await refusal(place), /process 1 of elsewhere runs this campaign/)
  fs.utimesSync(ownerFileOf(place), 1e9, 1e9)
  assert.is(await refusal(place), 'taken')
})

test('who has lost a store does not write to it', async () => {
  const place = placeOf('lost')
  const store = await openSqliteStore(place, 'own')
  fs.writeFileSync(ownerFileOf(place), JSON.stringify({ machine: 'elsewhere', processId: 1, startedTicks: '' }))
  const error = await store.write(new Map([['a', 'b']])).catch((thrown) => thrown)
  assert.match(error.message, /another process has taken this campaign over/)
  await store.close()
  assert.ok(fs.existsSync(ownerFileOf(place)), 'the note of the other one stays')
})

test('the lock of an owner that was killed is no obstacle, nor that of a reader', async () => {
  const place = placeOf('locked')
  await stored(place, [['a', 'b']])
  fs.writeFileSync(ownerFileOf(place), JSON.stringify({ machine: os.hostname(), processId: 99999999, startedTicks: '' }))
  fs.mkdirSync(`${place}.lock`)
  const store = await openSqliteStore(place, 'own')
  fs.mkdirSync(`${place}.lock`)
  await store.write(new Map([['a', 'c']]))
  await store.close()
  assert.equal(await contents(place), [['a', 'c']])
  assert.equal(
    fs.readdirSync(folder).filter((name) => name.startsWith('locked')),
    ['locked.sqlite'],
  )
})

const RECORDS = 24
const recordsOf = (text: string): Array<[string, string]> =>
  Array.from({ length: RECORDS }, (_, index) => [`record-${index + 10}`, text.repeat(500)])

/** Overwrites all records, and dies at the n-th call that changes a file. */
const WRITER = `
const fs = require('node:fs')
const [store, place, calls] = process.argv.slice(1)
const { openSqliteStore } = require(store)
openSqliteStore(place, 'own').then((opened) => {
  let left = Number(calls)
  for (const name of ['writeSync', 'fsyncSync', 'ftruncateSync', 'unlinkSync', 'rmdirSync']) {
    const original = fs[name]
    fs[name] = (...args) => {
      if (left-- === 0) process.kill(process.pid, 'SIGKILL')
      return original.apply(fs, args)
    }
  }
  const records = Array.from({ length: ${RECORDS} }, (_, index) => ['record-' + (index + 10), 'new'.repeat(500)])
  return opened.write(new Map(records))
})
`

test('killed at any moment of a write, the store holds all of it or nothing', async () => {
  const place = placeOf('cut')
  const store = path.join(__dirname, 'sqlite_store.ts')
  const hook = path.join(__dirname, '../../scripts/tsreg.cjs')
  const before = recordsOf('old')
  const kills = { old: 0, new: 0 }
  let isJournalLeft = false
  // Kills at every call are as many as a hundred; every eighth takes each kind of call in.
  for (let calls = 0; ; calls += calls < 8 ? 1 : 8) {
    fs.rmSync(place, { force: true })
    await stored(place, before)
    const { signal, status, stderr } = spawnSync(process.execPath, ['-r', hook, '-e', WRITER, store, place, String(calls)])
    if (signal === null) {
      assert.is(status, 0, String(stderr))
      break
    }
    isJournalLeft ||= fs.existsSync(`${place}-journal`)
    const now = await contents(place)
    const text = now[0]![1].slice(0, 3) as 'old' | 'new'
    assert.equal(now, recordsOf(text), `after ${calls} calls`)
    kills[text]++
  }
  assert.ok(kills.old > 5 && isJournalLeft, JSON.stringify(kills))
  assert.equal(await contents(place), recordsOf('new'))
})

test('a file of another kind is refused, and left as it is', async () => {
  const place = placeOf('text')
  fs.writeFileSync(place, 'this is a text, and no database. '.repeat(40))
  assert.match(await refusal(place), /not a database/)
  assert.match(fs.readFileSync(place, 'utf8'), /^this is a text/)
  const { Database } = require('node-sqlite3-wasm')
  const foreign = placeOf('foreign')
  const database = new Database(foreign)
  database.exec('CREATE TABLE other (name TEXT)')
  database.close()
  assert.match(await refusal(foreign), /no store of a campaign/)
  assert.match(await refusal(folder), /give a (file|store)/)
})

test.run()
