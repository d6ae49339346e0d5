/** What programs with a monitor have in common: the environment of its commands, the monitors, the end. */
import { createHash, randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { BlockError } from '../../block'
import { type ByteStream, type Co, makeLabel, OK, strerror, type TlsCredentials, WaitQueue } from '../../co'
import { errnoOf } from '../../host'
import type { JsonObject } from '../../json'
import { closeNodes, Dispatcher, endActivity, flushNodes, HumanSession, QmpEnvironment, QmpSession } from '../../monitor'
import type { CommandTable } from '../../monitor/command'
import { QMP_MODULES } from '../../qapi'
import { VERSION } from '../version'
import { Chardevs } from './chardevs'
import { runCommand } from './command_stream'
import { humanInfo, imageInfo, snapshotTable } from './image_info'
import { monitorIo } from './monitor_io'
import type { Tool } from './tool'

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const
const QEMU_VERSION = { major: 11, minor: 0, micro: 0, package: `mirrorsim ${VERSION}` }

/** So long clients may take for what they are still sent, and images for what they hold back. */
const LAST_WORDS_NS = 5_000_000_000

/** One client, to its end. */
export interface ClientSession {
  run(): Co<void>
  /** Waits until all that was said has left. */
  drain(): Co<void>
  /** At once. */
  end(): void
}

export class QmpHost {
  readonly tool: Tool
  readonly environment: QmpEnvironment
  readonly dispatcher: Dispatcher
  readonly chardevs: Chardevs
  private readonly sessions = new Set<ClientSession>()
  /** Hears of a signal that ends the program. */
  onSignal: (signal: NodeJS.Signals) => void = () => {}
  private readonly changed: WaitQueue
  private isEnding = false
  exitCode = OK

  /** `beforeQuit` runs before the answer to `quit` is sent. */
  constructor(tool: Tool, commands: CommandTable, beforeQuit: (host: QmpHost) => Co<unknown>) {
    this.tool = tool
    this.changed = new WaitQueue(tool.kernel)
    this.chardevs = new Chardevs(tool)
    const self = this
    this.environment = new QmpEnvironment({
      context: tool.context,
      streams: tool.streams,
      version: QEMU_VERSION,
      // Milliseconds are what the clock has; QEMU tells more of its own.
      realTimeUs: () => Math.floor((performance.timeOrigin + performance.now()) * 1000),
      *quit() {
        yield* beforeQuit(self)
        self.end()
      },
      say: (text) => {
        tool.print(text)
        tool.terminals.out.flush()
      },
      *readFile(path) {
        try {
          return fs.readFileSync(path)
        } catch (error) {
          throw new BlockError(`${path}: ${strerror(errnoOf(error))}`)
        }
      },
      makeCredentials: (type, object) => this.makeCredentials(type, object),
      makeTemporaryFile,
      fdSets: tool.files.fdSets,
      runCommand: (command) => runCommand(tool.loop, command),
      io: monitorIo(tool, (text) => this.environment.say(text)),
      imageText: (node) => humanInfo(imageInfo(tool.context, node), node, '', '', false),
      snapshotTable,
      sha256: (bytes) => createHash('sha256').update(bytes).digest('hex'),
    })
    this.environment.listChardevs = () => this.chardevs.list()
    this.dispatcher = new Dispatcher(tool.kernel, this.environment, QMP_MODULES, commands)
    tool.findCredentials = (id) => this.environment.objects.tlsCredentials(id)
    tool.context.say = (line) => this.environment.say(`${line}\n`)
  }

  private makeCredentials(type: string, object: JsonObject): TlsCredentials {
    return this.tool.objects.credentialsOf(type, object)
  }

  /** A monitor in QMP on a character device. Throws BlockError. */
  addMonitor(chardev: string, isPretty: boolean): void {
    const isLockstep = this.chardevs.isStandard(chardev)
    const { dispatcher } = this
    this.serveSessions(chardev, (stream) => new QmpSession({ dispatcher, stream, isPretty, isLockstep }))
  }
  /** A monitor for people. Throws BlockError. */
  addHumanMonitor(chardev: string): void {
    this.serveSessions(chardev, (stream) => new HumanSession(this.dispatcher, stream))
  }
  /** Has every client of a device served by a session of its own. Throws BlockError. */
  serveSessions(chardev: string, open: (stream: ByteStream) => ClientSession): void {
    const self = this
    this.chardevs.serve(chardev, function* (stream) {
      const session = open(stream)
      self.sessions.add(session)
      yield* session.run()
      self.sessions.delete(session)
    })
  }

  /** `code`: that of a program which cannot go on. */
  end(code = OK): void {
    this.exitCode = code
    this.isEnding = true
    this.changed.wakeAll()
  }

  /**
   * Runs until a client or a signal ends the program, and closes everything. False: something did not end in time, which has
   * been said; the process has to be ended as it stands.
   */
  *serve(onReady: () => void): Co<boolean> {
    const { tool } = this
    const { loop } = tool
    // Signals are events of the machine: nobody may be taken for stuck while one can come.
    loop.beginIo()
    const waiting = tool.kernel.spawn(this.waitForEnd(), makeLabel('program-end'))
    const onSignal = (signal: NodeJS.Signals): void => {
      this.onSignal(signal)
      this.end()
    }
    for (const signal of SIGNALS) process.on(signal, onSignal)
    onReady()
    yield* tool.kernel.join(waiting)
    for (const signal of SIGNALS) process.off(signal, onSignal)
    this.chardevs.close()
    const isWhole = yield* this.close()
    loop.endWait()
    return isWhole
  }
  private *close(): Co<boolean> {
    const { tool, environment } = this
    environment.machine?.migration.end()
    const left = yield* endActivity(environment)
    // Whoever does not read what it is sent does without.
    const drained = [...this.sessions].map((session) => tool.kernel.spawn(session.drain()))
    const endNs = tool.kernel.nowNs() + LAST_WORDS_NS
    for (const each of drained) yield* tool.kernel.joinUntil(each, endNs)
    for (const session of [...this.sessions]) session.end()
    if (left.length === 0 && (yield* closeNodes(environment))) return true
    const what = left.length > 0 ? left.join(', ') : 'what was to be written'
    tool.complain(`${what} did not end within a minute: giving up, images are left as they are`)
    if (left.length > 0) yield* flushNodes(environment, LAST_WORDS_NS)
    return false
  }
  private *waitForEnd(): Co<void> {
    while (!this.isEnding) yield* this.changed.wait({ describe: () => 'waits for the end of the program' })
  }
}

/** Where QEMU makes them, readable for nobody else. Throws BlockError. */
function makeTemporaryFile(): string {
  const name = path.join(process.env['TMPDIR'] ?? '/var/tmp', `vl.${randomBytes(6).toString('hex')}`)
  try {
    fs.closeSync(fs.openSync(name, 'wx', 0o600))
  } catch (error) {
    throw new BlockError(`Could not open temporary file '${name}': ${strerror(errnoOf(error))}`)
  }
  return name
}
