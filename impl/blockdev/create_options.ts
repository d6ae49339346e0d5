/**
 * The options of image creation as text: `qemu-img create -o`, `convert -o`, `amend -o`. Each format has a list of what it
 * knows; a value is checked when it is set, and what is set can be printed again in the order of the list.
 *
 * What may fail: an unknown option or a value of the wrong form, as BlockError with QEMU's text.
 */
import { BlockError } from '../block'
import { assert } from '../co'
import { parseQemuOpts } from './keyval'
import { parseNumber, parseSize, SizeError } from './options'

export interface CreateOption {
  readonly name: string
  readonly type: 'string' | 'bool' | 'number' | 'size'
  readonly help: string
  /** What is printed and taken where nothing is set. */
  readonly defaultText?: string
}

const TYPE_TEXTS = { string: 'str', bool: 'bool (on/off)', number: 'num', size: 'size' } as const

export class CreateOptions {
  private readonly known: readonly CreateOption[]
  private readonly texts = new Map<string, string>()

  /** A name that two lists have counts in the first one. */
  constructor(...lists: ReadonlyArray<readonly CreateOption[]>) {
    const known: CreateOption[] = []
    for (const option of lists.flat()) if (!known.some(({ name }) => name === option.name)) known.push(option)
    this.known = known
  }

  /** Adds `name=value,…`; later settings win. Throws BlockError. */
  parse(text: string): void {
    const { options } = parseQemuOpts(text)
    for (const [name, value] of options.entries()) this.set(name, String(value))
  }
  /** Throws BlockError. */
  set(name: string, text: string): void {
    const option = this.known.find((known) => known.name === name)
    if (option === undefined) throw new BlockError(`Invalid parameter '${name}'`)
    checkValue(option, text)
    this.texts.set(name, text)
  }
  /** What was set of options that `known` does not have: for the protocol below a format. */
  without(known: readonly CreateOption[]): CreateOptions {
    const left = new CreateOptions(this.known.filter((option) => !known.some(({ name }) => name === option.name)))
    for (const [name, text] of this.texts) if (left.knows(name)) left.texts.set(name, text)
    return left
  }
  knows(name: string): boolean {
    return this.known.some((option) => option.name === name)
  }
  /** Whether it was set, not only has a default. */
  has(name: string): boolean {
    return this.texts.has(name)
  }

  string(name: string): string | undefined {
    return this.texts.get(name) ?? this.known.find((option) => option.name === name)?.defaultText
  }
  flag(name: string): boolean | undefined {
    const text = this.string(name)
    return text === undefined ? undefined : FLAGS[text]
  }
  number(name: string): number | undefined {
    const text = this.string(name)
    return text === undefined ? undefined : (parseNumber(text) ?? undefined)
  }
  size(name: string): number | undefined {
    const text = this.string(name)
    if (text === undefined) return undefined
    const bytes = parseSize(text)
    assert(typeof bytes === 'number', 'size-was-checked', () => text)
    return bytes
  }

  /** As `Formatting …` shows them. */
  print(): string {
    const parts: string[] = []
    for (const { name, type, defaultText } of this.known) {
      const text = this.texts.get(name)
      const shown = text ?? defaultText
      if (shown === undefined) continue
      const isCounted = text !== undefined && (type === 'size' || type === 'number')
      const counted = isCounted ? wholeText(type === 'size' ? this.size(name)! : this.number(name)!) : shown
      parts.push(`${name}=${type === 'string' ? counted.replaceAll(',', ',,') : counted}`)
    }
    return parts.join(' ')
  }
}

/** All digits, however large it is. */
export function wholeText(value: number): string {
  return BigInt(value).toString()
}

const FLAGS: Readonly<Record<string, boolean>> = {
  on: true,
  yes: true,
  true: true,
  y: true,
  off: false,
  no: false,
  false: false,
  n: false,
}

function checkValue({ name, type }: CreateOption, text: string): void {
  switch (type) {
    case 'bool':
      if (!Object.hasOwn(FLAGS, text)) throw new BlockError(`Parameter '${name}' expects 'on' or 'off'`)
      return
    case 'number': {
      const value = parseNumber(text)
      if (value === null) throw new BlockError(`Parameter '${name}' expects a number`)
      if (value >= 2 ** 64) throw new BlockError(`Value '${text}' is too large for parameter '${name}'`)
      return
    }
    case 'size': {
      const bytes = parseSize(text)
      if (bytes === 'range') throw new BlockError(`Value '${text}' is too large for parameter '${name}'`)
      if (bytes === null) throw new SizeError(name)
      return
    }
    case 'string':
      return
  }
}

/** The lines of `-o help`, by name. */
export function createOptionLines(options: readonly CreateOption[]): string[] {
  return [...options]
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    .map(({ name, type, help }) => `  ${`${name}=<${TYPE_TEXTS[type]}>`.padEnd(22)} - ${help}`)
}
