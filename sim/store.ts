/**
 * What lies on a simulated disk: bytes, and which units are allocated. `bytes` is always what a read returns, also in
 * holes. Requests change it in one step, when they complete.
 *
 * What never may happen: a hole that is said to read zero and does not.
 */
import { stampSectors, writerOf, ZERO_WRITER } from '../model/stamp'
import type { DiskView } from './observer'
import { type DiskName, type DiskPlan, SECTOR_BYTES } from './plan'
import type { BufferPool } from './pool'

/** What a deallocated unit holds where a discard leaves other bytes behind; neither zero nor a stamp. */
export const GARBAGE_BYTE = 0xdb

export class DiskStore implements DiskView {
  readonly name: DiskName
  readonly lengthBytes: number
  readonly allocationUnitBytes: number
  readonly bytes: Uint8Array
  readonly allocated: Uint8Array
  /** One byte per unit: 1 where a hole is sure to read zero. Means nothing for allocated units. */
  private readonly holeIsZero: Uint8Array

  constructor(name: DiskName, plan: DiskPlan, pool: BufferPool) {
    const unitCount = Math.ceil(plan.lengthBytes / plan.allocationUnitBytes)
    this.name = name
    this.lengthBytes = plan.lengthBytes
    this.allocationUnitBytes = plan.allocationUnitBytes
    this.bytes = pool.take(plan.lengthBytes)
    this.allocated = pool.take(unitCount)
    this.holeIsZero = pool.take(unitCount).fill(1)
    for (const { id, offsetBytes, lengthBytes, content } of plan.initial) {
      const writer = content === 'data' ? writerOf(id) : ZERO_WRITER
      stampSectors(this.bytes, offsetBytes, writer, offsetBytes / SECTOR_BYTES, lengthBytes / SECTOR_BYTES)
      this.allocate(offsetBytes, offsetBytes + lengthBytes)
    }
  }

  get allocatedBytes(): number {
    const { allocated, allocationUnitBytes } = this
    let units = 0
    for (let unit = 0; unit < allocated.length; unit++) units += allocated[unit]!
    const missingBytes = allocated.length * allocationUnitBytes - this.lengthBytes
    return units * allocationUnitBytes - (allocated[allocated.length - 1] === 1 ? missingBytes : 0)
  }

  /** End of a unit; the last one may be short. */
  private unitEnd(unit: number): number {
    return Math.min((unit + 1) * this.allocationUnitBytes, this.lengthBytes)
  }
  private unitOf(offsetBytes: number): number {
    return Math.floor(offsetBytes / this.allocationUnitBytes)
  }
  /** The first unit at or after `offsetBytes` that begins there or later. */
  private unitFrom(offsetBytes: number): number {
    return Math.ceil(offsetBytes / this.allocationUnitBytes)
  }
  /** One after the last unit that ends at or before `endBytes`. */
  private unitUntil(endBytes: number): number {
    return endBytes >= this.lengthBytes ? this.allocated.length : this.unitOf(endBytes)
  }

  private allocate(offsetBytes: number, endBytes: number): void {
    this.allocated.fill(1, this.unitOf(offsetBytes), this.unitFrom(endBytes))
  }

  /** What lies beyond the end reads zero. */
  read(offsetBytes: number, buffer: Uint8Array): void {
    const inside = this.bytes.subarray(offsetBytes, offsetBytes + buffer.length)
    buffer.set(inside)
    if (inside.length < buffer.length) buffer.fill(0, inside.length)
  }

  write(offsetBytes: number, data: Uint8Array): void {
    const lengthBytes = Math.min(data.length, this.lengthBytes - offsetBytes)
    if (lengthBytes <= 0) return
    this.bytes.set(lengthBytes === data.length ? data : data.subarray(0, lengthBytes), offsetBytes)
    this.allocate(offsetBytes, offsetBytes + lengthBytes)
  }

  /** Zeroes a range. Units inside it lose their space if `deallocates`; the others get it if they have to hold anything. */
  writeZeroes(offsetBytes: number, lengthBytes: number, deallocates: boolean): void {
    const endBytes = Math.min(offsetBytes + lengthBytes, this.lengthBytes)
    if (endBytes <= offsetBytes) return
    this.bytes.fill(0, offsetBytes, endBytes)
    if (!deallocates) {
      this.allocate(offsetBytes, endBytes)
      return
    }
    const first = this.unitFrom(offsetBytes)
    const end = this.unitUntil(endBytes)
    for (let unit = this.unitOf(offsetBytes); unit * this.allocationUnitBytes < endBytes; unit++) {
      if (unit >= first && unit < end) {
        this.allocated[unit] = 0
        this.holeIsZero[unit] = 1
      } else if (this.holeIsZero[unit] === 0) this.allocated[unit] = 1
    }
  }

  /** Deallocates the units inside a range; returns whether there were any. */
  discard(offsetBytes: number, lengthBytes: number, leaves: 'reads-zero' | 'reads-old' | 'reads-garbage'): boolean {
    const end = this.unitUntil(offsetBytes + lengthBytes)
    let found = false
    for (let unit = this.unitFrom(offsetBytes); unit < end; unit++) {
      found = true
      if (this.allocated[unit] === 0) continue
      this.allocated[unit] = 0
      this.holeIsZero[unit] = leaves === 'reads-zero' ? 1 : 0
      if (leaves === 'reads-old') continue
      const fill = leaves === 'reads-zero' ? 0 : GARBAGE_BYTE
      this.bytes.fill(fill, unit * this.allocationUnitBytes, this.unitEnd(unit))
    }
    return found
  }

  isAllocatedAt(offsetBytes: number): boolean {
    return this.allocated[this.unitOf(offsetBytes)] === 1
  }
  isZeroHoleAt(offsetBytes: number): boolean {
    const unit = this.unitOf(offsetBytes)
    return this.allocated[unit] === 0 && this.holeIsZero[unit] === 1
  }

  /** Where the stretch of units that are like the one at `offsetBytes` ends, at most at `endBytes`. */
  sameUntil(offsetBytes: number, endBytes: number): number {
    const first = this.unitOf(offsetBytes)
    const isAllocated = this.allocated[first]
    const isZero = this.holeIsZero[first]
    let unit = first + 1
    while (
      unit * this.allocationUnitBytes < endBytes &&
      this.allocated[unit] === isAllocated &&
      (isAllocated === 1 || this.holeIsZero[unit] === isZero)
    ) {
      unit++
    }
    return Math.min(unit * this.allocationUnitBytes, endBytes)
  }
}
