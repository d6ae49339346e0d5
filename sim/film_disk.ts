/**
 * Pictures of a disk that share whatever has not changed. Sectors are looked at again only where something has changed the
 * disk since, and then each word of them.
 */
import { holdsStamp, readSector, SECTOR_BYTES } from '../model/stamp'
import { CORRUPT_SECTOR, type DiskFrame, MISDIRECTED_SECTOR } from './film_frames'
import type { DiskView } from './observer'

const SECTOR_WORDS = SECTOR_BYTES / 4

/** The old one where both hold the same. */
export function shared<T extends ArrayLike<unknown>>(fresh: T, old: T | null | undefined): T {
  if (old === null || old === undefined || old.length !== fresh.length) return fresh
  for (let index = 0; index < fresh.length; index++) if (fresh[index] !== old[index]) return fresh
  return old
}

/** One for each disk. */
export class DiskCamera {
  private old: DiskFrame | null = null
  private seenCount = -1

  frame(disk: DiskView): DiskFrame {
    const { old } = this
    if (old !== null && this.seenCount === disk.changeCount) return old
    this.seenCount = disk.changeCount
    const unitCount = Math.ceil(disk.lengthBytes / disk.allocationUnitBytes)
    const taken = disk.allocated.length === unitCount ? disk.allocated : disk.allocated.subarray(0, unitCount)
    const sectors = sectorsOf(disk, old?.sectors)
    const allocated = shared(taken, old?.allocated)
    if (old !== null && sectors === old.sectors && allocated === old.allocated) return old
    this.old = { sectors, allocated: allocated === taken ? taken.slice() : allocated }
    return this.old
  }
}

function sectorsOf({ bytes, lengthBytes }: DiskView, old: Uint32Array | undefined): Uint32Array {
  const count = Math.floor(lengthBytes / SECTOR_BYTES)
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, count * SECTOR_WORDS)
  let fresh: Uint32Array | null = old?.length === count ? null : new Uint32Array(count)
  for (let sector = 0; sector < count; sector++) {
    const before = old?.[sector]
    const value = isStill(words, sector, before) ? before : sectorAt(bytes, sector * SECTOR_BYTES, sector)
    if (fresh === null) {
      if (value === before) continue
      fresh = old!.slice()
    }
    fresh[sector] = value
  }
  return fresh ?? old!
}

/** Whether a sector is the stamp or the zeroes that it was. */
function isStill(words: Int32Array, sector: number, before: number | undefined): before is number {
  if (before === undefined || before === CORRUPT_SECTOR || before === MISDIRECTED_SECTOR) return false
  return holdsStamp(words, sector * SECTOR_WORDS, before, sector)
}

/** What the bytes of a sector say of it. */
export function sectorAt(bytes: Uint8Array, atBytes: number, sector: number): number {
  const reading = readSector(bytes, atBytes)
  if (reading.kind === 'zero') return 0
  if (reading.kind === 'corrupt') return CORRUPT_SECTOR
  return reading.sectorIndex === sector ? reading.writer : MISDIRECTED_SECTOR
}

const HASH_FACTOR = 0x9e3779b1
/** Hashes stay below the values that mean something else. */
const HASH_MAX = 0x7fff_ffff

/** Of a file whose sectors nobody has stamped: each is known by a hash of its bytes. */
export class FileCamera {
  private old: DiskFrame | null = null
  private seenCount = -1

  frame({ bytes, lengthBytes, allocationUnitBytes, allocated, changeCount }: DiskView): DiskFrame {
    if (this.old !== null && this.seenCount === changeCount) return this.old
    this.seenCount = changeCount
    const count = Math.ceil(lengthBytes / SECTOR_BYTES)
    const sectors = Uint32Array.from({ length: count }, (_, sector) => hashOf(bytes, sector * SECTOR_BYTES))
    const taken = allocated.slice(0, Math.ceil(lengthBytes / allocationUnitBytes))
    const { old } = this
    this.old = { sectors: shared(sectors, old?.sectors), allocated: shared(taken, old?.allocated) }
    return this.old
  }
}

/** 0 for zeroes alone. */
function hashOf(bytes: Uint8Array, atBytes: number): number {
  const endBytes = Math.min(atBytes + SECTOR_BYTES, bytes.length)
  let hash = 0
  for (let at = atBytes; at < endBytes; at++) {
    if (hash !== 0 || bytes[at] !== 0) hash = Math.imul(hash ^ bytes[at]! ^ (at - atBytes + 1), HASH_FACTOR)
  }
  return hash === 0 ? 0 : Math.max(1, (hash ^ (hash >>> 15)) & HASH_MAX)
}
