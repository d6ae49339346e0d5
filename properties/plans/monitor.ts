/** Plans of mirrors that are driven over QMP: plain disks, a guest, and users who send commands right and wrong. */
import type { MonitorPlan, MonitorUserPlan, Plan, QmpCommandPlan } from '../../sim/plan'
import { Choices, type Table } from './choices'
import { withShortTransfers } from './disk_faults'
import { planOfSeed } from './index'
import { plain } from './plain'

const TIME_MAX_NS = 60_000_000_000
const EVENTS_MAX = 200_000
const PAUSE_NS_MAX = 400_000
const LEAVES_PERCENT = 15
const USERS: Table<number> = [
  [1, 30, 1],
  [2, 40, 1],
  [3, 30, 1],
]
const COMMANDS: Table<number> = [
  [2, 25, 1],
  [6, 40, 1],
  [15, 35, 1],
]
type Kind = 'query' | 'verb' | 'start' | 'node' | 'bitmap' | 'wrong' | 'garbage'
const KIND: Table<Kind> = [
  ['query', 25, 1],
  ['verb', 40, 1],
  ['start', 5, 1],
  ['node', 8, 1],
  ['bitmap', 8, 1],
  ['wrong', 10, 1],
  ['garbage', 4, 1],
]
const QUERIES: Table<string> = [
  ['query-jobs', 30, 1],
  ['query-block-jobs', 30, 1],
  ['query-named-block-nodes', 15, 1],
  ['query-block', 10, 1],
  ['query-blockstats', 5, 1],
  ['query-version', 10, 1],
]
type Verb = 'pause' | 'resume' | 'complete' | 'cancel' | 'finalize' | 'dismiss' | 'set-speed' | 'change'
const VERBS: Table<Verb> = [
  ['pause', 22, 1],
  ['resume', 22, 1],
  ['complete', 12, 1],
  ['cancel', 8, 1],
  ['finalize', 10, 1],
  ['dismiss', 6, 1],
  ['set-speed', 10, 1],
  ['change', 10, 1],
]
/** Nobody can take these for commands. */
const WRONG: Table<string> = [
  ['{"execute":"no-such-command","id":"@"}', 10, 1],
  ['{"execute":"job-pause","id":"@"}', 10, 1],
  ['{"execute":"job-pause","arguments":{"id":7},"id":"@"}', 10, 1],
  ['{"execute":"job-pause","arguments":{"id":"job","more":1},"id":"@"}', 10, 1],
  ['{"execute":"job-pause","arguments":{"id":"nobody"},"id":"@"}', 10, 1],
  ['{"execute":"block-job-set-speed","arguments":{"device":"job","speed":-1},"id":"@"}', 10, 1],
  ['{"execute":"blockdev-mirror","arguments":{"device":"source","target":"source","sync":"full","job-id":"x"},"id":"@"}', 10, 1],
  ['{"execute":"blockdev-del","arguments":{"node-name":"nobody"},"id":"@"}', 10, 1],
  ['{"execute":"blockdev-add","arguments":{"driver":"no-such-driver","node-name":"x"},"id":"@"}', 10, 1],
  ['{"execute":"qmp_capabilities","id":"@"}', 5, 1],
]
const GARBAGE: Table<string> = [
  ['{"execute":}', 10, 1],
  ['[1,2]', 10, 1],
  ['nonsense', 10, 1],
  ['7', 10, 1],
]

export function monitorPlanOfSeed(seed: string): Plan {
  const { stalls: _stalls, ...plan } = planOfSeed(seed, 'default')
  const choices = new Choices(seed, 'monitor', 'uniform')
  const source = plain(plan.source)
  return withShortTransfers(new Choices(seed, 'short', 'uniform'), {
    ...plan,
    profile: 'monitor',
    source: { ...source, node: { discard: 'unmap', detectZeroes: 'off' } },
    destination: { ...plain(plan.destination), lengthBytes: source.lengthBytes, initial: [] },
    control: [],
    monitor: drawMonitor(choices, plan),
    bounds: { eventsMax: EVENTS_MAX, timeMaxNs: TIME_MAX_NS },
  })
}

