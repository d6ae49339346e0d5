/** What `info` of the human monitor tells. */
import type { BlockNode } from '../../block'
import { snapshotInfos } from '../../blockdev'
import { JsonDouble, type JsonObject, type JsonValue } from '../../json'
import type { QmpEnvironment } from '../environment'
import type { Device } from '../machine/device'
import { hasTray } from '../machine/device'
import type { Bus, Machine } from '../machine/machine'
import { machineOf } from '../machine/machine_of'
import { disksOf, NO_PLACE_FOR_STATE } from '../machine/vm_snapshots'
import { device, flag, type HumanCommand, type HumanValues, optional } from './command'

type Say = (text: string) => void

function object(value: JsonValue | undefined): JsonObject {
  return value instanceof Map ? value : new Map()
}
function list(value: JsonValue | undefined): JsonObject[] {
  return Array.isArray(value) ? value.map(object) : []
}
function show(value: JsonValue | undefined): string {
  return value instanceof JsonDouble ? String(value.value) : String(value ?? '')
}

const THROTTLED = [
  'bps',
  'bps_rd',
  'bps_wr',
  'bps_max',
  'bps_rd_max',
  'bps_wr_max',
  'iops',
  'iops_rd',
  'iops_wr',
  'iops_max',
].concat(['iops_rd_max', 'iops_wr_max', 'iops_size'])

/** The lines of one medium: `inserted` is a BlockDeviceInfo. */
function mediumLines(inserted: JsonObject): string {
  let text = ''
  const backing = inserted.get('backing_file')
  if (backing !== undefined) {
    text += `    Backing file:     ${show(backing)} (chain depth: ${show(inserted.get('backing_file_depth'))})\n`
  }
  const detect = show(inserted.get('detect_zeroes'))
  if (detect !== 'off') text += `    Detect zeroes:    ${detect}\n`
  if (THROTTLED.some((name) => Number(inserted.get(name) ?? 0) > 0)) {
    const limits = THROTTLED.map((name) => `${name}=${show(inserted.get(name) ?? 0)}`).join(' ')
    text += `    I/O throttling:   ${limits} group=${show(inserted.get('group'))}\n`
  }
  return text
}

function cacheLine(inserted: JsonObject): string {
  const cache = object(inserted.get('cache'))
  const direct = cache.get('direct') === true ? ', direct' : ''
  const ignores = cache.get('no-flush') === true ? ', ignore flushes' : ''
  return `    Cache mode:       ${cache.get('writeback') === true ? 'writeback' : 'writethrough'}${direct}${ignores}\n`
}

/** One device of query-block, or one node alone. */
function blockText(
  environment: QmpEnvironment,
  info: JsonObject | null,
  inserted: JsonObject | null,
  isVerbose: boolean,
): string {
  let text = ''
  const name = info === null ? '' : show(info.get('device'))
  const nodeName = inserted === null ? '' : show(inserted.get('node-name'))
  text += name === '' ? nodeName || show(info?.get('qdev')) : name
  if (name !== '' && nodeName !== '') text += ` (${nodeName})`
  if (inserted === null) text += ': [not inserted]\n'
  else {
    const notes = [
      ...[inserted.get('ro') === true ? ', read-only' : ''],
      ...[inserted.get('encrypted') === true ? ', encrypted' : ''],
      ...[inserted.get('active') === false ? ', inactive' : ''],
    ].join('')
    text += `: ${show(inserted.get('file'))} (${show(inserted.get('drv'))}${notes})\n`
  }
  if (info !== null) {
    const holder = info.get('qdev')
    if (holder !== undefined) text += `    Attached to:      ${show(holder)}\n`
    const status = info.get('io-status')
    if (status !== undefined && status !== 'ok') text += `    I/O status:       ${show(status)}\n`
    if (info.get('removable') === true) {
      const locked = info.get('locked') === true ? '' : 'not '
      text += `    Removable device: ${locked}locked, tray ${info.get('tray_open') === true ? 'open' : 'closed'}\n`
    }
  }
  if (inserted === null) return text
  text += cacheLine(inserted) + mediumLines(inserted)
  return isVerbose ? text + imagesText(environment, nodeName) : text
}

