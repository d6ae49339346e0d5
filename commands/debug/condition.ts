/**
 * Conditions over what a frame shows: `dirty(3) and not inflight(3)`, `job.status = ready`, `dirty > 4`. A word that is no
 * name of a fact is itself, on the right side of a comparison. Parsing throws UsageError with the place and what may stand there.
 */

import { ChunkState, chunkCountOf, chunkState, isEqualChunk, sectorText } from '../../reports/viewer/story'
import { type Bit, bitsOf, markedCount } from '../../reports/viewer/words'
import { type Film, type Frame, isMarked } from '../../sim/film_frames'
import { UsageError } from '../cli'

export type Value = number | string | boolean
export interface Moment {
  film: Film
  frame: Frame
  frameIndex: number
}
export type Condition = (moment: Moment) => Value

const TOKENS = /\s*(?:(\d+)|([A-Za-z_][\w.-]*)|"([^"]*)"|(!=|<=|>=|==|[=<>()])|(\S))/y
const NESTING_MAX = 100

function wrongCount({ film, frame }: Moment): number {
  let count = 0
  for (let chunk = 0; chunk < chunkCountOf(film); chunk++) if (isWrong(film, frame, chunk)) count++
  return count
}
function isWrong(film: Film, frame: Frame, chunk: number): boolean {
  return chunkState(film, frame, chunk, film.chunkBytes) === ChunkState.Wrong
}
const marked =
  (bit: Bit): Condition =>
  ({ frame }) =>
    markedCount(frame, bit)

const FACTS: Readonly<Record<string, Condition>> = {
  event: ({ frame }) => frame.step,
  time: ({ frame }) => frame.timeNs,
  'job.status': ({ frame }) => frame.jobStatus,
  'job.offset': ({ frame }) => frame.jobOffsetBytes,
  'job.length': ({ frame }) => frame.jobLengthBytes,
  'guest.disk': ({ frame }) => frame.guestDisk,
  'mirror.phase': ({ frame }) => frame.mirror?.phase ?? 'none',
  'mirror.mode': ({ frame }) => frame.mirror?.copyMode ?? 'none',
  'mirror.synced': ({ frame }) => frame.mirror?.activelySynced ?? false,
  'mirror.ready': ({ frame }) => frame.mirror?.wasReady ?? false,
  'mirror.copied': ({ frame }) => frame.mirror?.copiedBytes ?? 0,
  'mirror.zeroed': ({ frame }) => frame.mirror?.zeroedBytes ?? 0,
  'mirror.skipped': ({ frame }) => frame.mirror?.skippedZeroBytes ?? 0,
  dirty: marked('dirty'),
  inflight: marked('inFlight'),
  zero: marked('zero'),
  cow: marked('cow'),
  wrong: wrongCount,
  waits: ({ frame }) => frame.waits.length,
}

const bit =
  (name: Bit) =>
  ({ frame }: Moment, chunk: number): boolean =>
    isMarked(frame.mirror?.[name] ?? null, chunk)

/** Of a chunk, or of a sector. */
const FUNCTIONS: Readonly<Record<string, (moment: Moment, index: number) => Value>> = {
  dirty: bit('dirty'),
  inflight: bit('inFlight'),
  zero: bit('zero'),
  cow: bit('cow'),
  equal: ({ film, frame }, chunk) => isEqualChunk(frame, chunk, film.chunkBytes),
  wrong: ({ film, frame }, chunk) => isWrong(film, frame, chunk),
  changed: ({ film, frame, frameIndex }, chunk) => {
    const before = film.frames[Math.max(0, frameIndex - 1)]!
    const unit = film.chunkBytes
    return (
      bitsOf(before, chunk).join() !== bitsOf(frame, chunk).join() ||
      isEqualChunk(before, chunk, unit) !== isEqualChunk(frame, chunk, unit)
    )
  },
  source: ({ film, frame }, sector) => sectorText(film, frame.source.sectors[sector] ?? 0),
  destination: ({ film, frame }, sector) => sectorText(film, frame.destination.sectors[sector] ?? 0),
}

export const CONDITION_HELP = `facts: ${Object.keys(FACTS).join(', ')}; of a chunk: ${Object.keys(FUNCTIONS).slice(0, 7).join('(N), ')}(N); of a sector: source(N), destination(N); =, !=, <, <=, >, >=, and, or, not, ( )`

