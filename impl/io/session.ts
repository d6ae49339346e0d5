/**
 * One user at one disk: takes command lines and runs them against a backend, as qemu-io does. The program qemu-io and the
 * monitor's command of the same name share it; what they add (opening files, signals) comes in by `IoHost` and by further
 * commands.
 *
 * What may fail: a command, by an errno other than OK after it has said what is wrong. Nothing throws but defects.
 * What never may: a request beyond what the backend lets through.
 */
import { type BlockBackend, BlockError, type PreallocationMode } from '../block'
import { assert, type Co, EINVAL, type Errno, type Kernel, OK, WaitQueue } from '../co'
import { GetOpt } from './getopt'
import { QuantityError } from './quantity'

/** The user's side. */
export interface IoHost {
  /** What the program prints, line breaks included. */
  out(text: string): void
  /** What it complains of, beside the results. */
  err(text: string): void
  /** An error with the program's name put in front; one line without its end. */
  report(text: string): void
  /** For elapsed time; any origin. */
  nowNs(): number
  /** Sends a signal to the process itself. Absent: there is no such thing here. */
  raise?(signal: number): void
  /** The content of a file to write from. Throws BlockError. Absent: there are no files. */
  readFile?(path: string): Co<Uint8Array>
  /** Why a length cannot be changed, in words. Absent: the errno's text says it. */
  truncateText?(disk: BlockBackend, errno: Errno, preallocation: PreallocationMode): string
  /** Where the state of virtual machines begins. Absent: 0. */
  vmStateOffset?(disk: BlockBackend): number
  /** What the format tells about the image, as lines. Absent: nothing. */
  specificInfo?(disk: BlockBackend): string
}

export interface IoCommand {
  name: string
  /** A shorter name. */
  short?: string
  /** The operands, as help shows them; absent: it does not say. */
  usage?: string
  summary: string
  help?: string
  /** How many words may follow the name. */
  wordsMin: number
  wordsMax: number
  /** Permissions that the backend must hold. */
  permission?: number
  /** True: it needs no disk. */
  runsClosed?: boolean
  run(session: IoSession, args: readonly string[]): Co<Errno>
}

/** A message for the user that ends a command: printed as it is. */
export class IoComplaint extends Error {}

export class IoSession {
  readonly kernel: Kernel
  readonly host: IoHost
  readonly commands = new Map<string, IoCommand>()
  backend: BlockBackend | null = null
  /** True after `quit`. */
  hasEnded = false
  /** Asynchronous requests that have not ended. */
  private asynchronous = 0
  /** Ends of asynchronous requests that nobody has been told of. */
  private completions: Array<() => void> = []
  private readonly changed: WaitQueue
  /** The user is told of the end of an asynchronous request when it happens, not when a command waits next. */
  private readonly tellsAtOnce: boolean

  constructor(kernel: Kernel, host: IoHost, commands: readonly IoCommand[], tellsAtOnce = false) {
    this.kernel = kernel
    this.host = host
    this.tellsAtOnce = tellsAtOnce
    this.changed = new WaitQueue(kernel)
    for (const command of commands) {
      assert(!this.commands.has(command.name), 'io-command-once', () => command.name)
      this.commands.set(command.name, command)
    }
  }

  /** The disk, where a command that needs one runs. */
  get disk(): BlockBackend {
    assert(this.backend !== null, 'io-has-disk')
    return this.backend
  }

  find(name: string): IoCommand | null {
    for (const command of this.commands.values()) if (command.name === name || command.short === name) return command
    return null
  }

  /** Runs one line; an empty one does nothing. */
  *execute(line: string): Co<Errno> {
    const words = line.split(' ').filter((word) => word !== '')
    const [name, ...args] = words
    if (name === undefined) return OK
    const command = this.find(name)
    if (command === null) {
      this.host.err(`command "${name}" not found\n`)
      return EINVAL
    }
    if (this.backend === null && command.runsClosed !== true) {
      this.host.err("no file open, try 'help open'\n")
      return EINVAL
    }
    if (args.length < command.wordsMin || args.length > command.wordsMax) {
      this.host.err(countComplaint(name, command, args.length))
      return EINVAL
    }
    try {
      this.demandPermission(command.permission ?? 0)
      return yield* command.run(this, args)
    } catch (error) {
      if (error instanceof IoComplaint || error instanceof QuantityError) this.host.out(`${error.message}\n`)
      else if (error instanceof BlockError) this.host.report(error.message)
      else throw error
      return EINVAL
    }
  }

  /** Throws BlockError if others exclude it. */
  private demandPermission(wanted: number): void {
    const root = this.backend?.root
    if (wanted === 0 || root === null || root === undefined) return
    if ((root.permission & wanted) === wanted) return
    this.backend!.setPermissions(root.permission | wanted, root.shared)
  }

  /** Options of a command; `run` gets each, and the answer is the operands. Throws IoComplaint with the usage. */
  options(name: string, args: readonly string[], letters: string, run: (letter: string, value: string) => void): string[] {
    const getopt = new GetOpt(name, args, letters, [], (line) => this.host.err(`${line}\n`))
    for (let letter = getopt.next(); letter !== null; letter = getopt.next()) {
      if (letter === '?') throw this.usage(name)
      run(letter, getopt.argument)
    }
    return getopt.operands
  }

  usage(name: string): IoComplaint {
    const command = this.commands.get(name)
    assert(command !== undefined, 'io-command-known', () => name)
    return new IoComplaint(oneLine(command))
  }

  /** Starts a request beside everything else and lets it run to where it waits first. `ended` tells the user of it. */
  *start(request: Co<Errno>, ended: (errno: Errno) => void): Co<void> {
    this.asynchronous++
    this.kernel.spawn(this.follow(request, ended))
    yield* this.kernel.sleepNs(0)
  }

  private *follow(request: Co<Errno>, ended: (errno: Errno) => void): Co<void> {
    const errno = yield* request
    assert(this.asynchronous > 0, 'io-asynchronous-count')
    this.asynchronous--
    this.completions.push(() => ended(errno))
    if (this.tellsAtOnce) this.deliver()
    this.changed.wakeAll()
  }

  /** Tells the user what has ended meanwhile: called wherever a command has waited. */
  deliver(): void {
    const { completions } = this
    this.completions = []
    for (const tell of completions) tell()
  }

  /** Waits until no asynchronous request is left. */
  *settle(): Co<void> {
    this.deliver()
    while (this.asynchronous > 0) {
      yield* this.changed.wait({ describe: () => `waits for ${this.asynchronous} asynchronous requests` })
      this.deliver()
    }
    assert(this.completions.length === 0, 'io-all-told')
  }
}

/** How a command is called, and what it does. */
export function oneLine({ name, usage, summary }: IoCommand): string {
  return `${name} ${usage === undefined ? '' : `${usage} `}-- ${summary}`
}

function countComplaint(name: string, { wordsMin, wordsMax }: IoCommand, count: number): string {
  const start = `bad argument count ${count} to ${name}, expected `
  if (wordsMax === Number.POSITIVE_INFINITY) return `${start}at least ${wordsMin} arguments\n`
  if (wordsMin === wordsMax) return `${start}${wordsMin} arguments\n`
  return `${start}between ${wordsMin} and ${wordsMax} arguments\n`
}
