/** What a server of QMP may say, and that everything else is seen. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { QmpConversation, type QmpExpectation } from './qmp_conversation'

const GREETING = { QMP: { version: {}, capabilities: [] } }
const event = (name: string, data: object, microseconds = 0): object => ({
  event: name,
  data,
  timestamp: { seconds: 1, microseconds },
})
const state = (status: string): object => event('JOB_STATUS_CHANGE', { id: 'job', status })

/** Keys of what is wrong when a client sends `commands` and then gets `messages`. */
function breachesOf(commands: ReadonlyArray<readonly [string, QmpExpectation]>, ...messages: object[]): string[] {
  const conversation = new QmpConversation()
  conversation.command('c', 'qmp_capabilities', 'return')
  for (const [index, [command, expects]] of commands.entries()) conversation.command(`i${index}`, command, expects)
  const text = [GREETING, { return: {}, id: 'c' }, ...messages].map((message) => `${JSON.stringify(message)}\r\n`).join('')
  for (const character of text) conversation.received(character)
  return conversation.breaches.map(({ key }) => key)
}
const failed = (id: string, kind = 'GenericError', desc = 'no'): object => ({ error: { class: kind, desc }, id })

test('a job from its beginning to its end', () => {
  const done = { device: 'job', type: 'mirror', offset: 5, len: 5, speed: 0 }
  const states = ['created', 'running', 'paused', 'running', 'ready'].map(state)
  const end = ['waiting', 'pending'].map(state)
  const told = [...states, event('BLOCK_JOB_READY', done), ...end, event('BLOCK_JOB_COMPLETED', done), state('concluded')]
  assert.equal(breachesOf([['query-jobs', 'return']], ...told, { return: [], id: 'i0' }, state('null')), [])
})

test('answers that are wrong are seen', () => {
  const one: ReadonlyArray<readonly [string, QmpExpectation]> = [['query-jobs', 'any']]
  assert.equal(breachesOf(one, { return: [], id: 'other' }), ['qmp/id'])
  assert.equal(breachesOf(one, { id: 'i0' }), ['qmp/shape'].concat('qmp/not-a-list'))
  assert.equal(breachesOf(one, failed('i0', 'Mood')), ['qmp/error-class'])
  assert.equal(breachesOf(one, failed('i0', 'GenericError', '')), ['qmp/error-text'])
  assert.equal(breachesOf([], { return: {} }), ['qmp/unasked'])
  assert.equal(breachesOf([['x', 'error']], { return: {}, id: 'i0' }), ['qmp/accepted'])
  assert.equal(breachesOf([['x', 'return']], failed('i0')), ['qmp/refused'])
  const job = { id: 'job', type: 'mirror', status: 'running', 'current-progress': 7, 'total-progress': 5 }
  assert.equal(breachesOf(one, { return: [job], id: 'i0' }), ['qmp/progress'])
})

test('events that cannot be are seen', () => {
  assert.equal(breachesOf([], state('created'), state('ready')), ['qmp/job-states'])
  assert.equal(breachesOf([], state('created'), state('running'), event('BLOCK_JOB_READY', { device: 'job' })), [
    'qmp/ready-event',
  ])
  assert.equal(breachesOf([], event('SHUTDOWN', {}, 5), event('SHUTDOWN', {}, 4)), ['qmp/timestamp'])
  const early = new QmpConversation()
  early.received(`${JSON.stringify(GREETING)}\r\n${JSON.stringify(state('created'))}\r\n`)
  assert.equal(
    early.breaches.map(({ key }) => key),
    ['qmp/event-too-soon'],
  )
})

test.run()