interface Token {
  kind: 'number' | 'name' | 'text' | 'sign'
  text: string
}

function tokensOf(text: string): Token[] {
  const tokens: Token[] = []
  TOKENS.lastIndex = 0
  while (TOKENS.lastIndex < text.trimEnd().length) {
    const [, number, name, quoted, sign, odd] = TOKENS.exec(text)!
    if (odd !== undefined) throw new UsageError(`condition: "${odd}" means nothing; ${CONDITION_HELP}`)
    if (number !== undefined) tokens.push({ kind: 'number', text: number })
    else if (name !== undefined) tokens.push({ kind: 'name', text: name })
    else if (quoted !== undefined) tokens.push({ kind: 'text', text: quoted })
    else tokens.push({ kind: 'sign', text: sign! })
  }
  return tokens
}

export function parseCondition(text: string): Condition {
  const parser = new Parser(tokensOf(text))
  const condition = parser.either(0)
  parser.mustEnd()
  return condition
}

class Parser {
  private readonly tokens: readonly Token[]
  private at = 0

  constructor(tokens: readonly Token[]) {
    this.tokens = tokens
  }

  private take(...texts: string[]): string | null {
    const token = this.tokens[this.at]
    if (token === undefined || token.kind === 'text' || !texts.includes(token.text)) return null
    this.at++
    return token.text
  }
  private refuse(): never {
    const found = this.tokens[this.at]
    throw new UsageError(
      `condition: ${found === undefined ? 'it ends too early' : `"${found.text}" does not fit`}; ${CONDITION_HELP}`,
    )
  }
  mustEnd(): void {
    if (this.at < this.tokens.length) this.refuse()
  }

  either(depth: number): Condition {
    if (depth > NESTING_MAX) this.refuse()
    const parts = [this.both(depth)]
    while (this.take('or') !== null) parts.push(this.both(depth))
    return parts.length === 1 ? parts[0]! : (moment) => parts.some((part) => Boolean(part(moment)))
  }
  private both(depth: number): Condition {
    const parts = [this.negated(depth)]
    while (this.take('and') !== null) parts.push(this.negated(depth))
    return parts.length === 1 ? parts[0]! : (moment) => parts.every((part) => Boolean(part(moment)))
  }
  private negated(depth: number): Condition {
    if (depth > NESTING_MAX) this.refuse()
    if (this.take('not') === null) return this.compared(depth)
    const inner = this.negated(depth + 1)
    return (moment) => !inner(moment)
  }
  private compared(depth: number): Condition {
    const left = this.value(depth, false)
    const sign = this.take('=', '==', '!=', '<', '<=', '>', '>=')
    if (sign === null) return left
    const right = this.value(depth, true)
    return (moment) => compare(left(moment), sign, right(moment))
  }
  private value(depth: number, mayBeWord: boolean): Condition {
    if (this.take('(') !== null) {
      const inner = this.either(depth + 1)
      if (this.take(')') === null) this.refuse()
      return inner
    }
    const token = this.tokens[this.at]
    if (token === undefined || token.kind === 'sign') this.refuse()
    this.at++
    if (token.kind === 'number') return () => Number(token.text)
    if (token.kind === 'text') return () => token.text
    return this.named(token.text, mayBeWord)
  }
  private named(name: string, mayBeWord: boolean): Condition {
    if (this.take('(') !== null) {
      const index = this.tokens[this.at++]
      const get = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name]! : null
      if (get === null || index?.kind !== 'number' || this.take(')') === null) {
        this.at = Math.max(0, Math.min(this.tokens.length, this.at) - 1)
        this.refuse()
      }
      return (moment) => get(moment, Number(index.text))
    }
    if (Object.hasOwn(FACTS, name)) return FACTS[name]!
    if (mayBeWord) return () => (name === 'true' ? true : name === 'false' ? false : name)
    this.at--
    return this.refuse()
  }
}

function compare(left: Value, sign: string, right: Value): boolean {
  if (sign === '=' || sign === '==') return String(left) === String(right)
  if (sign === '!=') return String(left) !== String(right)
  const [one, other] = [Number(left), Number(right)]
  if (sign === '<') return one < other
  if (sign === '<=') return one <= other
  return sign === '>' ? one > other : one >= other
}
