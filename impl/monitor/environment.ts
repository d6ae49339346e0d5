/** What the commands of all monitors of one program work on. */
import { BlockError, type BlockGraph, type BlockNode } from '../block'
import type { BlockdevContext } from '../blockdev'
import type { ByteStream, Co, Kernel, StreamHost, TlsCredentials } from '../co'
import { IO_COMMANDS, type IoCommand, type IoHost } from '../io'
import { JobManager } from '../jobs'
import type { JsonObject, JsonValue } from '../json'
import { EventBus } from './events'
import { BlockExports } from './exports'
import type { Machine } from './machine/machine'
import { ObjectStore } from './objects'

export interface QemuVersion {
  major: number
  minor: number
  micro: number
  package: string
}

export interface EnvironmentOptions {
  context: BlockdevContext
  streams: StreamHost
  version: QemuVersion
  /** Microseconds since 1970. */
  realTimeUs(): number
  /** Does what has to be done before the answer to `quit`; the program ends when that has left. */
  quit(): Co<unknown>
  /** Prints on the program's output. */
  say(text: string): void
  /** Reads a whole file. Throws BlockError. */
  readFile(path: string): Co<Uint8Array>
  /** Keys and certificates, as an object describes them. Throws BlockError. */
  makeCredentials(type: string, object: JsonObject): TlsCredentials
  /** The SHA-256 of bytes in hexadecimal digits. Absent: commands that tell one are not there. */
  sha256?(bytes: Uint8Array): string
  /** What commands of qemu-io work with, and which there are. Absent: they print like everything else. */
  io?: IoEnvironment
  /** A command of the shell as a stream. Throws BlockError. Absent: commands are not run. */
  runCommand?(command: string): Co<ByteStream>
  /** Makes an empty file for data that nobody keeps, and gives its name. Throws BlockError. Absent: there is no place for it. */
  makeTemporaryFile?(): string
  /** Descriptors that the program was started with. Absent: it takes none. */
  fdSets?: FdSetStore
  /** Texts for people, which know of time zones: an image with all that it tells, and a table of snapshots. */
  imageText?(node: BlockNode): string
  snapshotTable?(snapshots: readonly JsonObject[]): string
}

/** Sets of descriptors that file names may mean. */
export interface FdSetStore {
  query(): ReadonlyArray<{ id: number; descriptors: ReadonlyArray<{ descriptor: number; opaque: string | null }> }>
  /** `descriptor` null: all of the set. False: there is no such thing. */
  remove(id: number, descriptor: number | null): boolean
}

export interface IoEnvironment {
  host: Omit<IoHost, 'report'>
  commands: readonly IoCommand[]
}

/** Commands that only some programs have, by name; see `Command`. */
export class QmpEnvironment {
  readonly kernel: Kernel
  readonly graph: BlockGraph
  readonly context: BlockdevContext
  readonly streams: StreamHost
  readonly version: QemuVersion
  readonly events: EventBus
  readonly jobs: JobManager
  readonly objects: ObjectStore
  readonly exports: BlockExports
  readonly quit: () => Co<void>
  readonly say: (text: string) => void
  readonly readFile: (path: string) => Co<Uint8Array>
  readonly sha256: ((bytes: Uint8Array) => string) | null
  readonly io: IoEnvironment
  readonly makeTemporaryFile: (() => string) | null
  readonly fdSets: FdSetStore | null
  readonly runCommand: ((command: string) => Co<ByteStream>) | null
  readonly imageText: (node: BlockNode) => string
  readonly snapshotTable: (snapshots: readonly JsonObject[]) => string
  /** Names and files of the character devices, for query-chardev. */
  listChardevs: () => ReadonlyArray<{ label: string; filename: string; isOpen: boolean }> = () => []
  /** The program has been asked to end: nobody is to be asked for anything more. */
  isQuitting = false
  /** What did not end in time when everything was to end, in words. */
  stuck: readonly string[] = []
  /** Only programs that have one. */
  machine: Machine | null = null
  /** Runs something one after the other with the requests of all monitors. */
  inTurn: <T>(body: () => Co<T>) => Co<T> = (body) => body()
  /** Runs a command of QMP beside the one that runs now: what older forms of commands are made of. */
  invoke: (name: string, args: JsonObject) => Co<JsonValue | undefined> = () => {
    throw new BlockError('Commands cannot be run here')
  }

  constructor(options: EnvironmentOptions) {
    const { context } = options
    this.context = context
    this.graph = context.graph
    this.kernel = context.graph.kernel
    this.streams = options.streams
    this.version = options.version
    const self = this
    this.quit = function* () {
      self.isQuitting = true
      yield* options.quit()
    }
    this.say = options.say
    this.readFile = options.readFile
    this.sha256 = options.sha256 ?? null
    const { say, kernel } = this
    this.io = options.io ?? { host: { out: say, err: say, nowNs: () => kernel.nowNs() }, commands: IO_COMMANDS }
    this.makeTemporaryFile = options.makeTemporaryFile ?? null
    this.fdSets = options.fdSets ?? null
    this.runCommand = options.runCommand ?? null
    this.imageText = options.imageText ?? (() => '')
    this.snapshotTable = options.snapshotTable ?? (() => '')
    this.events = new EventBus(this.kernel, options.realTimeUs)
    this.tellOfCorruption()
    context.emit = (name, data) => this.events.emit(name, data)
    this.jobs = new JobManager(this.kernel, ({ event, data }) => this.events.emit(event, data))
    this.objects = new ObjectStore(context, options.makeCredentials)
    this.exports = new BlockExports(this.kernel, this.graph, (name, data) => this.events.emit(name, data))
  }

  /** The event BLOCK_IMAGE_CORRUPTED, beside what the program does about it. */
  private tellOfCorruption(): void {
    const { context, events } = this
    const tell = context.corrupted
    context.corrupted = (node, corruption) => {
      tell(node, corruption)
      const { message, isFatal, offsetBytes, lengthBytes } = corruption
      events.emit('BLOCK_IMAGE_CORRUPTED', {
        device: node === null ? '' : this.graph.deviceNameOf(node),
        'node-name': node?.name,
        msg: message,
        offset: offsetBytes ?? undefined,
        size: lengthBytes ?? undefined,
        fatal: isFatal,
      })
    }
  }
}
