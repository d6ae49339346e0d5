/**
 * Lines of the human monitor: words, with quotes and escapes, as a command declares them.
 *
 * What may fail: a line that does not fit, as HumanComplaint in QEMU's words.
 */
import { parseSize } from '../../blockdev'
import { assert } from '../../co'
import type { HumanArgument, HumanCommand, HumanValues } from './command'

/** What is printed in place of a run; lines without their ends. */
export class HumanComplaint extends Error {}
/** A word that is none: QEMU says so where the program prints, and goes on as if there were no word. */
class BrokenWord extends Error {}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', '\\': '\\', "'": "'", '"': '"' }
const MISSING: Readonly<Partial<Record<HumanArgument['kind'], string>>> = {
  device: 'block device name expected',
  filename: 'filename expected',
  string: 'string expected',
}

interface Word {
  text: string
  end: number
}

/** The word at `from`, and where it ends; null: there is none. `complain` hears why. */
export function wordAt(line: string, from: number, complain: (text: string) => void): Word | null {
  try {
    return readWord(line, from)
  } catch (error) {
    if (!(error instanceof BrokenWord)) throw error
    complain(`${error.message}\n`)
    return null
  }
}

function readWord(line: string, from: number): Word | null {
  const start = skipBlanks(line, from)
  if (start >= line.length) return null
  if (line[start] !== '"') {
    const blank = line.slice(start).search(/\s/)
    const end = blank < 0 ? line.length : start + blank
    return { text: line.slice(start, end), end }
  }
  let text = ''
  for (let at = start + 1; at < line.length; at++) {
    const letter = line[at]!
    if (letter === '"') return { text, end: at + 1 }
    if (letter !== '\\') {
      text += letter
      continue
    }
    const escaped = line[++at] ?? ''
    const meant = ESCAPES[escaped]
    if (meant === undefined) throw new BrokenWord(`unsupported escape code: '\\${escaped}'`)
    text += meant
  }
  throw new BrokenWord('unterminated string')
}

export function skipBlanks(line: string, from: number): number {
  let at = from
  while (at < line.length && /\s/.test(line[at]!)) at++
  return at
}

class LineReader {
  private readonly line: string
  private readonly command: string
  private readonly typed: string
  private readonly complain: (text: string) => void
  private at: number
  readonly values = new Map<string, string | number | boolean>()

  /** `command` is as complaints call it, `typed` as the user does. */
  constructor(command: string, typed: string, line: string, at: number, complain: (text: string) => void) {
    this.command = command
    this.typed = typed
    this.line = line
    this.at = at
    this.complain = complain
  }

  /** Throws HumanComplaint. */
  take(argument: HumanArgument): void {
    this.at = skipBlanks(this.line, this.at)
    switch (argument.kind) {
      case 'flag':
        this.takeFlag(argument)
        return
      case 'rest':
        if (this.at < this.line.length) this.values.set(argument.name, this.line.slice(this.at))
        this.at = this.line.length
        return
      case 'integer':
      case 'size':
        this.takeNumber(argument)
        return
      default:
        this.takeWord(argument)
    }
  }

  private takeFlag({ name, letter }: HumanArgument): void {
    if (this.line[this.at] !== '-') return
    const given = this.line[this.at + 1] ?? ''
    if (given !== letter) {
      // Another flag may want it; the end of the line does not.
      return
    }
    this.values.set(name, true)
    this.at += 2
  }
  private takeWord({ name, kind, isOptional = false }: HumanArgument): void {
    const found = wordAt(this.line, this.at, this.complain)
    if (found === null) {
      if (isOptional) return
      throw new HumanComplaint(`${this.command}: ${MISSING[kind]!}\n${this.hint}`)
    }
    this.values.set(name, found.text)
    this.at = found.end
  }
  private takeNumber({ name, kind, isOptional = false }: HumanArgument): void {
    const found = wordAt(this.line, this.at, this.complain)
    if (found === null && isOptional) return
    const text = found?.text ?? ''
    const value = kind === 'size' ? parseSize(text, 'M') : /^[+-]?(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : null
    if (typeof value !== 'number') {
      const what =
        kind === 'size'
          ? 'invalid size'
          : text === ''
            ? 'unexpected end of expression'
            : `invalid char '${text[0]}' in expression`
      throw new HumanComplaint(`${what}\n${this.hint}`)
    }
    this.values.set(name, value)
    this.at = found!.end
  }

  /** Nothing may be left. Throws HumanComplaint. */
  end(): void {
    this.at = skipBlanks(this.line, this.at)
    if (this.at >= this.line.length) return
    const letter = this.line[this.at] === '-' ? this.line[this.at + 1] : undefined
    const what = letter === undefined ? 'extraneous characters at the end of line' : `unsupported option -${letter}`
    throw new HumanComplaint(`${this.command}: ${what}\n${this.hint}`)
  }
  get hint(): string {
    return `Try "help ${this.typed}" for more information`
  }
}

/**
 * The arguments of `command`, which the user calls `name`, in `line` behind that, which ends at `at`. `complain` hears of words
 * that are none. Throws HumanComplaint.
 */
export function parseArguments(
  command: HumanCommand,
  name: string,
  line: string,
  at: number,
  complain: (text: string) => void,
): HumanValues {
  const reader = new LineReader(command.names.join('|'), name, line, at, complain)
  for (const argument of command.arguments) reader.take(argument)
  reader.end()
  const required = command.arguments.filter(({ isOptional = false, kind }) => !isOptional && kind !== 'rest')
  assert(
    required.every((argument) => reader.values.has(argument.name)),
    'human-arguments-complete',
    () => name,
  )
  return reader.values
}
