/**
 * The QMP part of `npm run interop`: conversations with the storage daemon (qmp_script.ts) and the system program
 * (qmp_script_system.ts) of QEMU and with ours, answer by answer and event by event. What may differ stands in `DIFFERENCES`, each with its reason in docs/qmp-differences.md.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { killedWithUs, makeScratch, removeScratch } from './interrupt'
import { QMP_SCRIPT, type Step } from './qmp_script'
import { BARE_ARGUMENTS, BARE_INHERITED, BARE_SCRIPT } from './qmp_script_bare'
import { SYSTEM_ARGUMENTS, SYSTEM_SCRIPT } from './qmp_script_system'

const PROGRAM = path.resolve(__dirname, '../bin/mirrorsim.cjs')
const ANSWER_MS_MAX = 20_000

/** What came between one step and the next: lines, without their times. */
export interface Exchange {
  step: Step
  lines: string[]
}

/** A permitted difference: makes a line of either side the same. */
interface Difference {
  /** As it is headed in docs/qmp-differences.md. */
  name: string
  /** Only for answers to these commands; absent: for every line. */
  commands?: readonly string[]
  level(line: string): string
}

/** Members that newer versions have, taken out of an answer wherever they stand. */
function without(...members: string[]): (line: string) => string {
  return (line) => JSON.stringify(JSON.parse(line), (key, value) => (members.includes(key) ? undefined : value))
}

const LATENCIES = ['rd', 'wr', 'flush', 'unmap'].map((name) => `${name}_total_time_ns`)