function drawMonitor(choices: Choices, plan: Plan): MonitorPlan {
  const users: MonitorUserPlan[] = []
  const count = choices.pick(USERS)
  for (let number = 1; number <= count; number++) users.push(drawUser(choices, `u${number}`, number === 1 ? startOf(plan) : null))
  return {
    users,
    link: { capacityBytes: 4096, stepNs: choices.between(1, 30) * 1000, steps: choices.between(1, 4), isCut: choices.chance(40) },
  }
}

/** The first user negotiates and starts the mirror; garbage comes where no answer is counted on. */
function drawUser(choices: Choices, id: string, start: string | null): MonitorUserPlan {
  const commands: QmpCommandPlan[] = []
  const say = (text: string, expects: QmpCommandPlan['expects'], afterNs = choices.below(PAUSE_NS_MAX)): void => {
    const name = `${id}.${commands.length}`
    commands.push({ id: name, afterNs, isPatient: choices.chance(50), text: text.replace('@', name), expects })
  }
  if (choices.chance(15)) say('{"execute":"query-jobs","id":"@"}', 'error')
  say('{"execute":"qmp_capabilities","id":"@"}', 'return', 0)
  if (start !== null) say(start, 'any')
  for (let number = choices.pick(COMMANDS); number > 0; number--) drawCommand(choices, say, start)
  const leaves = start === null && choices.chance(LEAVES_PERCENT)
  return { id, commands, ...(leaves ? { leavesAfter: choices.between(1, commands.length) } : {}) }
}

type Say = (text: string, expects: QmpCommandPlan['expects']) => void

function drawCommand(choices: Choices, say: Say, start: string | null): void {
  const kind = choices.pick(KIND)
  if (kind === 'query') say(request(choices.pick(QUERIES)), 'return')
  else if (kind === 'verb') say(verb(choices), 'any')
  else if (kind === 'wrong') say(choices.pick(WRONG), 'error')
  else if (kind === 'garbage') say(choices.pick(GARBAGE), 'error')
  else if (kind === 'start' && start !== null) say(start, 'any')
  else if (kind === 'node') {
    const node = `n${choices.below(3)}`
    const add = { driver: 'null-co', 'node-name': node, 'read-zeroes': true, size: 65536 }
    say(choices.chance(60) ? request('blockdev-add', add) : request('blockdev-del', { 'node-name': node }), 'any')
  } else {
    const name = `b${choices.below(2)}`
    const what = ['add', 'remove', 'clear', 'disable', 'enable'][choices.below(5)]!
    const text = request(`block-dirty-bitmap-${what}`, { node: 'source', name })
    say(choices.chance(70) ? text : transaction(what, name), 'any')
  }
}

function transaction(what: string, name: string): string {
  const action = (type: string): object => ({ type: `block-dirty-bitmap-${type}`, data: { node: 'source', name } })
  const actions = [action('add'), action(what === 'remove' ? 'disable' : 'clear')]
  return request('transaction', { actions })
}

function verb(choices: Choices): string {
  const name = choices.pick(VERBS)
  const isOld = choices.chance(50)
  if (name === 'set-speed') {
    const speed = choices.chance(50) ? 0 : 8 * 1024 * 1024
    return request('block-job-set-speed', { device: 'job', speed })
  }
  if (name === 'change') return request('block-job-change', { id: 'job', type: 'mirror', 'copy-mode': 'write-blocking' })
  if (name === 'cancel' && isOld) return request('block-job-cancel', { device: 'job', force: choices.chance(50) })
  return isOld ? request(`block-job-${name}`, idOf(name)) : request(`job-${name}`, { id: 'job' })
}

function idOf(name: Verb): object {
  return name === 'finalize' || name === 'dismiss' ? { id: 'job' } : { device: 'job' }
}

function request(execute: string, args?: object): string {
  return JSON.stringify({ execute, ...(args === undefined ? {} : { arguments: args }), id: '@' })
}

function startOf({ mirror }: Plan): string {
  return request('blockdev-mirror', {
    'job-id': 'job',
    device: 'source',
    target: 'destination',
    sync: 'full',
    'copy-mode': mirror.copyMode,
    ...(mirror.granularityBytes === 0 ? {} : { granularity: mirror.granularityBytes }),
    'on-source-error': mirror.onSourceError,
    'on-target-error': mirror.onTargetError,
    'auto-finalize': mirror.autoFinalize,
    'auto-dismiss': false,
  })
}
