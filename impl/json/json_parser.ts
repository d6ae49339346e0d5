/**
 * Parses one message of QMP's JSON out of its tokens. Takes what QEMU takes (single quotes too) and refuses the rest with
 * its words: throws JsonError, whose message follows `JSON parse error, ` in the answer.
 */
import { assert } from '../co'
import type { TokenKind } from './json_lexer'
import type { TokenList } from './json_tokens'
import { JsonDouble, type JsonObject, type JsonValue } from './json_value'

export class JsonError extends Error {}

const parseError = (what: string): JsonError => new JsonError(`JSON parse error, ${what}`)

/** Made once: a message may have a million strings. */
const LENIENT = new TextDecoder('utf-8', { ignoreBOM: true })
const STRICT = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Text of raw bytes; what is no UTF-8 becomes a replacement character. */
export function textOf(bytes: Uint8Array): string {
  return LENIENT.decode(bytes)
}

export function strayText(bytes: Uint8Array): string {
  const end = bytes.indexOf(0)
  return `JSON parse error, stray '${textOf(end < 0 ? bytes : bytes.subarray(0, end))}'`
}

const ESCAPED: Readonly<Record<string, string>> = {
  '"': '"',
  "'": "'",
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
}

/** The value of four hexadecimal digits at `at`, or -1. */
function hexAt(text: string, at: number): number {
  const digits = text.slice(at, at + 4)
  return /^[0-9a-fA-F]{4}$/.test(digits) ? Number.parseInt(digits, 16) : -1
}

const isHigh = (unit: number): boolean => unit >= 0xd800 && unit < 0xdc00
const isLow = (unit: number): boolean => unit >= 0xdc00 && unit < 0xe000
/** Code points that stand for no character. */
const isNonCharacter = (point: number): boolean => (point >= 0xfdd0 && point <= 0xfdef) || (point & 0xfffe) === 0xfffe

function unquote(bytes: Uint8Array): string {
  assert(bytes.length >= 2, 'string-has-quotes')
  let text: string
  try {
    text = STRICT.decode(bytes.subarray(1, -1))
  } catch {
    throw parseError('invalid UTF-8 sequence in string')
  }
  if (!text.includes('\\')) return text
  let result = ''
  for (let at = 0; at < text.length; ) {
    const next = text.indexOf('\\', at)
    if (next < 0) return result + text.slice(at)
    result += text.slice(at, next)
    const letter = text[next + 1]!
    if (letter === 'u') {
      const high = hexAt(text, next + 2)
      const hasLow = isHigh(high) && text.startsWith('\\u', next + 6) && isLow(hexAt(text, next + 8))
      const point = hasLow ? 0x10000 + ((high - 0xd800) << 10) + (hexAt(text, next + 8) - 0xdc00) : high
      if (point < 0 || isHigh(point) || isLow(point) || isNonCharacter(point)) {
        const shown = `${text.slice(next, next + 6)}${text.length < next + 6 ? String.fromCharCode(bytes[bytes.length - 1]!) : ''}`
        throw parseError(`${shown.slice(0, 6)} is not a valid Unicode character`)
      }
      result += String.fromCodePoint(point)
      at = next + (hasLow ? 12 : 6)
    } else {
      const character = ESCAPED[letter]
      if (character === undefined) throw parseError('invalid escape sequence in string')
      result += character
      at = next + 2
    }
  }
  return result
}

const INT64_MIN = -(2n ** 63n)
const UINT64_MAX = 2n ** 64n - 1n
/** No integer of 64 bits is rounded up to this. */
const SURELY_LARGE = 2 ** 65

function integer(text: string): JsonValue {
  const value = Number(text)
  if (Number.isSafeInteger(value)) return Object.is(value, -0) ? 0 : value
  // Millions of digits make a double at once, but a BigInt only in minutes.
  if (Math.abs(value) >= SURELY_LARGE) return new JsonDouble(value)
  const large = BigInt(text)
  return large < INT64_MIN || large > UINT64_MAX ? new JsonDouble(value) : large
}

export class JsonParser {
  private readonly tokens: TokenList
  private at = 0

  constructor(tokens: TokenList) {
    this.tokens = tokens
  }

  /** The value that the tokens make; they must make one exactly. Throws JsonError. */
  parse(): JsonValue {
    const value = this.value(this.next())
    if (this.at !== this.tokens.length) throw parseError('expecting end of input')
    return value
  }

  private next(): TokenKind {
    const kind = this.tokens.kindAt(this.at++)
    if (kind === undefined) throw parseError('premature EOI')
    return kind
  }

  /** Raw text of the token that came last. */
  private bytes(): Uint8Array {
    return this.tokens.bytesAt(this.at - 1)
  }

  private value(kind: TokenKind): JsonValue {
    switch (kind) {
      case '{':
        return this.object()
      case '[':
        return this.array()
      case 'string':
        return unquote(this.bytes())
      case 'integer':
        return integer(textOf(this.bytes()))
      case 'float':
        return new JsonDouble(Number(textOf(this.bytes())))
      case 'keyword':
        return this.keyword(textOf(this.bytes()))
      case 'error':
        throw new JsonError(strayText(this.bytes()))
      default:
        throw parseError('expecting value')
    }
  }

  private keyword(word: string): JsonValue {
    if (word === 'null') return null
    if (word === 'true' || word === 'false') return word === 'true'
    throw parseError(`invalid keyword '${word}'`)
  }

  private object(): JsonObject {
    const object: JsonObject = new Map()
    let kind = this.next()
    if (kind === '}') return object
    for (;;) {
      const key = this.value(kind)
      if (typeof key !== 'string') throw parseError('key is not a string in object')
      if (this.next() !== ':') throw parseError('missing : in object pair')
      const value = this.value(this.next())
      if (object.has(key)) throw parseError('duplicate key')
      object.set(key, value)
      kind = this.next()
      if (kind === '}') return object
      if (kind !== ',') throw parseError('expected separator in dict')
      kind = this.next()
    }
  }

  private array(): JsonValue[] {
    const array: JsonValue[] = []
    let kind = this.next()
    if (kind === ']') return array
    for (;;) {
      array.push(this.value(kind))
      kind = this.next()
      if (kind === ']') return array
      if (kind !== ',') throw parseError('expected separator in list')
      kind = this.next()
    }
  }
}
