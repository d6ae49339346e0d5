/**
 * What the operator of a conversation does with the job, one way for each value of the dimension `orders`. All end with the
 * job gone, whatever has come of it: an error of a disk may end it anywhere.
 */
import { JOB } from '../against/operator'
import { canTake } from '../against/programs'
import type { Conversation } from './conversation'
import type { Shape } from './dimensions'

const ID = { id: JOB }
const DEVICE = { device: JOB }
const MIB = 1024 * 1024

export async function giveOrders(conversation: Conversation): Promise<void> {
  const { orders } = conversation.conformance.shape
  if (orders === 'refused-starts') await refusedStarts(conversation)
  if (orders === 'unknown-job') await unknownJob(conversation)
  const { execute, arguments: args } = conversation.start
  if (!(await conversation.ask(execute, args))) return
  const early = EARLY[orders]
  if (early === undefined) await becomeReady(conversation)
  else {
    await conversation.awaitRest('running')
    await conversation.standStill()
    await early(conversation)
    if (!conversation.isOver) await conversation.awaitRest('ready')
  }
  if (!conversation.isOver) await besideTheJob(conversation)
  await theEnd(conversation)
}

/** Until the job is ready, or its end; an error may stop it on the way. */
async function becomeReady(conversation: Conversation): Promise<void> {
  await conversation.awaitRest('ready', 'paused')
  if (conversation.status === 'paused') await conversation.goOn('paused')
  if (conversation.isOver) return
  await conversation.settle()
  await conversation.look()
}

async function besideTheJob(conversation: Conversation): Promise<void> {
  const { shape, plan } = conversation.conformance
  const half = Math.ceil(plan.guest.length / 2)
  await conversation.guest(plan.guest.slice(0, half))
  if (conversation.isOver) return
  await READY[shape.orders]?.(conversation)
  if (conversation.isOver) return
  await conversation.guest(plan.guest.slice(half))
  if (conversation.isOver) return
  await conversation.look()
  await (ENDS[shape.orders] ?? complete)(conversation)
}

/** What is left to be said to a job that has ended. */
async function theEnd(conversation: Conversation): Promise<void> {
  await conversation.look()
  const { orders } = conversation.conformance.shape
  if (conversation.status === 'pending') {
    await PENDING[orders]?.(conversation)
    const verb = orders === 'block-job-verbs' ? 'block-job-finalize' : 'job-finalize'
    if (conversation.status === 'pending') await conversation.turn(verb, ID)
    await conversation.ask('query-jobs', {})
  }
  if (conversation.status === 'concluded') {
    if (orders === 'pending-orders')
      for (const order of ['job-cancel', 'job-pause', 'job-finalize']) await conversation.ask(order, ID)
    await conversation.turn(orders === 'block-job-verbs' ? 'block-job-dismiss' : 'job-dismiss', ID)
  }
  await conversation.ask('query-jobs', {})
  await conversation.ask('query-block-jobs', {})
}

type Act = (conversation: Conversation) => Promise<unknown>
type Acts = { readonly [O in Shape['orders']]?: Act }

async function complete(conversation: Conversation): Promise<void> {
  await conversation.link()
  await conversation.turn('job-complete', ID)
}

// ------------------------------------------------------------------------------------- a job that stands still, and runs

const EARLY: Acts = {
  'early-orders': async (conversation) => {
    for (const order of ['job-complete', 'job-finalize', 'job-dismiss', 'job-resume']) await conversation.ask(order, ID)
    await conversation.ask('query-jobs', {})
    await conversation.turn('job-pause', ID, 'paused')
    await conversation.look()
    await conversation.ask('job-pause', ID)
    await conversation.ask('block-job-cancel', DEVICE)
    await conversation.ask('block-job-set-speed', { ...DEVICE, speed: 0 })
    await conversation.turn('job-resume', ID, 'running')
  },
  'early-cancel': (conversation) => conversation.turn('block-job-cancel', DEVICE),
  'early-paused-cancel': async (conversation) => {
    await conversation.turn('job-pause', ID, 'paused')
    await conversation.look()
    await conversation.turn('block-job-cancel', { ...DEVICE, force: true })
  },
}

// -------------------------------------------------------------------------------------------------- a job that is ready

