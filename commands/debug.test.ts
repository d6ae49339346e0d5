import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { writeReport } from '../reports/format'
import { sampleReport } from '../reports/testing'
import { Viewing } from '../reports/viewer/viewing'
import { filmWorld } from '../sim/film'
import { smallPlan } from '../sim/testing'
import { UsageError } from './cli'
import { main, openSession, runScript } from './debug'
import { parseCondition } from './debug/condition'
import { GuestNotes } from './debug/guest_notes'
import type { Session } from './debug/session'
import { subjectOf } from './subject'
import { recorder } from './testing'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'debug-'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))
const file = path.join(folder, 'report.json')
writeReport(file, { ...sampleReport, plan: smallPlan() })

function session(): Session {
  return openSession(file).session
}
function script(...lines: string[]): { code: number; out: string; err: string } {
  const [out, err] = [recorder(), recorder()]
  return { code: runScript(session(), lines, { out, err }), out: out.text(), err: err.text() }
}

test('a script goes on, back and to events, and says where it is', () => {
  const { code, out, err } = script('goto start', 'next 4', 'back', 'until event BLOCK_JOB_READY', 'expect mirror.ready = true')
  assert.is(code, 0, err)
  assert.match(out, /> next 4\n#5 .*\n> back\n#4 .*\n> until event BLOCK_JOB_READY\n#\d+ .*BLOCK_JOB_READY/)
  assert.match(out, /mirror[.]ready = true: so/)
})

test('a world of a job shows its layers, and what the guest must find', () => {
  const jobFile = path.join(folder, 'job.json')
  writeReport(jobFile, { ...sampleReport, plan: subjectOf('jobs').planOf('debug.1') })
  const { session: job } = openSession(jobFile)
  job.columns = 40
  const lines = ['goto end', 'print', 'diff', 'queues'].flatMap((line) => job.execute(line))
  const text = lines.join('\n')
  assert.match(text, /image takes +[.#]/)
  assert.match(text, /base takes +[.#]/)
  assert.match(text, /the guest’s disk is what the model says/)
  assert.not.ok(lines.some((line) => /takes|differ/.test(line) && line.length > 40))
})

test('conditions, situations and watched chunks are found', () => {
  const { code, out } = script(
    'goto start',
    'watch 0',
    'until dirty(0)',
    'until not dirty(0)',
    'rewind dirty(0) and event > 0',
    'goto start',
    'until probe guest/read-in-job or nothing',
  )
  assert.is(code, 1)
  assert.match(out, /chunk 0, #\d+: chunk 0 is dirty now/)
  assert.match(out, /chunk 0, #\d+: chunk 0 is not dirty any more/)
  assert.match(out, /or nothing: not met after this event/)
})

test('the event in which a situation was met is found', () => {
  const { code, out } = script(
    'goto start',
    'until probe job/completed',
    'probes',
    'expect job.status = concluded or job.status = null',
  )
  assert.is(code, 0, out)
  assert.match(out, /#\d+ job\/completed/)
})

test('a command or condition that cannot be understood ends a script with 2 and its place', () => {
  for (const [line, pattern] of [
    ['fly', /command 2: there is no command "fly"/],
    ['until dirty(', /does not fit|too early/],
    ['until nobody', /"nobody" does not fit/],
    ['until dirty(x)', /does not fit/],
    ['expect 1 ? 2', /"\?" means nothing/],
    ['next x', /"x" is not a whole number/],
    ['constructor', /no command/],
    ['diff all', /not "disks"/],
  ] as const) {
    const { code, err } = script('goto start', line)
    assert.is(code, 2, line)
    assert.match(err, pattern)
  }
})

test('every command says something of every part of the world', () => {
  const shown = session()
  for (const place of ['start', '20', 'end']) {
    shown.execute(`goto ${place}`)
    for (const name of [
      'print',
      'ranges',
      'chunk 1',
      'diff',
      'diff disks',
      'events',
      'job',
      'queues',
      'waits',
      'watch',
      'probes',
      'failure',
      'plan',
      'help',
    ])
      assert.ok(shown.execute(name).length > 0, name)
  }
})

test('in a sound world the guest’s disk is what the model says after every event, and a foreign sector is named', () => {
  const plan = smallPlan()
  const notes = new GuestNotes()
  const film = filmWorld(plan, { checkers: [notes.factory] })
  for (const frame of film.frames) assert.equal(notes.differences(film, frame), [])
  const last = film.frames.at(-1)!
  const sectors = last.source.sectors.slice()
  sectors[3] = 0xffff_ffff
  const spoilt = { ...last, [last.guestDisk]: { ...last.source, sectors } }
  assert.equal(
    notes.differences(film, spoilt).map(({ sectorIndex }) => sectorIndex),
    [3],
  )
})

test('a condition compares facts with words and numbers', () => {
  const film = filmWorld(smallPlan())
  const at = (index: number) => ({ film, frame: film.frames[index]!, frameIndex: index })
  const isSo = (text: string): unknown => parseCondition(text)(at(film.frames.length - 1))
  assert.is(isSo('event > 3 and (wrong = 0 or not 1 = 1)'), true)
  assert.is(isSo('mirror.phase != finished and 1 < 0'), false)
  assert.is(isSo('source(0) = destination(0)'), true)
  assert.throws(
    () => parseCondition('('.repeat(1000)),
    (error: Error) => error instanceof UsageError,
  )
})

test('a session does not begin without a world', async () => {
  const [out, err] = [recorder(), recorder()]
  assert.is(await main(['--bad'], { out, err }), 2)
  const missing = path.join(folder, 'none.json')
  assert.throws(() => openSession(missing), /none[.]json: cannot be read: ENOENT/)
  assert.ok(new Viewing([filmWorld(smallPlan())]).frame.step > 0)
})

test.run()
