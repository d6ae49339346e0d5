/**
 * The options of one node while it is opened: flat, as QEMU keeps them (`file.filename`, `server.0.host`), whether they came
 * as JSON, as text on a command line, or out of a file name. Whoever understands an option takes it; what is left in the
 * end is an error.
 *
 * What may fail: a value of the wrong form, as BlockError with QEMU's text.
 */
import { BlockError } from '../block'
import { assert, EINVAL } from '../co'
import { JsonDouble, type JsonObject, type JsonValue } from '../json'

const SUFFIXES = 'BKMGTPE'
const UINT64_END = 2n ** 64n
const DEPTH_MAX = 1024

export class Options {
  private readonly values: Map<string, JsonValue>

  constructor(values: Iterable<readonly [string, JsonValue]> = []) {
    this.values = new Map(values)
  }

  /** Flattens JSON: members of objects and lists become `name.member` and `name.0`. Keys may be flat already. */
  static ofJson(object: JsonObject): Options {
    const options = new Options()
    flatten(options.values, '', object, 0)
    return options
  }

  get size(): number {
    return this.values.size
  }
  has(key: string): boolean {
    return this.values.has(key)
  }
  /** True if there is an option below `prefix` (which ends with a point). */
  hasBelow(prefix: string): boolean {
    for (const key of this.values.keys()) if (key.startsWith(prefix)) return true
    return false
  }
  get(key: string): JsonValue | undefined {
    return this.values.get(key)
  }
  set(key: string, value: JsonValue): void {
    this.values.set(key, value)
  }
  setDefault(key: string, value: JsonValue): void {
    if (!this.values.has(key)) this.values.set(key, value)
  }
  delete(key: string): void {
    this.values.delete(key)
  }
  copy(): Options {
    return new Options(this.values)
  }
  entries(): IterableIterator<[string, JsonValue]> {
    return this.values.entries()
  }
  /** What nobody has taken, the first of it; null: nothing is left. */
  firstLeft(): string | null {
    for (const key of this.values.keys()) return key
    return null
  }
  /** Adds what is not there yet. */
  join(other: Options): void {
    for (const [key, value] of other.values) this.setDefault(key, value)
  }

  /** Takes everything below `prefix`, which ends with a point, out. */
  takeBelow(prefix: string): Options {
    assert(prefix.endsWith('.'), 'prefix-ends-with-point', () => prefix)
    const taken = new Options()
    for (const [key, value] of [...this.values]) {
      if (!key.startsWith(prefix)) continue
      taken.values.set(key.slice(prefix.length), value)
      this.values.delete(key)
    }
    return taken
  }
  /** Takes the list `name.0`, `name.1`, … out, each an option group of its own; a plain value has the key ''. */
  takeList(name: string): Options[] {
    const list: Options[] = []
    for (let index = 0; ; index++) {
      const key = `${name}.${index}`
      const item = this.takeBelow(`${key}.`)
      const plain = this.values.get(key)
      if (plain !== undefined) item.values.set('', plain)
      this.values.delete(key)
      if (item.size === 0) return list
      list.push(item)
    }
  }

