/**
 * The tokens of one unfinished message, side by side in three buffers: an object for each would cost a client's two
 * million tokens half a gigabyte. Never fails; a caller bounds the number of tokens and of their bytes.
 */
import { assert } from '../co'
import type { Token, TokenKind } from './json_lexer'

const KINDS: readonly TokenKind[] = ['{', '}', '[', ']', ':', ',', 'integer', 'float', 'keyword', 'string', 'error']
const KIND_CODES: ReadonlyMap<TokenKind, number> = new Map(KINDS.map((kind, code) => [kind, code]))
const TOKENS_MIN = 64
const TEXT_BYTES_MIN = 1024

export class TokenList {
  /** Tokens. */
  length = 0
  /** Raw text of all tokens. */
  textBytes = 0
  private kinds = new Uint8Array(TOKENS_MIN)
  /** Where the text of each token ends, in bytes. */
  private ends = new Uint32Array(TOKENS_MIN)
  private text = new Uint8Array(TEXT_BYTES_MIN)

  /** Copies the token. */
  push({ kind, bytes }: Token): void {
    const code = KIND_CODES.get(kind)
    assert(code !== undefined, 'token-kind-known', () => kind)
    if (this.length === this.kinds.length) this.growTokens()
    if (this.textBytes + bytes.length > this.text.length) this.growText(bytes.length)
    this.text.set(bytes, this.textBytes)
    this.textBytes += bytes.length
    this.kinds[this.length] = code
    this.ends[this.length] = this.textBytes
    this.length++
    assert(this.length <= this.kinds.length && this.textBytes <= this.text.length, 'token-held')
  }

  /** The kind of the token at `index`; undefined after the last one. */
  kindAt(index: number): TokenKind | undefined {
    assert(index >= 0, 'token-index')
    return index < this.length ? KINDS[this.kinds[index]!] : undefined
  }

  /** The raw text of the token at `index`: a view, which lasts as long as the list. */
  bytesAt(index: number): Uint8Array {
    assert(index >= 0 && index < this.length, 'token-index')
    return this.text.subarray(index === 0 ? 0 : this.ends[index - 1]!, this.ends[index]!)
  }

  private growTokens(): void {
    const kinds = new Uint8Array(2 * this.length)
    kinds.set(this.kinds)
    this.kinds = kinds
    const ends = new Uint32Array(2 * this.length)
    ends.set(this.ends)
    this.ends = ends
  }

  private growText(moreBytes: number): void {
    const text = new Uint8Array(Math.max(2 * this.text.length, this.textBytes + moreBytes))
    text.set(this.text.subarray(0, this.textBytes))
    this.text = text
  }
}