function imagesText({ graph, imageText }: QmpEnvironment, nodeName: string): string {
  let text = '\nImages:\n'
  const parts: string[] = []
  for (let node: BlockNode | null = graph.findNode(nodeName); node !== null; node = node.below()) parts.push(imageText(node))
  text += parts.join('')
  return text
}

function* infoBlock(environment: QmpEnvironment, values: HumanValues, say: Say) {
  const wanted = values.get('device')
  const isVerbose = values.get('verbose') === true
  const devices = list(yield* environment.invoke('query-block', new Map()))
  const shown: string[] = []
  for (const info of devices) {
    if (values.get('nodes') === true || (wanted !== undefined && show(info.get('device')) !== wanted)) continue
    const inserted = info.get('inserted')
    shown.push(blockText(environment, info, inserted === undefined ? null : object(inserted), isVerbose))
  }
  if (wanted === undefined ? values.get('nodes') === true : shown.length === 0) {
    for (const node of list(yield* environment.invoke('query-named-block-nodes', new Map()))) {
      if (wanted === undefined || node.get('node-name') === wanted) shown.push(blockText(environment, null, node, isVerbose))
    }
  }
  say(shown.join('\n'))
}

const COUNTS = [
  'rd_bytes',
  'wr_bytes',
  'rd_operations',
  'wr_operations',
  'flush_operations',
  'wr_total_time_ns',
  'rd_total_time_ns',
  'flush_total_time_ns',
  'rd_merged',
  'wr_merged',
  'idle_time_ns',
] as const

function* infoBlockstats(environment: QmpEnvironment, _values: HumanValues, say: Say) {
  for (const entry of list(yield* environment.invoke('query-blockstats', new Map()))) {
    const name = entry.get('device')
    if (name === undefined || name === '') continue
    const stats = object(entry.get('stats'))
    say(`${show(name)}: ${COUNTS.map((count) => `${count}=${show(stats.get(count) ?? 0)}`).join(' ')}\n`)
  }
}

function* infoBlockJobs(environment: QmpEnvironment, _values: HumanValues, say: Say) {
  const jobs = list(yield* environment.invoke('query-block-jobs', new Map()))
  if (jobs.length === 0) say('No active jobs\n')
  for (const job of jobs) {
    const { device: id, type, offset, len, speed } = Object.fromEntries(job) as Record<string, JsonValue>
    if (type === 'stream') {
      say(`Streaming device ${show(id)}: Completed ${show(offset)} of ${show(len)} bytes, speed limit ${show(speed)} bytes/s\n`)
    } else {
      const done = `Completed ${show(offset)} of ${show(len)} bytes, speed limit ${show(speed)} bytes/s`
      say(`Type ${show(type)}, device ${show(id)}: ${done}\n`)
    }
  }
}

function* infoStatus(environment: QmpEnvironment, _values: HumanValues, say: Say) {
  const { isRunning, status } = machineOf(environment).runState
  const why = !isRunning && status !== 'paused' ? ` (${status})` : ''
  say(`VM status: ${isRunning ? 'running' : 'paused'}${why}\n`)
}

function* infoSnapshots(environment: QmpEnvironment, _values: HumanValues, say: Say) {
  const nodes = disksOf(machineOf(environment)).filter(({ driver }) => driver.snapshots() !== null)
  if (nodes.length === 0) {
    say(`${NO_PLACE_FOR_STATE}\n`)
    return
  }
  const lists = nodes.map((node) => ({ node, infos: snapshotInfos(node) }))
  const names = new Set(lists.flatMap(({ infos }) => infos.map((info) => show(info.get('name')))))
  const isEverywhere = (name: string): boolean => lists.every(({ infos }) => infos.some((info) => info.get('name') === name))
  const common = [...names].filter(isEverywhere)
  if (names.size === 0) {
    say('There is no snapshot available.\n')
    return
  }
  if (common.length > 0) {
    say('List of snapshots present on all disks:\n')
    const rows = lists[0]!.infos.filter((info) => common.includes(show(info.get('name'))))
    // What is the same on all disks has no id of its own.
    say(environment.snapshotTable(rows.map((row) => new Map(row).set('id', '--'))))
  } else say('None\n')
  for (const { node, infos } of lists) {
    const own = infos.filter((info) => !common.includes(show(info.get('name'))))
    if (own.length === 0) continue
    say(`\nList of partial (non-loadable) snapshots on '${node.name}':\n`)
    say(environment.snapshotTable(own))
  }
}

