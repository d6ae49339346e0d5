/**
 * Where a request of the guest lies in RAM, and what must be true of those bytes afterwards. One block holds it all:
 *
 *     [indirect table] guard header guard (segment guard)* status guard
 *
 * Guards, and every byte that the device has to write, are filled with a sentinel; whatever the device has no business
 * with must be as it was.
 */
import { SECTOR_BYTES } from '../plan'
import { HEADER_BYTES } from './registers'

export const SENTINEL = 0xa5
const SENTINEL_WORD = 0xa5a5a5a5 | 0
const GUARD_BYTES = 16

/** Sizes in bytes of one request's parts. */
export interface RequestShape {
  tableBytes: number
  dataBytes: number
  segmentCount: number
  /** Length of each data segment but the last. */
  pieceBytes: number
}

/** Rounds up to the unit in which everything is placed. */
function roundUp(bytes: number): number {
  return (bytes + GUARD_BYTES - 1) & -GUARD_BYTES
}

/** How many bytes the block of a request takes. */
export function blockBytesOf(shape: RequestShape): number {
  const lastBytes = shape.dataBytes - shape.pieceBytes * Math.max(0, shape.segmentCount - 1)
  const dataBytes = shape.segmentCount * GUARD_BYTES + Math.max(0, shape.segmentCount - 1) * shape.pieceBytes + roundUp(lastBytes)
  return shape.tableBytes + GUARD_BYTES + HEADER_BYTES + GUARD_BYTES + dataBytes + GUARD_BYTES + GUARD_BYTES
}

/** Cuts `dataBytes` into at most `segmentsMax` pieces; they need not be whole sectors, as the device may not rely on it. */
export function cutPieces(dataBytes: number, segmentsMax: number): { segmentCount: number; pieceBytes: number } {
  if (dataBytes === 0) return { segmentCount: 0, pieceBytes: 0 }
  const segmentCount = dataBytes < SECTOR_BYTES ? 1 : segmentsMax
  return { segmentCount, pieceBytes: segmentCount === 1 ? dataBytes : Math.floor(dataBytes / segmentCount / 16) * 16 }
}

/** The guest's RAM by bytes and by words. `ram` begins on a word. */
export class RequestMemory {
  readonly ram: Uint8Array
  readonly view: DataView
  private readonly words: Int32Array
  /** The same memory, for comparisons by the byte engine. */
  private readonly buffer: Buffer

