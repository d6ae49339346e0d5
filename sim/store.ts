/**
 * What lies on a simulated disk: bytes, and which units are allocated. `bytes` is always what a read returns, also in
 * holes. Requests change it in one step, when they complete. The store of a file grows by what is written behind its end.
 *
 * What never may happen: a hole that is said to read zero and does not.
 */
import { stampSectors, writerOf, ZERO_WRITER } from '../model/stamp'
import type { DiskView } from './observer'
import { type DiskName, type DiskPlan, SECTOR_BYTES } from './plan'
import type { BufferPool } from './pool'

/** What a deallocated unit holds where a discard leaves other bytes behind; neither zero nor a stamp. */
export const GARBAGE_BYTE = 0xdb

/** A file that grows at all has room for so much. */
const GROWTH_MIN_BYTES = 64 * 1024

export class DiskStore implements DiskView {
  readonly name: DiskName
  lengthBytes: number
  readonly allocationUnitBytes: number
  bytes: Uint8Array
  allocated: Uint8Array
  changeCount = 0
  /** One byte per unit: 1 where a hole is sure to read zero. Means nothing for allocated units. */
  private holeIsZero: Uint8Array
  private readonly plan: DiskPlan
  private readonly pool: BufferPool
  /** Most bytes that a file may grow to; 0 for a disk, which never does. */
  private readonly growthEndBytes: number

  /** `growthEndBytes` above 0: a file. It takes its length and content from the plan like any other disk. */
  constructor(name: DiskName, plan: DiskPlan, pool: BufferPool, growthEndBytes = 0) {
    const unitCount = Math.ceil(plan.lengthBytes / plan.allocationUnitBytes)
    this.name = name
    this.plan = plan
    this.pool = pool
    this.growthEndBytes = growthEndBytes
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

  /** Another store that holds the same. */
  copy(): DiskStore {
    const copy = new DiskStore(
      this.name,
      { ...this.plan, lengthBytes: this.lengthBytes, initial: [] },
      this.pool,
      this.growthEndBytes,
    )
    copy.bytes.set(this.bytes.subarray(0, this.lengthBytes))
    copy.allocated.set(this.allocated.subarray(0, this.unitCount))
    copy.holeIsZero.set(this.holeIsZero.subarray(0, this.unitCount))
    return copy
  }

  get canGrow(): boolean {
    return this.growthEndBytes > 0
  }

  /** What is gained is a hole that reads zero, and what is lost is gone. Throws for a disk, and for a file that runs wild. */
  resize(lengthBytes: number): void {
    if (lengthBytes > this.growthEndBytes) throw new Error(`the file of the ${this.name} grows to ${lengthBytes} bytes`)
    const unitCount = Math.ceil(lengthBytes / this.allocationUnitBytes)
    this.changeCount++
    if (lengthBytes > this.bytes.length) {
      const capacityBytes = Math.max(lengthBytes, 2 * this.bytes.length, GROWTH_MIN_BYTES)
      this.bytes = moved(this.bytes, this.pool.take(capacityBytes))
      const capacity = Math.ceil(capacityBytes / this.allocationUnitBytes)
      this.allocated = moved(this.allocated, this.pool.take(capacity))
      this.holeIsZero = moved(this.holeIsZero, this.pool.take(capacity).fill(1))
    } else if (lengthBytes < this.lengthBytes) {
      this.bytes.fill(0, lengthBytes, this.lengthBytes)
      this.allocated.fill(0, unitCount)
      this.holeIsZero.fill(1, unitCount)
    }
    this.lengthBytes = lengthBytes
  }

  private get unitCount(): number {
    return Math.ceil(this.lengthBytes / this.allocationUnitBytes)
  }

  get allocatedBytes(): number {
    const { allocated, allocationUnitBytes, unitCount } = this
    let units = 0
    for (let unit = 0; unit < unitCount; unit++) units += allocated[unit]!
    const missingBytes = unitCount * allocationUnitBytes - this.lengthBytes
    return units * allocationUnitBytes - (allocated[unitCount - 1] === 1 ? missingBytes : 0)
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
    return endBytes >= this.lengthBytes ? this.unitCount : this.unitOf(endBytes)
  }

  private allocate(offsetBytes: number, endBytes: number): void {
    this.allocated.fill(1, this.unitOf(offsetBytes), this.unitFrom(endBytes))
  }

  /** What lies beyond the end reads zero. */
  read(offsetBytes: number, buffer: Uint8Array): void {
    const inside = this.bytes.subarray(offsetBytes, Math.min(offsetBytes + buffer.length, this.lengthBytes))
    buffer.set(inside)
    if (inside.length < buffer.length) buffer.fill(0, inside.length)
  }

  write(offsetBytes: number, data: Uint8Array): void {
    if (this.growthEndBytes > 0 && offsetBytes + data.length > this.lengthBytes) this.resize(offsetBytes + data.length)
    const lengthBytes = Math.min(data.length, this.lengthBytes - offsetBytes)
    if (lengthBytes <= 0) return
    this.changeCount++
    this.bytes.set(lengthBytes === data.length ? data : data.subarray(0, lengthBytes), offsetBytes)
    this.allocate(offsetBytes, offsetBytes + lengthBytes)
  }

  /** Zeroes a range. Units inside it lose their space if `deallocates`; the others get it if they have to hold anything. */
  writeZeroes(offsetBytes: number, lengthBytes: number, deallocates: boolean): void {
    if (this.growthEndBytes > 0 && offsetBytes + lengthBytes > this.lengthBytes) this.resize(offsetBytes + lengthBytes)
    const endBytes = Math.min(offsetBytes + lengthBytes, this.lengthBytes)
    if (endBytes <= offsetBytes) return
    this.changeCount++
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
    this.changeCount++
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

  /** One bit turns, and nobody has asked for it. */
  rot(offsetBytes: number): void {
    this.bytes[offsetBytes]! ^= 1
    this.changeCount++
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

function moved(from: Uint8Array, into: Uint8Array): Uint8Array {
  into.set(from)
  return into
}