export const DIFFERENCES: readonly Difference[] = [
  { name: 'Version', commands: ['query-version'], level: () => 'version' },
  { name: 'Greeting', level: (line) => (line.startsWith('{"QMP"') ? 'greeting' : line) },
  { name: 'Commands', commands: ['query-commands'], level: () => 'commands' },
  {
    name: 'Members of newer versions',
    commands: ['query-named-block-nodes', 'query-block', 'query-blockstats', 'query-block-jobs', 'query-status'],
    level: without(
      'children',
      'active',
      'limits',
      'singlestep',
      'actively-synced',
      ...['bytes', 'operations', 'total_time_ns', 'merged'].map((name) => `zone_append_${name}`),
      'failed_zone_append_operations',
      'invalid_zone_append_operations',
    ),
  },
  {
    name: 'Format of files',
    commands: ['query-named-block-nodes', 'query-block'],
    level: (line) => line.replace(/"format-specific":\{"(?:type":"file","data":\{\}|data":\{\},"type":"file")\},?/g, ''),
  },
  { name: 'Allocated bytes', commands: ['query-named-block-nodes', 'query-block'], level: without('actual-size') },
  { name: 'Dates', commands: ['blockdev-snapshot-delete-internal-sync'], level: without('date-sec', 'date-nsec') },
  {
    name: 'Settings of migrations',
    commands: ['query-migrate-capabilities', 'query-migrate-parameters'],
    level: () => 'settings',
  },
  {
    name: 'Statistics of migrations',
    commands: ['query-migrate'],
    level: without('ram', 'setup-time', 'downtime', 'total-time', 'expected-downtime'),
  },
  {
    name: 'Numbers of descriptors',
    commands: ['query-fdsets'],
    level: (line) => line.replace(/"fd": ?\d+/g, '"fd":0'),
  },
  { name: 'Latencies', commands: ['query-blockstats'], level: without('idle_time_ns', ...LATENCIES) },
]

/** Single steps whose outcome differs, by a part of the step's text. */
export const PERMITTED: ReadonlyArray<{ readonly name: string; readonly step: string }> = [
  { name: 'Reopening what was reopened with its format', step: '"node-name":"top","file":"topf","backing":"base"}' },
  { name: 'Moving the window of a raw node', step: '"node-name":"r","file":"f","offset":1024}' },
  { name: 'Jobs that are refused for their speed', step: '{"event":"JOB_STATUS_CHANGE","data":{"id":"j","status":"ready"}}' },
  { name: 'Resizing a node that is mirrored', step: '"execute":"block_resize","arguments":{"node-name":"z"' },
  { name: 'Pauses of a backup that starts', step: '{"event":"JOB_STATUS_CHANGE","data":{"id":"b","status":"null"}}' },
]

export function isPermitted({ step }: ConversationDifference): boolean {
  const text = typeof step === 'string' ? step : JSON.stringify(step)
  return PERMITTED.some((permitted) => text.includes(permitted.step))
}

class Conversation {
  private readonly child: ChildProcess
  private text = ''
  private readonly lines: string[] = []
  private wake: (() => void) | null = null
  private hasEnded = false

  /** `inherited`: files of the folder, and how they are opened, for the descriptors from 3 on. */
  constructor(program: string, args: readonly string[], folder: string, inherited: Subject['inherited'] = []) {
    const descriptors = inherited.map(([name, flags]) => fs.openSync(path.join(folder, name), flags))
    this.child = killedWithUs(spawn(program, args, { cwd: folder, stdio: ['pipe', 'pipe', 'inherit', ...descriptors] }))
    for (const descriptor of descriptors) fs.closeSync(descriptor)
    this.child.stdout!.on('data', (chunk: Buffer) => this.take(String(chunk)))
    this.child.on('close', () => {
      this.hasEnded = true
      this.wake?.()
    })
    this.child.stdin!.on('error', () => {})
  }

  private take(chunk: string): void {
    this.text += chunk
    const parts = this.text.split('\n')
    this.text = parts.pop()!
    for (const part of parts) if (part.trim() !== '') this.lines.push(part.trim())
    this.wake?.()
  }

  private async next(): Promise<string | null> {
    while (this.lines.length === 0 && !this.hasEnded) {
      const timer = setTimeout(() => this.child.kill('SIGKILL'), ANSWER_MS_MAX)
      await new Promise<void>((resolve) => {
        this.wake = resolve
      })
      clearTimeout(timer)
    }
    return this.lines.shift() ?? null
  }

  /** All lines up to the first that `isLast` wants. */
  private async until(isLast: (message: Record<string, unknown>) => boolean): Promise<string[]> {
    const lines: string[] = []
    for (;;) {
      const line = await this.next()
      if (line === null) return [...lines, 'the program ended']
      lines.push(line.replace(/"timestamp": \{[^}]*\}, /, '').replace(/#block\d+/g, '#block'))
      let message: Record<string, unknown>
      try {
        message = JSON.parse(line) as Record<string, unknown>
      } catch {
        continue
      }
      if (isLast(message)) return lines
    }
  }

  /** Steps and what came of them. After each request a marked one follows: what a broken one brings forth is not counted. */
  async hold(script: readonly Step[]): Promise<Exchange[]> {
    const exchanges: Exchange[] = [{ step: 'greeting', lines: await this.until((message) => 'QMP' in message) }]
    let events: string[] = []
    for (const [index, step] of script.entries()) {
      let lines: string[]
      if (typeof step === 'string') {
        const isLast = step.includes('"quit"')
        this.child.stdin!.write(isLast ? `${step}\n` : `${step}\n{"execute":"query-jobs","id":"mark-${index}"}\n`)
        lines = await this.until((message) => (isLast ? 'return' in message : message['id'] === `mark-${index}`))
        if (!isLast) lines.pop()
        events.push(...lines.filter(isEvent))
      } else {
        const isIt = (message: Record<string, unknown>): boolean => matches(step, message)
        const known = events.findIndex((line) => isIt(JSON.parse(line) as Record<string, unknown>))
        lines = known >= 0 ? [] : await this.until(isIt)
        events = known >= 0 ? events.slice(known + 1) : []
      }
      exchanges.push({ step, lines })
    }
    this.child.stdin!.end()
    return exchanges
  }
}

function isEvent(line: string): boolean {
  return line.startsWith('{"event"')
}

function matches(step: Exclude<Step, string>, message: Record<string, unknown>): boolean {
  if (message['event'] !== step.event) return false
  const data = (message['data'] ?? {}) as Record<string, unknown>
  return Object.entries(step.data ?? {}).every(([key, value]) => data[key] === value)
}

function commandOf(step: Step): string | null {
  if (typeof step !== 'string') return null
  try {
    const value = JSON.parse(step) as { execute?: unknown } | null
    return typeof value?.execute === 'string' ? value.execute : null
  } catch {
    return null
  }
}

function levelled(exchange: Exchange): string[] {
  const command = commandOf(exchange.step)
  return exchange.lines.map((line) => {
    let level = line
    for (const { commands, level: apply } of DIFFERENCES) {
      if (commands !== undefined && (command === null || !commands.includes(command))) continue
      if (level.startsWith('{')) level = apply(level)
    }
    return level
  })
}

export interface ConversationDifference {
  step: Step
  ours: string[]
  theirs: string[]
}

/**
 * Answers are compared request by request, events as one sequence for each of the conversation's waits: a job goes on beside
 * the monitor, so its events may fall on either side of an answer.
 */
export function differencesOf(ours: readonly Exchange[], theirs: readonly Exchange[]): ConversationDifference[] {
  const differences: ConversationDifference[] = []
  let myEvents: string[] = []
  let theirEvents: string[] = []
  for (const [index, mine] of ours.entries()) {
    const { step } = mine
    const left = levelled(mine)
    const right = levelled(theirs[index]!)
    const answers = { step, ours: left.filter((line) => !isEvent(line)), theirs: right.filter((line) => !isEvent(line)) }
    if (answers.ours.join('\n') !== answers.theirs.join('\n')) differences.push(answers)
    myEvents.push(...left.filter(isEvent))
    theirEvents.push(...right.filter(isEvent))
    const isEnd = index === ours.length - 1
    if (typeof step === 'string' && !isEnd) continue
    // What comes after the event that was waited for belongs to the next part.
    const until = typeof step === 'string' ? undefined : step
    const [mineNow, mineLater] = cut(myEvents, until)
    const [theirsNow, theirsLater] = cut(theirEvents, until)
    if (mineNow.join('\n') !== theirsNow.join('\n')) differences.push({ step, ours: mineNow, theirs: theirsNow })
    myEvents = mineLater
    theirEvents = theirsLater
  }
  return differences
}

function cut(events: readonly string[], until: Exclude<Step, string> | undefined): [string[], string[]] {
  const at = until === undefined ? -1 : events.findIndex((line) => matches(until, JSON.parse(line) as Record<string, unknown>))
  return at < 0 ? [[...events], []] : [events.slice(0, at + 1), events.slice(at + 1)]
}

/** Makes images in a new folder, by arguments of qemu-img create. */
function makeFolder(images: ReadonlyArray<readonly string[]>): string {
  const folder = makeScratch(os.tmpdir(), 'mirrorsim-qmp-')
  for (const image of images) spawnSync('qemu-img', ['create', '-q', ...image], { cwd: folder })
  return folder
}

/** One conversation, and with whom it is held. */
interface Subject {
  readonly theirs: string
  readonly script: readonly Step[]
  readonly images: ReadonlyArray<readonly string[]>
  readonly theirArguments: readonly string[]
  /** The name of our program, and what stands before the arguments that both have. */
  readonly ourArguments: readonly string[]
  readonly inherited?: ReadonlyArray<readonly [name: string, flags: string]>
}

const DAEMON_ARGUMENTS = ['--chardev', 'stdio,id=c', '--monitor', 'c']
const SUBJECTS: readonly Subject[] = [
  {
    theirs: 'qemu-storage-daemon',
    script: QMP_SCRIPT,
    images: [
      ['-f', 'qcow2', 'base.qcow2', '1M'],
      ['-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', 'top.qcow2', '1M'],
      ['-f', 'raw', 'disk.raw', '1M'],
    ],
    theirArguments: DAEMON_ARGUMENTS,
    ourArguments: ['storage-daemon', ...DAEMON_ARGUMENTS],
  },
  {
    theirs: 'qemu-system-x86_64',
    script: SYSTEM_SCRIPT,
    images: [...['a', 'b', 'c'].map((name) => ['-f', 'qcow2', `${name}.qcow2`, '1M']), ['-f', 'raw', 'r.raw', '1M']],
    // Debian builds it without qtest; the machine is stopped.
    theirArguments: SYSTEM_ARGUMENTS,
    ourArguments: ['system', '-accel', 'qtest', ...SYSTEM_ARGUMENTS],
  },
  {
    theirs: 'qemu-system-x86_64',
    script: BARE_SCRIPT,
    images: [...[0, 1, 2].map((index) => ['-f', 'raw', `r${index}.raw`, '1M']), ['-f', 'qcow2', 's.qcow2', '1M']],
    theirArguments: BARE_ARGUMENTS,
    ourArguments: ['system', ...BARE_ARGUMENTS],
    inherited: BARE_INHERITED,
  },
]

async function holdIn({ script, images, inherited }: Subject, program: string, args: readonly string[]): Promise<Exchange[]> {
  const folder = makeFolder(images)
  try {
    return await new Conversation(program, args, folder, inherited).hold(script)
  } finally {
    removeScratch(folder)
  }
}

export interface QmpOutcome {
  theirs: string
  /** null: QEMU's program is not installed. */
  result: { requests: number; differences: ConversationDifference[] } | null
}

export async function interopQmp(): Promise<QmpOutcome[]> {
  const outcomes: QmpOutcome[] = []
  for (const subject of SUBJECTS) outcomes.push({ theirs: subject.theirs, result: await compare(subject) })
  return outcomes
}

async function compare(subject: Subject): Promise<QmpOutcome['result']> {
  const { theirs, script, theirArguments, ourArguments } = subject
  if (spawnSync(theirs, ['--version']).status !== 0) return null
  const told = await holdIn(subject, theirs, theirArguments)
  const ours = await holdIn(subject, process.execPath, [PROGRAM, ...ourArguments])
  return { requests: script.filter((step) => typeof step === 'string').length, differences: differencesOf(ours, told) }
}
