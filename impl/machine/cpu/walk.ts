/**
 * Page tables: Sv39 and Sv48 (Privileged ISA, "Virtual Address Translation Process"). The hart sets the accessed and dirty
 * bits itself, as QEMU's does. A walk gives the physical address, or raises the page fault or access fault of the access
 * that asked. Tables lie in RAM; elsewhere is an access fault.
 */
import { toNumber } from './int64'
import { Access, type ProtectionTable } from './pmp'
import { Cause, type HartState, Privilege, Status } from './state'

const enum Entry {
  V = 1,
  R = 2,
  W = 4,
  X = 8,
  U = 16,
  A = 64,
  D = 128,
}
/** Bits 63 to 54 of an entry: Svnapot, Svpbmt and reserved ones, none of which is implemented. */
const RESERVED_HIGH = 0xffc00000
const PAGES_ADDRESSABLE = 2 ** 41

export const isTranslating = (state: HartState, privilege: number): boolean =>
  privilege !== Privilege.Machine && state.satp.high >>> 28 !== 0

function raisePageFault(state: HartState, access: number, low: number, high: number): number {
  const cause = access === Access.fetch ? Cause.fetchPage : access === Access.write ? Cause.storePage : Cause.loadPage
  state.raise(cause, low, high)
  return -1
}

export function raiseAccessFault(state: HartState, access: number, low: number, high: number): number {
  const cause = access === Access.fetch ? Cause.fetchAccess : access === Access.write ? Cause.storeAccess : Cause.loadAccess
  state.raise(cause, low, high)
  return -1
}

/** Nine bits of a virtual address for each level. */
function indexAt(level: number, low: number, high: number): number {
  if (level === 0) return (low >>> 12) & 511
  if (level === 1) return (low >>> 21) & 511
  return level === 2 ? ((low >>> 30) | (high << 2)) & 511 : (high >>> 7) & 511
}

function mayUse(entry: number, access: number, privilege: number, mstatus: number): boolean {
  if (privilege === Privilege.User) {
    if ((entry & Entry.U) === 0) return false
  } else if ((entry & Entry.U) !== 0 && (access === Access.fetch || (mstatus & Status.SUM) === 0)) {
    return false
  }
  if (access === Access.fetch) return (entry & Entry.X) !== 0
  if (access === Access.write) return (entry & Entry.W) !== 0
  return (entry & Entry.R) !== 0 || ((mstatus & Status.MXR) !== 0 && (entry & Entry.X) !== 0)
}

export class PageWalker {
  /** The level of the last leaf: 0 for pages of 4 KiB. */
  leafLevel = 0

  constructor(
    readonly state: HartState,
    readonly protection: ProtectionTable,
    readonly ramBase: number,
    readonly ramWords: Int32Array,
    /** Told of RAM that a walk wrote. */
    readonly wrote: (offsetBytes: number, bytes: number) => void,
  ) {}

  /** Index of the entry's low half among the words of RAM; -1: an access fault (not raised here). */
  #place(address: number): number {
    const offset = address - this.ramBase
    if (offset < 0 || offset + 8 > this.ramWords.length * 4) return -1
    return this.protection.allows(address, 8, Access.read, Privilege.Supervisor) ? offset / 4 : -1
  }

  /** The physical address of a virtual one, or -1 with the exception raised. Only for translating privileges. */
  walk(low: number, high: number, access: number, privilege: number): number {
    const { satp } = this.state
    const levels = satp.high >>> 28 === 9 ? 4 : 3
    const sign = levels === 4 ? high >> 15 : high >> 6
    if (sign !== 0 && sign !== -1) return raisePageFault(this.state, access, low, high)
    let page = (satp.high & 0xfff) * 0x1_0000_0000 + (satp.low >>> 0)
    for (let level = levels - 1; level >= 0; level--) {
      const address = page * 4096 + indexAt(level, low, high) * 8
      const place = this.#place(address)
      if (place < 0) return raiseAccessFault(this.state, access, low, high)
      const entry = this.ramWords[place]!
      const entryHigh = this.ramWords[place + 1]!
      if ((entry & Entry.V) === 0 || (entry & (Entry.R | Entry.W)) === Entry.W || (entryHigh & RESERVED_HIGH) !== 0) break
      page = entryHigh * 0x40_0000 + (entry >>> 10)
      if ((entry & (Entry.R | Entry.X)) !== 0) return this.#leaf(low, high, access, privilege, level, place)
      if ((entry & (Entry.U | Entry.A | Entry.D)) !== 0) break
    }
    return raisePageFault(this.state, access, low, high)
  }

  #leaf(low: number, high: number, access: number, privilege: number, level: number, place: number): number {
    const entry = this.ramWords[place]!
    if (!mayUse(entry, access, privilege, this.state.mstatus)) return raisePageFault(this.state, access, low, high)
    const span = 512 ** level
    const page = this.ramWords[place + 1]! * 0x40_0000 + (entry >>> 10)
    if (page % span !== 0) return raisePageFault(this.state, access, low, high)
    const wanted = entry | Entry.A | (access === Access.write ? Entry.D : 0)
    if (wanted !== entry) {
      if (!this.protection.allows(this.ramBase + place * 4, 8, Access.write, Privilege.Supervisor)) {
        return raiseAccessFault(this.state, access, low, high)
      }
      this.ramWords[place] = wanted
      this.wrote(place * 4, 4)
    }
    if (page >= PAGES_ADDRESSABLE) return raiseAccessFault(this.state, access, low, high)
    this.leafLevel = level
    const inside = toNumber(low, high & 0xffff) % (span * 4096)
    return page * 4096 + inside
  }
}