  /** null and containers are nobody's values here. */
  private takeScalar(key: string): boolean | number | bigint | JsonDouble | string | undefined {
    const value = this.values.get(key)
    if (value === undefined || value === null || Array.isArray(value) || value instanceof Map) return undefined
    this.values.delete(key)
    return value
  }
  takeString(key: string): string | undefined {
    const value = this.takeScalar(key)
    if (value === undefined || typeof value === 'string') return value
    if (typeof value === 'boolean') return value ? 'on' : 'off'
    return value instanceof JsonDouble ? String(value.value) : String(value)
  }
  takeFlag(key: string): boolean | undefined {
    const value = this.takeScalar(key)
    if (value === undefined || typeof value === 'boolean') return value
    if (value === 'on' || value === 'yes' || value === 'true' || value === 'y') return true
    if (value === 'off' || value === 'no' || value === 'false' || value === 'n') return false
    throw new BlockError(`Parameter '${key}' expects 'on' or 'off'`)
  }
  /** A number without unit, at least 0. */
  takeNumber(key: string): number | undefined {
    const value = this.takeScalar(key)
    if (value === undefined) return undefined
    const number =
      typeof value === 'string'
        ? parseNumber(value)
        : typeof value === 'number' || typeof value === 'bigint'
          ? Number(value)
          : null
    if (number === null) throw new BlockError(`Parameter '${key}' expects a number`)
    return number
  }
  /** A number of bytes; text may have a suffix. */
  takeSize(key: string): number | undefined {
    const value = this.takeScalar(key)
    if (value === undefined) return undefined
    const bytes =
      typeof value === 'string' ? parseSize(value) : typeof value === 'number' || typeof value === 'bigint' ? Number(value) : null
    if (bytes === 'range') throw new BlockError(`Value '${String(value)}' is out of range for parameter '${key}'`)
    if (bytes === null || bytes < 0) throw new SizeError(key)
    return bytes
  }
  /** One of `choices`; `refuse` makes the error. */
  takeChoice<T extends string>(key: string, choices: readonly T[], refuse?: (value: string) => BlockError): T | undefined {
    const value = this.takeString(key)
    if (value === undefined) return undefined
    const choice = choices.find((known) => known === value)
    if (choice !== undefined) return choice
    throw refuse?.(value) ?? new BlockError(`Parameter '${key}' does not accept value '${value}'`, { errno: EINVAL })
  }
}

/** A wrong size; command lines print `hint` below it. */
export class SizeError extends BlockError {
  constructor(key: string) {
    const hint = 'Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.'
    super(`Parameter '${key}' expects a non-negative number below 2^64`, { hint })
  }
}

function flatten(values: Map<string, JsonValue>, prefix: string, container: JsonObject | JsonValue[], depth: number): void {
  assert(depth <= DEPTH_MAX, 'options-nested')
  const members = container instanceof Map ? container.entries() : container.entries()
  for (const [name, value] of members as Iterable<[string | number, JsonValue]>) {
    const key = `${prefix}${name}`
    const isFull = (value instanceof Map && value.size > 0) || (Array.isArray(value) && value.length > 0)
    if (isFull) flatten(values, `${key}.`, value as JsonObject | JsonValue[], depth + 1)
    else values.set(key, value)
  }
}

/** Decimal, octal with a leading 0, or hexadecimal; null if it is none. */
export function parseNumber(text: string): number | null {
  if (!/^[+-]?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)$/.test(text)) return null
  const digits = text.replace(/^[+-]/, '')
  const value = /^0[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number(digits)
  return text.startsWith('-') ? -value : value
}

/**
 * A number of bytes with a unit behind it, as QEMU's command lines take it: `64k`, `1.5G`, `0x1000`. null: it is none;
 * `range`: it does not fit in 64 bits. What is larger than 2^53 is rounded to where numbers are exact.
 */
export function parseSize(text: string, defaultSuffix = 'B'): number | null | 'range' {
  const match = /^\s*\+?(?:(0[xX][0-9a-fA-F]+)|(\d+)(\.\d*)?)([bkmgtpeBKMGTPE])?$/.exec(text)
  if (match === null) return null
  const [, hexadecimal, whole, fraction = '', suffix = defaultSuffix] = match
  const power = BigInt(SUFFIXES.indexOf(suffix.toUpperCase())) * 10n
  if (hexadecimal !== undefined && match[4] !== undefined && power === 0n) return null
  if (/[1-9]/.test(fraction) && power === 0n) return null
  let bytes = BigInt(hexadecimal ?? whole!) << power
  const digits = fraction.slice(1, 18)
  if (digits !== '')
    bytes += ((BigInt(digits) << power) * 2n + 10n ** BigInt(digits.length)) / (2n * 10n ** BigInt(digits.length))
  return bytes >= UINT64_END ? 'range' : Number(bytes)
}
