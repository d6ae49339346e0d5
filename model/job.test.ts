import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { JobLife } from './job'

type Event = readonly [event: string, data: Record<string, unknown>]

const FACTS = { type: 'mirror', device: 'mirror', len: 8, offset: 8, speed: 0 }
const s = (status: string): Event => ['JOB_STATUS_CHANGE', { id: 'mirror', status }]
const READY: Event = ['BLOCK_JOB_READY', FACTS]
const PENDING: Event = ['BLOCK_JOB_PENDING', { type: 'mirror', id: 'mirror' }]
const DONE: Event = ['BLOCK_JOB_COMPLETED', FACTS]
const FAILED: Event = ['BLOCK_JOB_COMPLETED', { ...FACTS, error: 'Input/output error' }]
const CANCELLED: Event = ['BLOCK_JOB_CANCELLED', FACTS]
const ERROR: Event = ['BLOCK_JOB_ERROR', { device: 'mirror', operation: 'read', action: 'stop' }]

/** The rule that the first illegal event breaks, or null. */
function live(events: readonly Event[], autoFinalize = true): string | null {
  const life = new JobLife({ autoFinalize })
  for (const [event, data] of events) {
    const broken = life.next(event, data)
    if (broken !== null) return broken
  }
  return null
}

const RUNNING = [s('created'), s('running')]
const IS_READY = [...RUNNING, s('ready'), READY]

const LEGAL: ReadonlyArray<readonly [what: string, events: readonly Event[], autoFinalize?: boolean]> = [
  ['completes', [...IS_READY, s('waiting'), s('pending'), DONE, s('concluded'), s('null')]],
  ['waits to be finalized', [...IS_READY, s('waiting'), s('pending'), PENDING, DONE, s('concluded')], false],
  ['fails while it copies', [...RUNNING, ERROR, s('aborting'), FAILED, s('concluded'), s('null')]],
  ['is paused before and after READY', [...RUNNING, s('paused'), s('running'), s('ready'), READY, s('standby'), s('ready')]],
  ['is cancelled by force', [...IS_READY, s('aborting'), CANCELLED, s('concluded'), s('null')]],
  ['is cancelled while it is pending', [...IS_READY, s('waiting'), s('pending'), s('aborting'), CANCELLED, s('concluded')]],
  ['is followed by another one', [...RUNNING, s('aborting'), FAILED, s('concluded'), s('null'), ...IS_READY]],
]
for (const [what, events, autoFinalize] of LEGAL) {
  test(`a job that ${what} lives lawfully`, () => {
    assert.is(live(events, autoFinalize), null)
  })
}

const ILLEGAL: ReadonlyArray<readonly [what: string, events: readonly Event[], rule: RegExp]> = [
  ['goes from paused to aborting', [...RUNNING, s('paused'), s('aborting')], /paused to aborting/],
  ['is ready twice', [...IS_READY, READY], /comes once/],
  ['does not tell that it is ready', [...RUNNING, s('ready'), s('waiting')], /at once/],
  ['ends without saying how', [...IS_READY, s('waiting'), s('pending'), s('concluded')], /how it ended/],
  ['ends twice', [...RUNNING, s('aborting'), FAILED, CANCELLED], /only once/],
  ['completes with an error but does not abort', [...IS_READY, s('waiting'), s('pending'), FAILED], /aborts completes/],
  ['aborts and completes without an error', [...RUNNING, s('aborting'), DONE], /aborts completes/],
  ['is cancelled and does not abort', [...IS_READY, s('waiting'), s('pending'), CANCELLED], /passes through aborting/],
  ['completes while it copies', [...RUNNING, DONE], /does not belong to the status running/],
  ['waits to be finalized by nobody', [...IS_READY, s('waiting'), s('pending'), PENDING], /by hand/],
  ['has an error after its end', [...RUNNING, s('aborting'), FAILED, ERROR], /BLOCK_JOB_ERROR/],
  ['says something unheard of', [...RUNNING, ['BLOCK_JOB_SLEEPY', {}]], /no event/],
  [
    'completes with work left',
    [...IS_READY, s('waiting'), s('pending'), ['BLOCK_JOB_COMPLETED', { ...FACTS, offset: 4 }]],
    /offset 4 and len 8/,
  ],
  ['is ready beyond its end', [...RUNNING, s('ready'), ['BLOCK_JOB_READY', { ...FACTS, offset: 9 }]], /beyond len/],
  ['does not say what it is', [...RUNNING, s('ready'), ['BLOCK_JOB_READY', { len: 0, offset: 0 }]], /names the type/],
]
for (const [what, events, rule] of ILLEGAL) {
  test(`a job that ${what} breaks a rule`, () => {
    assert.match(live(events) ?? '', rule)
  })
}

test.run()
