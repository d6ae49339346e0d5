/**
 * How a campaign is shared out: chunk c of CHUNK_WORLDS worlds belongs to part c % N + 1 of N. Chunks are whole, so that the worlds,
 * what runs twice in them and what is kept of them are the same whoever runs which. What is done of a part is an unbroken run from
 * its first chunk on, and a few chunks beyond, as many as workers had in hand.
 */
import { InvalidArgumentError } from 'commander'
import { CHUNK_WORLDS } from '../campaign_chunks'
import type { Range } from '../fleet'

const SHARDS_MAX = 65_536

/** Parts are numbered from 1; all of them: nothing is left out. */
export interface Shard {
  parts: number[]
  of: number
}

export const WHOLE: Shard = { parts: [1], of: 1 }

export function shardOf(text: string): Shard {
  const [part, of] = (/^(\d{1,5})\/(\d{1,5})$/.exec(text) ?? []).slice(1).map(Number)
  if (part === undefined || of === undefined || part < 1 || part > of || of > SHARDS_MAX) {
    throw new InvalidArgumentError(`It must be K/N, with K from 1 to N and N at most ${SHARDS_MAX}.`)
  }
  return { parts: [part], of }
}

export function isWhole({ parts, of }: Shard): boolean {
  return parts.length === of
}

export function shardText({ parts, of }: Shard): string {
  return `${parts.join('+')}/${of}`
}

/** What is done of one part, in chunks of its own. */
export interface PartDone {
  upTo: number
  beyond: number[]
}

/** Done chunks of a shard; plain data in `parts`, by the number of the part. */
export class DoneChunks {
  readonly parts: Record<string, PartDone>
  private readonly shard: Shard

  constructor(shard: Shard, parts: Record<string, PartDone> = {}) {
    this.shard = shard
    this.parts = parts
    for (const part of shard.parts) parts[part] ??= { upTo: 0, beyond: [] }
  }

  add(chunk: number): void {
    const done = this.parts[(chunk % this.shard.of) + 1]!
    const beyond = new Set(done.beyond).add(Math.floor(chunk / this.shard.of))
    while (beyond.delete(done.upTo)) done.upTo++
    done.beyond = [...beyond].sort((left, right) => left - right)
  }

  has(chunk: number): boolean {
    const done = this.parts[(chunk % this.shard.of) + 1]
    if (done === undefined) return false
    const position = Math.floor(chunk / this.shard.of)
    return position < done.upTo || done.beyond.includes(position)
  }

  /** All chunks of the shard that are not done, in order, below `chunksMax`. */
  *open(chunksMax: number): Generator<number> {
    const positions = this.shard.parts.map((part) => this.parts[part]!.upTo)
    for (let position = Math.min(...positions); ; position++) {
      for (const part of this.shard.parts) {
        const chunk = position * this.shard.of + part - 1
        if (chunk < chunksMax && !this.has(chunk)) yield chunk
      }
      if (position * this.shard.of >= chunksMax) return
    }
  }
}

export function rangeOfChunk(firstIndex: number, chunk: number): Range {
  return { firstIndex: firstIndex + chunk * CHUNK_WORLDS, count: CHUNK_WORLDS }
}

export function chunkOfIndex(firstIndex: number, index: number): number {
  return Math.floor((index - firstIndex) / CHUNK_WORLDS)
}