  constructor(ram: Uint8Array) {
    this.ram = ram
    this.buffer = Buffer.from(ram.buffer, ram.byteOffset, ram.byteLength)
    this.view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength)
    this.words = new Int32Array(ram.buffer, ram.byteOffset, ram.byteLength >> 2)
  }

  headerOffset(block: number, shape: RequestShape): number {
    return block + shape.tableBytes + GUARD_BYTES
  }
  segmentOffset(block: number, shape: RequestShape, index: number): number {
    return this.headerOffset(block, shape) + HEADER_BYTES + GUARD_BYTES + index * (shape.pieceBytes + GUARD_BYTES)
  }
  segmentBytes(shape: RequestShape, index: number): number {
    return index < shape.segmentCount - 1 ? shape.pieceBytes : shape.dataBytes - index * shape.pieceBytes
  }
  statusOffset(block: number, shape: RequestShape): number {
    return block + blockBytesOf(shape) - 2 * GUARD_BYTES
  }

  writeHeader(block: number, shape: RequestShape, type: number, sector: number): void {
    const at = this.headerOffset(block, shape) >> 2
    const { words } = this
    words[at] = type
    words[at + 1] = 0
    words[at + 2] = sector | 0
    words[at + 3] = Math.floor(sector / 2 ** 32)
  }
  isHeaderIntact(block: number, shape: RequestShape, type: number, sector: number): boolean {
    const at = this.headerOffset(block, shape) >> 2
    const { words } = this
    return words[at] === type && words[at + 1] === 0 && words[at + 2] === (sector | 0)
  }

  /** Everything that the device may or must not write becomes the sentinel; data to be read by it stays out. */
  poison(block: number, shape: RequestShape, isDataWritable: boolean): void {
    const header = this.headerOffset(block, shape)
    this.setGuard(header - GUARD_BYTES)
    this.setGuard(header + HEADER_BYTES)
    for (let index = 0; index < shape.segmentCount; index++) {
      const at = this.segmentOffset(block, shape, index)
      const lengthBytes = this.segmentBytes(shape, index)
      if (isDataWritable) this.words.fill(SENTINEL_WORD, at >> 2, (at + lengthBytes) >> 2)
      // A segment that ends inside a unit shares that unit with its guard.
      for (let rest = (at + lengthBytes) & -GUARD_BYTES; rest < roundUp(at + lengthBytes); rest++) this.ram[rest] = SENTINEL
      this.setGuard(roundUp(at + lengthBytes))
    }
    this.setGuard(this.statusOffset(block, shape))
    this.setGuard(this.statusOffset(block, shape) + GUARD_BYTES)
  }

  /** The offset of the first guard byte that was overwritten, or -1. */
  firstBrokenGuard(block: number, shape: RequestShape): number {
    const header = this.headerOffset(block, shape)
    if (!this.isGuard(header - GUARD_BYTES)) return header - GUARD_BYTES
    if (!this.isGuard(header + HEADER_BYTES)) return header + HEADER_BYTES
    for (let index = 0; index < shape.segmentCount; index++) {
      const end = this.segmentOffset(block, shape, index) + this.segmentBytes(shape, index)
      for (let rest = end; rest < roundUp(end); rest++) if (this.ram[rest] !== SENTINEL) return rest
      if (!this.isGuard(roundUp(end))) return roundUp(end)
    }
    const status = this.statusOffset(block, shape)
    for (let rest = status + 1; rest < status + GUARD_BYTES; rest++) if (this.ram[rest] !== SENTINEL) return rest
    return this.isGuard(status + GUARD_BYTES) ? -1 : status + GUARD_BYTES
  }

  private setGuard(offset: number): void {
    const at = offset >> 2
    const { words } = this
    words[at] = words[at + 1] = words[at + 2] = words[at + 3] = SENTINEL_WORD
  }
  private isGuard(offset: number): boolean {
    const at = offset >> 2
    const { words } = this
    return (
      words[at] === SENTINEL_WORD &&
      words[at + 1] === SENTINEL_WORD &&
      words[at + 2] === SENTINEL_WORD &&
      words[at + 3] === SENTINEL_WORD
    )
  }

  /** Puts `bytes` into the data segments. */
  putData(block: number, shape: RequestShape, bytes: Uint8Array): void {
    if (shape.segmentCount === 1) {
      this.ram.set(bytes, this.segmentOffset(block, shape, 0))
      return
    }
    for (let index = 0; index < shape.segmentCount; index++) {
      const from = index * shape.pieceBytes
      this.ram.set(bytes.subarray(from, from + this.segmentBytes(shape, index)), this.segmentOffset(block, shape, index))
    }
  }
  /** Copies the data segments into `bytes`. */
  getData(block: number, shape: RequestShape, bytes: Uint8Array): void {
    for (let index = 0; index < shape.segmentCount; index++) {
      const at = this.segmentOffset(block, shape, index)
      bytes.set(this.ram.subarray(at, at + this.segmentBytes(shape, index)), index * shape.pieceBytes)
    }
  }
  isData(block: number, shape: RequestShape, bytes: Uint8Array): boolean {
    for (let index = 0; index < shape.segmentCount; index++) {
      const at = this.segmentOffset(block, shape, index)
      const from = index * shape.pieceBytes
      const lengthBytes = this.segmentBytes(shape, index)
      if (this.buffer.compare(bytes, from, from + lengthBytes, at, at + lengthBytes) !== 0) return false
    }
    return true
  }

  fillBlock(block: number, lengthBytes: number): void {
    this.words.fill(SENTINEL_WORD, block >> 2, (block + lengthBytes) >> 2)
  }
  /** Whether `fillBlock` is still what the block holds. */
  isFilled(block: number, lengthBytes: number): boolean {
    for (let at = block; at < block + lengthBytes; at += GUARD_BYTES) if (!this.isGuard(at)) return false
    return true
  }
}
