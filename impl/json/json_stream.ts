/**
 * A stream of bytes as a stream of QMP's JSON messages: a message ends where its brackets do. A broken message gives one
 * error and is forgotten; the next one is understood again. Memory is bounded by QEMU's limits.
 */
import { assert } from '../co'
import { JsonLexer, TOKEN_BYTES_MAX, type Token } from './json_lexer'
import { JsonError, JsonParser, strayText } from './json_parser'
import { TokenList } from './json_tokens'
import type { JsonValue } from './json_value'

const TOKENS_MAX = 2 * 1024 * 1024
const NESTING_MAX = 1024

export type JsonMessage = { value: JsonValue; error?: undefined } | { error: string }

export class JsonStream {
  private readonly lexer = new JsonLexer((token) => this.take(token))
  private readonly deliver: (message: JsonMessage) => void
  private tokens = new TokenList()
  private braces = 0
  private brackets = 0

  constructor(deliver: (message: JsonMessage) => void) {
    this.deliver = deliver
  }

  feed(bytes: Uint8Array): void {
    this.lexer.feed(bytes)
    assert(this.tokens.length <= TOKENS_MAX, 'tokens-bounded')
  }

  /** The stream has ended; an unfinished message is an error. */
  end(): void {
    this.lexer.flush()
    if (this.tokens.length > 0) this.parse()
    assert(this.tokens.length === 0, 'nothing-left')
  }

  private take(token: Token): void {
    if (token.kind === '{') this.braces++
    else if (token.kind === '}') this.braces--
    else if (token.kind === '[') this.brackets++
    else if (token.kind === ']') this.brackets--
    const error = this.refusal(token)
    if (error !== null) {
      this.reset()
      this.deliver({ error })
      return
    }
    this.tokens.push(token)
    const isOpen = (this.braces > 0 || this.brackets > 0) && this.braces >= 0 && this.brackets >= 0
    if (!isOpen) this.parse()
  }

  private refusal(token: Token): string | null {
    if (token.kind === 'error') return strayText(token.bytes)
    if (this.tokens.textBytes + token.bytes.length + 1 > TOKEN_BYTES_MAX) return 'JSON token size limit exceeded'
    if (this.tokens.length + 1 > TOKENS_MAX) return 'JSON token count limit exceeded'
    return this.braces + this.brackets > NESTING_MAX ? 'JSON nesting depth limit exceeded' : null
  }

  private reset(): TokenList {
    const { tokens } = this
    this.tokens = new TokenList()
    this.braces = 0
    this.brackets = 0
    return tokens
  }

  private parse(): void {
    const tokens = this.reset()
    let message: JsonMessage
    try {
      message = { value: new JsonParser(tokens).parse() }
    } catch (error) {
      if (!(error instanceof JsonError)) throw error
      message = { error: error.message }
    }
    this.deliver(message)
  }
}

/** One value out of a text, as in `json:{…}`. Throws JsonError. */
export function parseJson(text: string): JsonValue {
  const messages: JsonMessage[] = []
  const stream = new JsonStream((message) => messages.push(message))
  stream.feed(new TextEncoder().encode(text))
  stream.end()
  const first = messages[0]
  if (first === undefined) throw new JsonError('JSON parse error, expecting value')
  if (first.error !== undefined) throw new JsonError(first.error)
  if (messages.length > 1) throw new JsonError('JSON parse error, expecting end of input')
  return first.value
}
