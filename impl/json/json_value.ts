/**
 * The values of QMP's JSON, and how they are printed: to the letter as QEMU prints them, because scripts compare text.
 * Objects keep no order; they are printed in the order of QEMU's hash table. Never fails.
 */
import { assert } from '../co'

/** A number with a fraction or an exponent, or too large for 64 bits: never accepted where an integer is asked for. */
export class JsonDouble {
  readonly value: number

  constructor(value: number) {
    this.value = value
  }
}

export type JsonObject = Map<string, JsonValue>
/** Integers are numbers where they are safe, else bigints of at most 64 bits. */
export type JsonValue = null | boolean | number | bigint | JsonDouble | string | JsonValue[] | JsonObject

/** An object from pairs; pairs with the value undefined are left out. */
export function jsonObject(members: Readonly<Record<string, JsonValue | undefined>>): JsonObject {
  const object: JsonObject = new Map()
  for (const [key, value] of Object.entries(members)) if (value !== undefined) object.set(key, value)
  return object
}

const BUCKETS = 512

/** The hash of QEMU's dictionaries: 32 bits wide, over the bytes of the key. */
function bucketOf(key: string): number {
  const bytes = new TextEncoder().encode(key)
  let hash = Math.imul(0x238f13af, bytes.length)
  for (let index = 0; index < bytes.length; index++) hash = (hash + (bytes[index]! << ((index * 5) % 24))) | 0
  hash = (Math.imul(1103515243, hash) + 12345) >>> 0
  assert(hash >= 0 && hash < 2 ** 32, 'hash-of-32-bits')
  return hash % BUCKETS
}

const buckets = new Map<string, number>()
const KNOWN_KEYS_MAX = 4096

function knownBucket(key: string): number {
  const known = buckets.get(key)
  if (known !== undefined) return known
  const bucket = bucketOf(key)
  if (buckets.size < KNOWN_KEYS_MAX) buckets.set(key, bucket)
  return bucket
}

/** Keys as a walk through QEMU's dictionary meets them: by bucket, within one the newest first. */
export function printedOrder(object: JsonObject): string[] {
  const keys = [...object.keys()].reverse()
  // A stable sort keeps the newest first.
  return keys.sort((a, b) => knownBucket(a) - knownBucket(b))
}

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
}
// biome-ignore lint/suspicious/noControlCharactersInRegex: those are what has to be escaped
const TO_ESCAPE = /["\\\u0000-\u001f]|[^\u0000-\u007e]/g

function quoted(text: string): string {
  const escaped = text.replace(
    TO_ESCAPE,
    (unit) => ESCAPES[unit] ?? `\\u${unit.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`,
  )
  return `"${escaped}"`
}

/** As C prints `%.17g`. */
export function printDouble(value: number): string {
  if (Number.isNaN(value)) return 'nan'
  if (!Number.isFinite(value)) return value < 0 ? '-inf' : 'inf'
  if (value === 0) return Object.is(value, -0) ? '-0' : '0'
  const [digits, power] = value.toExponential(16).split('e') as [string, string]
  const exponent = Number(power)
  const trimmed = (text: string): string => (text.includes('.') ? text.replace(/\.?0+$/, '') : text)
  if (exponent >= -4 && exponent < 17) return trimmed(value.toFixed(Math.max(0, 16 - exponent)))
  const sign = exponent < 0 ? '-' : '+'
  return `${trimmed(digits)}e${sign}${String(Math.abs(exponent)).padStart(2, '0')}`
}

/** One line, or with `pretty` one member a line and four spaces a level. */
export function printJson(value: JsonValue, pretty = false): string {
  const parts: string[] = []
  print(parts, value, pretty ? '\n' : '')
  return parts.join('')
}

/** `indent` is a line break and the spaces of the level, or empty for one line. */
function print(parts: string[], value: JsonValue, indent: string): void {
  if (value === null) parts.push('null')
  else if (typeof value === 'string') parts.push(quoted(value))
  else if (value instanceof JsonDouble) parts.push(printDouble(value.value))
  else if (typeof value !== 'object') parts.push(String(value))
  else if (Array.isArray(value))
    printMembers(parts, '[', ']', value.length, indent, (index, inner) => print(parts, value[index]!, inner))
  else {
    const keys = printedOrder(value)
    printMembers(parts, '{', '}', keys.length, indent, (index, inner) => {
      parts.push(quoted(keys[index]!), ': ')
      print(parts, value.get(keys[index]!)!, inner)
    })
  }
}

function printMembers(
  parts: string[],
  open: string,
  close: string,
  count: number,
  indent: string,
  printMember: (index: number, inner: string) => void,
): void {
  const inner = indent === '' ? '' : `${indent}    `
  parts.push(open)
  for (let index = 0; index < count; index++) {
    if (index > 0) parts.push(indent === '' ? ', ' : ',')
    parts.push(inner)
    printMember(index, inner)
  }
  parts.push(indent, close)
}
