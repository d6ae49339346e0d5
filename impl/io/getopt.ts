/**
 * Options of command lines, as glibc's getopt_long takes them: letters may stand together, long names may be shortened,
 * operands may stand between options, `--` ends them. What is wrong is said in glibc's words.
 *
 * What may fail: a wrong option: `complain` gets one line, and `next` gives '?'.
 */
import { assert } from '../co'

export interface LongOption {
  name: string
  argument: 'none' | 'required' | 'optional'
  /** What `next` gives for it: often the letter of the same option. */
  key: string
}

export class GetOpt {
  /** Of the option that `next` gave; '' if it has none. */
  argument = ''
  /** What is no option, in order; whole when `next` has given null. */
  readonly operands: string[] = []
  private readonly program: string
  private readonly args: readonly string[]
  private readonly letters: string
  private readonly names: readonly LongOption[]
  private readonly complain: (line: string) => void
  private at = 0
  /** Letters of the present word that have not been looked at. */
  private cluster = ''

  /** `letters` as in C: a colon behind those with an argument; a leading `+` ends the options at the first operand. */
  constructor(
    program: string,
    args: readonly string[],
    letters: string,
    names: readonly LongOption[] = [],
    complain: (line: string) => void = () => {},
  ) {
    this.program = program
    this.args = args
    this.letters = letters
    this.names = names
    this.complain = complain
  }

  /** The next option's letter or key, '?' for a wrong one, null at the end. */
  next(): string | null {
    this.argument = ''
    if (this.cluster !== '') return this.letter()
    for (; this.at < this.args.length; this.at++) {
      const word = this.args[this.at]!
      if (word === '--') {
        this.operands.push(...this.args.slice(this.at + 1))
        this.at = this.args.length
        return null
      }
      if (word.startsWith('--') && this.names.length > 0) {
        this.at++
        return this.long(word.slice(2))
      }
      if (word.startsWith('-') && word !== '-') {
        this.at++
        this.cluster = word.slice(1)
        return this.letter()
      }
      if (this.letters.startsWith('+')) {
        this.operands.push(...this.args.slice(this.at))
        this.at = this.args.length
        return null
      }
      this.operands.push(word)
    }
    return null
  }

  private wrong(text: string): string {
    this.complain(`${this.program}: ${text}`)
    return '?'
  }

  private letter(): string {
    const letter = this.cluster[0]
    assert(letter !== undefined, 'getopt-letter')
    this.cluster = this.cluster.slice(1)
    const index = letter === ':' || letter === '+' ? -1 : this.letters.indexOf(letter)
    if (index < 0) return this.wrong(`invalid option -- '${letter}'`)
    if (this.letters[index + 1] !== ':') return letter
    if (this.cluster === '' && this.at >= this.args.length) {
      return this.wrong(`option requires an argument -- '${letter}'`)
    }
    this.argument = this.cluster === '' ? this.args[this.at++]! : this.cluster
    this.cluster = ''
    return letter
  }

  private long(word: string): string {
    const equals = word.indexOf('=')
    const name = equals < 0 ? word : word.slice(0, equals)
    const candidates = this.names.filter((option) => option.name.startsWith(name))
    const found = candidates.find((option) => option.name === name) ?? candidates[0]
    if (found === undefined) return this.wrong(`unrecognized option '--${word}'`)
    const isAmbiguous = found.name !== name && candidates.some((option) => option.key !== found.key)
    if (isAmbiguous) {
      const possible = candidates.map((option) => ` '--${option.name}'`).join('')
      return this.wrong(`option '--${word}' is ambiguous; possibilities:${possible}`)
    }
    if (equals >= 0) {
      if (found.argument === 'none') return this.wrong(`option '--${found.name}' doesn't allow an argument`)
      this.argument = word.slice(equals + 1)
    } else if (found.argument === 'required') {
      if (this.at >= this.args.length) return this.wrong(`option '--${found.name}' requires an argument`)
      this.argument = this.args[this.at++]!
    }
    return found.key
  }
}
