/**
 * Where QEMU's programs are, and what those that were found can do. Capabilities come from what the program says of itself,
 * never from its version.
 */
import { spawn, spawnSync } from 'node:child_process'
import * as path from 'node:path'
import { killedWithUs } from '../interrupt'

const PROGRAM = path.resolve(__dirname, '../../bin/mirrorsim.cjs')

export interface ProgramsWish {
  /** A folder with the programs; null: those on the path. */
  readonly folder: string | null
  /** Words that stand before the program's name; none: it is run itself. */
  readonly wrapper: readonly string[]
}

export interface ProgramResult {
  status: number | null
  stdout: string
  stderr: string
}

/** The programs as they are started. */
export class Programs {
  constructor(private readonly wish: ProgramsWish) {}

  /** The command and the arguments that run `name` with `args`. */
  command(name: string, args: readonly string[]): [string, string[]] {
    const { folder, wrapper } = this.wish
    const program = folder === null ? name : path.join(folder, name)
    const words = [...wrapper, program, ...args]
    return [words[0]!, words.slice(1)]
  }

  /** Runs `name` to its end, beside whatever else is under way; status null: a signal ended it, or it does not start. */
  run(name: string, args: readonly string[], folder?: string): Promise<ProgramResult> {
    const [word, words] = this.command(name, args)
    const child = killedWithUs(spawn(word, words, { stdio: ['ignore', 'pipe', 'pipe'], cwd: folder }))
    const result: ProgramResult = { status: null, stdout: '', stderr: '' }
    child.stdout.on('data', (bytes) => {
      result.stdout += bytes
    })
    child.stderr.on('data', (bytes) => {
      result.stderr += bytes
    })
    return new Promise((resolve) => {
      child.once('error', (error) => resolve({ ...result, stderr: String(error) }))
      child.once('close', (status) => resolve({ ...result, status }))
    })
  }

  /** The first line of `--version`; null: it cannot be run. */
  versionOf(name: string): string | null {
    const { status, stdout } = spawnSync(...this.command(name, ['--version']), { encoding: 'utf8' })
    return status === 0 ? (stdout.split('\n')[0] ?? '') : null
  }

  /** Why there is nothing to run, in words; null: all is there. */
  missing(): string | null {
    const where = this.wish.folder === null ? 'on the path' : `in ${this.wish.folder}`
    for (const name of ['qemu-storage-daemon', 'qemu-img']) {
      if (this.versionOf(name) === null) return `${name} is not installed ${where}`
    }
    return null
  }
}

/** Ours, in the place of QEMU's. */
export class OwnPrograms extends Programs {
  constructor() {
    super({ folder: null, wrapper: [] })
  }

  override command(name: string, args: readonly string[]): [string, string[]] {
    return [process.execPath, [PROGRAM, name.replace(/^qemu-/, ''), ...args]]
  }
}

/** What a daemon can do. */
export interface Capabilities {
  /** `11.1.3 (package)`. */
  readonly version: string
  /** Arguments of each command that is asked about, by command; a command that is absent has none. */
  readonly commands: ReadonlyMap<string, ReadonlySet<string>>
  /** Names of all members of all objects of the schema. */
  readonly members: ReadonlySet<string>
}

interface SchemaEntry {
  readonly name: string
  readonly 'arg-type'?: string
  readonly members?: ReadonlyArray<{ readonly name: string; readonly type?: string }>
}
interface VersionAnswer {
  readonly qemu: { readonly major: number; readonly minor: number; readonly micro: number }
  readonly package?: string
}

const ASKED = ['blockdev-mirror', 'drive-mirror', 'block-job-change', 'blockdev-snapshot', 'block_resize', 'blockdev-reopen']

/** From the answers of query-version and query-qmp-schema. */
export function capabilitiesOf(version: unknown, schema: unknown): Capabilities {
  const { qemu, package: packageName } = version as VersionAnswer
  const entries = new Map((schema as SchemaEntry[]).map((entry) => [entry.name, entry]))
  const commands = new Map<string, ReadonlySet<string>>()
  for (const name of ASKED) {
    const argumentType = entries.get(name)?.['arg-type']
    if (argumentType === undefined) continue
    commands.set(name, new Set((entries.get(argumentType)?.members ?? []).map((member) => member.name)))
  }
  const number = `${qemu.major}.${qemu.minor}.${qemu.micro}`
  const members = new Set((schema as SchemaEntry[]).flatMap((entry) => (entry.members ?? []).map((member) => member.name)))
  return { version: packageName ? `${number} (${packageName})` : number, commands, members }
}

export function canTake(capabilities: Capabilities, command: string, argument: string): boolean {
  return capabilities.commands.get(command)?.has(argument) === true
}
