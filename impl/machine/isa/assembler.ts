/**
 * Text to words and words to text, by the table alone: what one writes, the other reads (a test goes round).
 * Offsets of branches and jumps are written as numbers of bytes from the instruction.
 */
import { expand } from './compressed'
import { decode, type Instruction, instructionNamed } from './table'

/** The word of an instruction with these operands, in the order of its format; throws RangeError for what does not fit. */
export function encode(mnemonic: string, ...values: number[]): number {
  const entry = instructionNamed(mnemonic)
  if (entry === undefined) throw new RangeError(`there is no instruction '${mnemonic}'`)
  const operands = entry.operands.filter(({ name }) => name !== 'aqrl')
  const hasRounding = operands.at(-1)?.name === 'rm'
  const given = hasRounding && values.length === operands.length - 1 ? [...values, 7] : values
  if (given.length !== operands.length) {
    throw new RangeError(`${mnemonic} takes ${operands.length} operands (${entry.format}), not ${values.length}`)
  }
  return operands.reduce((word, operand, place) => word | operand.put(given[place]!), entry.match)
}

function textOf(entry: Instruction, word: number): string {
  let text = entry.format
  let suffix = ''
  if (text.startsWith('aqrl:')) {
    const order = entry.operands[0]!
    suffix = order.print(order.get(word))
    text = text.slice(5)
  }
  if (text.endsWith(',rm') && ((word >> 12) & 7) === 7) text = text.slice(0, -3)
  const written = text.replace(/[a-z0-9]+/g, (name) => {
    const operand = entry.operands.find((one) => one.name === name)!
    return operand.print(operand.get(word))
  })
  return written === '' ? entry.mnemonic : `${entry.mnemonic}${suffix} ${written}`
}

/**
 * One instruction as text. `word` holds at least 16 bits where they are a compressed instruction, which is written as what
 * it stands for, and 32 otherwise. What is no instruction is written as data.
 */
export function disassemble(word: number): string {
  if ((word & 3) !== 3) {
    const wide = expand(word & 0xffff)
    return wide === 0 ? `.half 0x${(word & 0xffff).toString(16)}` : disassemble(wide)
  }
  const entry = decode(word)
  return entry === undefined ? `.word 0x${(word >>> 0).toString(16)}` : textOf(entry, word)
}

function pattern(format: string): RegExp {
  const escaped = format.replace(/[()]/g, '\\$&').replace(/,rm$/, '(?:,rm)?')
  return new RegExp(`^${escaped.replace(/[a-z0-9]+(?![?:])/g, (name) => `(?<${name}>[^,()]*)`)}$`)
}

function splitMnemonic(text: string): { entry: Instruction; order: number } {
  const plain = instructionNamed(text)
  if (plain !== undefined) return { entry: plain, order: 0 }
  const [, stem, suffix] = /^(.*?)(\.aqrl|\.aq|\.rl)$/.exec(text) ?? []
  const entry = stem === undefined ? undefined : instructionNamed(stem)
  if (entry?.operands[0]?.name !== 'aqrl') throw new RangeError(`there is no instruction '${text}'`)
  return { entry, order: entry.operands[0].put(entry.operands[0].parse(suffix!)!) }
}

/** The word of one line as `disassemble` writes it; throws RangeError that says what is wrong. */
export function assemble(line: string): number {
  const [, name, rest] = /^\s*(\S+)\s*(.*?)\s*$/.exec(line) ?? []
  if (name === undefined || rest === undefined) throw new RangeError('there is no instruction in an empty line')
  const { entry, order } = splitMnemonic(name)
  const format = entry.format.replace(/^aqrl:/, '')
  const groups = pattern(format).exec(rest.replace(/\s+/g, ''))?.groups
  if (groups === undefined && format !== '') throw new RangeError(`'${line}': ${name} takes ${format}`)
  let word = entry.match | order
  for (const operand of entry.operands) {
    if (operand.name === 'aqrl') continue
    const text = groups?.[operand.name] ?? (operand.name === 'rm' ? 'dyn' : '')
    const value = operand.parse(text)
    if (value === undefined) throw new RangeError(`'${line}': '${text}' is no ${operand.name}`)
    word |= operand.put(value)
  }
  return word
}
