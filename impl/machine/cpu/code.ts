/**
 * Predecoded code: for each page of RAM that was executed, one record for each halfword at which an instruction may begin.
 *
 * A record is four words: what to execute (0: not decoded yet), the registers and the length packed, the immediate, and the
 * bits as fetched. Stores to such a page forget the records that they touch, so that memory and code are always one;
 * `fence.i` has nothing to do.
 */
import { decode, expand, type Instruction } from '../isa'
import { SINK } from './state'

export const PAGE_BYTES = 4096
export const RECORD_WORDS = 4
/** What a record can say besides an instruction of the table, whose codes begin at FIRST_CODE. */
export const enum Special {
  undecoded = 0,
  /** Begins in this page and ends in the next: fetched anew each time. */
  crossing = 1,
  illegal = 2,
}
export const FIRST_CODE = 64

export interface CodePage {
  readonly records: Int32Array
  /** Place of the page in RAM. */
  readonly offsetBytes: number
}

const doubled = (word: number, bit: number): number => ((word >> bit) & 31) * 2

/** The immediate of an instruction as its handler takes it. */
function immediateOf(entry: Instruction, word: number): number {
  for (const operand of entry.operands) {
    switch (operand.name) {
      case 'imm':
      case 'store':
      case 'branch':
      case 'jump':
      case 'shamt6':
      case 'shamt5':
        return operand.get(word)
      case 'upper':
        return word & 0xfffff000
      case 'csr':
        // The number, and the field of the source register for what counts as writing.
        return operand.get(word) | (((word >> 15) & 31) << 12)
    }
  }
  // Floating point: the rounding mode, and the third source.
  return ((word >> 12) & 7) | (doubled(word, 27) << 8)
}

/**
 * Writes the record of one instruction. `codes` maps places of the table to what the interpreter executes.
 * Register fields are indices of pairs; instructions without a destination have a field that nobody reads.
 */
export function decodeInto(records: Int32Array, at: number, bits: number, codes: Int32Array): void {
  const isWide = (bits & 3) === 3
  const word = isWide ? bits : expand(bits & 0xffff)
  const entry = word === 0 ? undefined : decode(word)
  const rd = doubled(word, 7)
  const isFloat = entry?.operands.some(({ name }) => name === 'fd') ?? false
  const d = rd === 0 && !isFloat ? SINK : rd
  records[at + 1] = d | (doubled(word, 15) << 8) | (doubled(word, 20) << 16) | ((isWide ? 4 : 2) << 24)
  records[at + 2] = entry === undefined ? 0 : immediateOf(entry, word)
  records[at + 3] = isWide ? bits : bits & 0xffff
  records[at] = entry === undefined ? Special.illegal : codes[entry.index]!
}

/** Pages with records at one time: 128 MiB of them. */
const PAGES_MAX = 4096

export class CodeCache {
  readonly #pages: Array<CodePage | undefined>
  readonly #halves: Uint16Array
  #count = 0

  constructor(
    ramBytes: Uint8Array,
    readonly codes: Int32Array,
    readonly pagesMax = PAGES_MAX,
  ) {
    this.#pages = new Array<CodePage | undefined>(Math.ceil(ramBytes.length / PAGE_BYTES)).fill(undefined)
    this.#halves = new Uint16Array(ramBytes.buffer, ramBytes.byteOffset, ramBytes.length >> 1)
  }

  holds(offsetBytes: number): boolean {
    return this.#pages[offsetBytes >>> 12] !== undefined
  }

  /** The page that holds a place of RAM, made where there is none yet. Where there are too many, the others are dropped. */
  pageAt(offsetBytes: number): CodePage {
    const index = offsetBytes >>> 12
    const found = this.#pages[index]
    if (found !== undefined) return found
    if (this.#count === this.pagesMax) {
      this.#pages.fill(undefined)
      this.#count = 0
    }
    this.#count++
    const made = { records: new Int32Array((PAGE_BYTES / 2) * RECORD_WORDS), offsetBytes: index << 12 }
    this.#pages[index] = made
    return made
  }

  /** Decodes the instruction at a place inside a page. */
  decodeAt(page: CodePage, inPageBytes: number): void {
    const half = (page.offsetBytes + inPageBytes) >> 1
    const low = this.#halves[half]!
    const at = (inPageBytes >> 1) * RECORD_WORDS
    if ((low & 3) === 3 && inPageBytes === PAGE_BYTES - 2) page.records[at] = Special.crossing
    else decodeInto(page.records, at, (low & 3) === 3 ? low | (this.#halves[half + 1]! << 16) : low, this.codes)
  }

  /** Forgets what was decoded from these bytes of RAM; crossing instructions are fetched anew in any case. */
  forget(offsetBytes: number, bytes: number): void {
    for (let at = offsetBytes & ~(PAGE_BYTES - 1); at < offsetBytes + bytes; at += PAGE_BYTES) {
      const page = this.#pages[at >>> 12]
      if (page === undefined) continue
      const first = Math.max(0, offsetBytes - 2 - at) >> 1
      const last = Math.min(PAGE_BYTES - 1, offsetBytes + bytes - 1 - at) >> 1
      for (let half = first; half <= last; half++) page.records[half * RECORD_WORDS] = Special.undecoded
    }
  }
}
