/**
 * Cuts a stream of bytes into the tokens of QMP's JSON. After a character that fits nowhere it gives an `error` token and
 * skips to the next control or structural character, so that a client's next message is understood again.
 *
 * Never fails; holds at most TOKEN_BYTES_MAX bytes of an unfinished token, in a buffer of at most twice its length.
 */
import { assert } from '../co'

export type TokenKind = '{' | '}' | '[' | ']' | ':' | ',' | 'integer' | 'float' | 'keyword' | 'string' | 'error'

export interface Token {
  kind: TokenKind
  /** Raw text, until the next byte is taken; of a string with its quotes and escapes. Not for structural tokens. */
  bytes: Uint8Array
}

/** Longest token that QEMU takes. */
export const TOKEN_BYTES_MAX = 64 * 1024 * 1024

type State =
  | 'start'
  | 'recovery'
  | 'keyword'
  | 'minus'
  | 'zero'
  | 'digits'
  | 'point'
  | 'fraction'
  | 'exponent'
  | 'exponent-sign'
  | 'exponent-digits'
  | 'single-quoted'
  | 'single-quoted-escape'
  | 'double-quoted'
  | 'double-quoted-escape'

const STRUCTURAL = new Set<number>([...'{}[]:,'].map((character) => character.charCodeAt(0)))
const DOUBLE_QUOTE = 0x22
const SINGLE_QUOTE = 0x27
const PLUS = 0x2b
const MINUS = 0x2d
const POINT = 0x2e
const ZERO = 0x30
const NINE = 0x39
const BACKSLASH = 0x5c
/** No byte of UTF-8. */
const INVALID_FROM = 0xfe
const NOTHING = new Uint8Array(0)
/** What is kept between tokens. */
const BUFFER_BYTES = 4096

/** What ends a finished token without being part of it. */
const FINISHED: Partial<Record<State, TokenKind>> = {
  keyword: 'keyword',
  zero: 'integer',
  digits: 'integer',
  fraction: 'float',
  'exponent-digits': 'float',
}

const isDigit = (byte: number): boolean => byte >= ZERO && byte <= NINE
const isSpace = (byte: number): boolean => byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d
const isLetter = (byte: number): boolean => byte >= 0x61 && byte <= 0x7a
const isExponent = (byte: number): boolean => byte === 0x65 || byte === 0x45

/** The state after `byte`, or null where it cannot follow. */
function after(state: State, byte: number): State | null {
  switch (state) {
    case 'keyword':
      return isLetter(byte) ? 'keyword' : null
    case 'minus':
      return byte === ZERO ? 'zero' : isDigit(byte) ? 'digits' : null
    case 'zero':
      return byte === POINT ? 'point' : isExponent(byte) ? 'exponent' : null
    case 'digits':
      return isDigit(byte) ? 'digits' : byte === POINT ? 'point' : isExponent(byte) ? 'exponent' : null
    case 'point':
      return isDigit(byte) ? 'fraction' : null
    case 'fraction':
      return isDigit(byte) ? 'fraction' : isExponent(byte) ? 'exponent' : null
    case 'exponent':
      return byte === PLUS || byte === MINUS ? 'exponent-sign' : isDigit(byte) ? 'exponent-digits' : null
    case 'exponent-sign':
    case 'exponent-digits':
      return isDigit(byte) ? 'exponent-digits' : null
    case 'single-quoted':
    case 'double-quoted':
      if (byte < 0x20 || byte >= INVALID_FROM) return null
      return byte === BACKSLASH ? (`${state}-escape` as State) : state
    case 'single-quoted-escape':
      return byte < 0x20 || byte >= INVALID_FROM ? null : 'single-quoted'
    case 'double-quoted-escape':
      return byte < 0x20 || byte >= INVALID_FROM ? null : 'double-quoted'
    default:
      return null
  }
}

function begins(byte: number): State | null {
  if (byte === DOUBLE_QUOTE) return 'double-quoted'
  if (byte === SINGLE_QUOTE) return 'single-quoted'
  if (byte === MINUS) return 'minus'
  if (byte === ZERO) return 'zero'
  if (isDigit(byte)) return 'digits'
  return isLetter(byte) ? 'keyword' : null
}

export class JsonLexer {
  private state: State = 'start'
  /** The unfinished token: the first `length` bytes. */
  private text = new Uint8Array(BUFFER_BYTES)
  private length = 0
  private readonly emit: (token: Token) => void

  constructor(emit: (token: Token) => void) {
    this.emit = emit
  }

  /** Takes the next bytes of the stream; tokens are emitted on the way. */
  feed(bytes: Uint8Array): void {
    for (let index = 0; index < bytes.length; index++) this.take(bytes[index]!)
    assert(this.length <= TOKEN_BYTES_MAX, 'token-bounded')
  }

  /** The stream has ended: what is unfinished is finished or an error. */
  flush(): void {
    const finished = FINISHED[this.state]
    if (finished !== undefined) this.finish(finished)
    else if (this.state !== 'start' && this.state !== 'recovery') this.finish('error')
    this.state = 'start'
    assert(this.length === 0, 'nothing-left')
  }

  private finish(kind: TokenKind): void {
    const bytes = this.text.subarray(0, this.length)
    if (this.text.length > BUFFER_BYTES) this.text = new Uint8Array(BUFFER_BYTES)
    this.length = 0
    this.emit({ kind, bytes })
  }

  private push(byte: number): void {
    if (this.length === this.text.length) {
      const larger = new Uint8Array(2 * this.length)
      larger.set(this.text)
      this.text = larger
    }
    this.text[this.length++] = byte
  }

  private take(byte: number): void {
    if (this.state === 'recovery') {
      if (byte >= 0x20 && byte < INVALID_FROM && !STRUCTURAL.has(byte)) return
      this.state = 'start'
    }
    if (this.state !== 'start') {
      const next = after(this.state, byte)
      if (next !== null) this.extend(next, byte)
      else this.leave(byte)
    } else this.begin(byte)
  }

  /** `byte` is no part of the token before it. */
  private leave(byte: number): void {
    const finished = FINISHED[this.state]
    // A digit after a leading zero belongs to no number.
    if (finished !== undefined && !(this.state === 'zero' && isDigit(byte))) {
      this.state = 'start'
      this.finish(finished)
      this.begin(byte)
    } else this.refuse(byte)
  }

  private extend(next: State, byte: number): void {
    const isQuote =
      (byte === SINGLE_QUOTE && this.state === 'single-quoted') || (byte === DOUBLE_QUOTE && this.state === 'double-quoted')
    this.push(byte)
    this.state = isQuote ? 'start' : next
    if (isQuote) this.finish('string')
    else if (this.length >= TOKEN_BYTES_MAX) {
      this.state = 'recovery'
      this.finish('error')
    }
  }

  private begin(byte: number): void {
    assert(this.state === 'start' && this.length === 0, 'token-begins-empty')
    if (isSpace(byte)) return
    const next = begins(byte)
    if (STRUCTURAL.has(byte)) this.emit({ kind: String.fromCharCode(byte) as TokenKind, bytes: NOTHING })
    else if (next === null) this.refuse(byte)
    else {
      this.push(byte)
      this.state = next
    }
  }

  private refuse(byte: number): void {
    this.push(byte)
    this.state = 'recovery'
    this.finish('error')
  }
}