const READY: Acts = {
  'pause-resume': async (conversation) => {
    await conversation.turn('job-pause', ID, 'standby')
    await conversation.look()
    await conversation.ask('job-pause', ID)
    await conversation.turn('job-resume', ID, 'ready')
    await conversation.settle()
    await conversation.ask('job-resume', ID)
  },
  'change-mode': async (conversation) => {
    if (!canTake(conversation.common, 'block-job-change', 'id')) return
    const change = (args: object): Promise<boolean> => conversation.ask('block-job-change', { ...ID, ...args })
    await change({ type: 'mirror', 'copy-mode': 'background' })
    await change({ type: 'mirror', 'copy-mode': 'write-blocking' })
    // An idle job finds out at its next turn that it is in sync with the guest.
    await conversation.standStill()
    await change({ type: 'mirror', 'copy-mode': 'background' })
    await change({ type: 'mirror' })
    await conversation.look()
  },
  speed: async (conversation) => {
    for (const speed of [-1, 64 * MIB, 0]) {
      await conversation.ask('block-job-set-speed', { ...DEVICE, speed })
      await conversation.settle()
    }
  },
  'block-job-verbs': async (conversation) => {
    await conversation.turn('block-job-pause', DEVICE, 'standby')
    await conversation.ask('block-job-pause', DEVICE)
    await conversation.turn('block-job-resume', DEVICE, 'ready')
    await conversation.settle()
    for (const order of ['block-job-finalize', 'block-job-dismiss']) await conversation.ask(order, ID)
  },
  'in-the-way': async (conversation) => {
    const { execute, arguments: args } = conversation.start
    await conversation.ask(execute, args)
    await conversation.ask(execute, { ...args, 'job-id': 'other' })
    for (const name of ['source', 'destination', 'filter']) await conversation.ask('blockdev-del', { 'node-name': name })
    await conversation.ask('block_resize', { 'node-name': 'source', size: 2 * MIB })
    await conversation.ask('block_resize', { 'node-name': 'destination', size: 2 * MIB })
    await conversation.ask('block-commit', { 'job-id': 'other', device: 'source' })
    await conversation.ask('block-stream', { 'job-id': 'other', device: 'source' })
    const writable = { type: 'nbd', id: 'second', 'node-name': 'destination', writable: true }
    await conversation.ask('block-export-add', writable)
    await conversation.ask('block-dirty-bitmap-add', { node: 'source', name: 'b' })
    await conversation.ask('block-dirty-bitmap-remove', { node: 'source', name: 'b' })
  },
}

const ENDS: Acts = {
  'soft-cancel': async (conversation) => {
    await conversation.link()
    await conversation.turn('block-job-cancel', { ...DEVICE, force: false })
  },
  'force-cancel': (conversation) => conversation.turn('block-job-cancel', { ...DEVICE, force: true }),
  'job-cancel': (conversation) => conversation.turn('job-cancel', ID),
  'paused-complete': async (conversation) => {
    await conversation.link()
    await conversation.turn('job-pause', ID, 'standby')
    await conversation.ask('block-job-cancel', DEVICE)
    await conversation.ask('job-complete', ID)
    await conversation.look()
    await conversation.turn('job-resume', ID)
  },
  'paused-force-cancel': async (conversation) => {
    await conversation.turn('job-pause', ID, 'standby')
    await conversation.turn('block-job-cancel', { ...DEVICE, force: true })
  },
  'block-job-verbs': async (conversation) => {
    await conversation.link()
    await conversation.turn('block-job-complete', DEVICE)
  },
}

// ----------------------------------------------------------------------------------------- a job that waits for its end

const PENDING: Acts = {
  'pending-cancel': (conversation) => conversation.turn('job-cancel', ID),
  'pending-orders': async (conversation) => {
    for (const order of ['job-pause', 'job-resume', 'job-complete', 'job-dismiss']) await conversation.ask(order, ID)
    await conversation.ask('block-job-set-speed', { ...DEVICE, speed: 1 })
  },
}

// --------------------------------------------------------------------------------------------------- before there is one

async function unknownJob(conversation: Conversation): Promise<void> {
  for (const verb of ['pause', 'resume', 'complete', 'cancel', 'finalize', 'dismiss']) {
    await conversation.ask(`job-${verb}`, ID)
    await conversation.ask(`block-job-${verb}`, verb === 'finalize' || verb === 'dismiss' ? ID : DEVICE)
  }
  await conversation.ask('block-job-set-speed', { ...DEVICE, speed: 1 })
}

/** Each is the plan's own start with something that is wrong. */
async function refusedStarts(conversation: Conversation): Promise<void> {
  const { execute, arguments: args } = conversation.start
  const wrongs: ReadonlyArray<Record<string, unknown>> = [
    { granularity: 256 },
    { granularity: 3000 },
    { granularity: 128 * MIB },
    { granularity: -1 },
    { 'buf-size': -1 },
    { speed: -1 },
    { sync: 'incremental' },
    { sync: 'bitmap' },
    { sync: 'half' },
    { sync: undefined },
    { device: 'nobody' },
    { device: 'source-0' },
    { 'job-id': '1bad' },
    { 'job-id': '' },
    { 'copy-mode': 'sideways' },
    { 'on-source-error': 'auto', device: 'nobody' },
    { replaces: 'nobody' },
    { nonsense: true },
  ]
  const own: ReadonlyArray<Record<string, unknown>> =
    execute === 'blockdev-mirror'
      ? [
          { target: 'nobody' },
          { target: 'source' },
          { 'filter-node-name': 'destination' },
          { 'filter-node-name': '-x' },
          { unmap: true },
        ]
      : [
          { format: 'nonsense' },
          { target: '/nowhere/image' },
          { mode: 'sideways' },
          { 'node-name': 'source' },
          { 'node-name': '-x' },
        ]
  for (const wrong of [...wrongs, ...own]) {
    await conversation.ask(execute, { ...args, ...wrong })
    conversation.takeEvents('a refused start')
  }
}
