/**
 * The small questions that a plan is drawn from. Each part of a plan (geometry, images, guest, control, faults) asks a
 * stream of its own, keyed by the seed and its name, so that a question more in one part leaves the others as they were.
 *
 * Integers only, and the same answers on every machine. Streams are `tychei`: sibling streams of seedrandom's xor
 * generators are linearly related, and the default one costs more to construct than a whole part of a plan to draw.
 */
import seedrandom from 'seedrandom'

/** How a world is drawn: by the usual weights, by a random subset of the features, or from the ends of every dimension. */
export type Style = 'uniform' | 'swarm' | 'extreme'

/** A value with its weight in uniform and swarm worlds, and its weight in extreme ones. */
export type Row<T> = readonly [value: T, usual: number, extreme: number]
export type Table<T> = ReadonlyArray<Row<T>>

/** A table with the weights of one world, and their sum. */
export interface Weighted<T> {
  readonly values: readonly T[]
  readonly weights: readonly number[]
  readonly total: number
}

/** Share of a table's rows that a swarm world keeps, in percent. */
const SWARM_KEEPS_PERCENT = 50

export class Choices {
  readonly style: Style
  private readonly next: () => number

  constructor(seed: string, part: string, style: Style) {
    this.style = style
    this.next = seedrandom.tychei(`${seed}/${part}`).int32
  }

  /** An integer in [0, count). The bias of the remainder is below 2^-11 for the counts met here. */
  below(count: number): number {
    return (this.next() >>> 0) % count
  }

  /** An integer in [least, most]. */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1)
  }

  chance(percent: number): boolean {
    return this.below(100) < percent
  }

  /** One value of a table that decides something once for a whole world. */
  pick<T>(table: Table<T>): T {
    const column = this.style === 'extreme' ? 2 : 1
    let total = 0
    for (let row = 0; row < table.length; row++) total += table[row]![column]
    let left = this.below(total)
    for (let row = 0; row < table.length; row++) {
      left -= table[row]![column]
      if (left < 0) return table[row]![0]
    }
    throw new Error('a table has weights')
  }

  /** Fixes the weights of a table that is asked many times in a world: a swarm world does without some of its rows. */
  weigh<T>(table: Table<T>): Weighted<T> {
    const column = this.style === 'extreme' ? 2 : 1
    const values: T[] = []
    const weights: number[] = []
    let total = 0
    for (let row = 0; row < table.length; row++) {
      const weight = table[row]![column]
      if (weight === 0 || (this.style === 'swarm' && !this.chance(SWARM_KEEPS_PERCENT))) continue
      values.push(table[row]![0])
      weights.push(weight)
      total += weight
    }
    if (total > 0) return { values, weights, total }
    return { values: [this.pick(table)], weights: [1], total: 1 }
  }

  pickWeighted<T>(from: Weighted<T>): T {
    let left = this.below(from.total)
    let index = 0
    while (left >= from.weights[index]!) left -= from.weights[index++]!
    return from.values[index]!
  }
}