function treeLines(machine: Machine, bus: Bus, indent: string): string {
  let text = `${indent}bus: ${bus.name}\n${indent}  type ${bus.type}\n`
  for (const each of machine.devicesOn(bus)) text += deviceLines(machine, each, `${indent}  `)
  return text
}
function deviceLines(machine: Machine, each: Device, indent: string): string {
  let text = `${indent}dev: ${each.type.name}, id "${each.id ?? ''}"\n`
  if (each.disk !== null) {
    const { backend, writesBack } = each.disk
    const drive = backend.name === '' ? (backend.root?.node.name ?? '') : backend.name
    text += `${indent}  drive = "${drive}"\n${indent}  write-cache = "${writesBack ? 'on' : 'off'}"\n`
    if (hasTray(each)) text += `${indent}  tray = "${each.isTrayOpen ? 'open' : 'closed'}"\n`
  }
  for (const [name, value] of each.properties) if (name !== 'drive') text += `${indent}  ${name} = "${show(value)}"\n`
  for (const bus of machine.buses) if (bus.owner === each) text += treeLines(machine, bus, `${indent}  `)
  return text
}

export const INFO_COMMANDS: readonly HumanCommand[] = [
  {
    names: ['block'],
    arguments: [flag('n', 'nodes'), flag('v', 'verbose'), optional(device())],
    usage: '[-n] [-v] [device]',
    summary: 'show info of one block device or all block devices (-n: show named nodes; -v: show details)',
    run: infoBlock,
  },
  {
    names: ['block-jobs'],
    arguments: [],
    usage: '',
    summary: 'show progress of ongoing block device operations',
    run: infoBlockJobs,
  },
  { names: ['blockstats'], arguments: [], usage: '', summary: 'show block device statistics', run: infoBlockstats },
  {
    names: ['chardev'],
    arguments: [],
    usage: '',
    summary: 'show the character devices',
    *run({ listChardevs }, _values, say) {
      for (const { label, filename } of listChardevs()) say(`${label}: filename=${filename}\n`)
    },
  },
  {
    names: ['iothreads'],
    arguments: [],
    usage: '',
    summary: 'show iothreads',
    *run({ objects }, _values, say) {
      for (const id of objects.ofType('iothread'))
        say(`${id}:\n  thread_id=0\n  poll-max-ns=0\n  poll-grow=0\n  poll-shrink=0\n  aio-max-batch=0\n`)
    },
  },
  {
    names: ['name'],
    arguments: [],
    usage: '',
    summary: 'show the current VM name',
    *run(environment, _values, say) {
      const { name } = machineOf(environment)
      if (name !== null) say(`${name}\n`)
    },
  },
  { names: ['network'], arguments: [], usage: '', summary: 'show the network state', *run() {} },
  {
    names: ['qtree'],
    arguments: [],
    usage: '',
    summary: 'show device tree',
    *run(environment, _values, say) {
      const machine = machineOf(environment)
      say('bus: main-system-bus\n  type System\n')
      for (const bus of machine.buses) if (bus.owner === null) say(treeLines(machine, bus, '  '))
    },
  },
  { names: ['snapshots'], arguments: [], usage: '', summary: 'show the currently saved VM snapshots', run: infoSnapshots },
  { names: ['status'], arguments: [], usage: '', summary: 'show the current VM status (running|paused)', run: infoStatus },
  {
    names: ['uuid'],
    arguments: [],
    usage: '',
    summary: 'show the current VM UUID',
    *run(_environment, _values, say) {
      say('00000000-0000-0000-0000-000000000000\n')
    },
  },
  {
    names: ['version'],
    arguments: [],
    usage: '',
    summary: 'show the version of QEMU',
    *run({ version }, _values, say) {
      say(`${version.major}.${version.minor}.${version.micro}${version.package}\n`)
    },
  },
]
