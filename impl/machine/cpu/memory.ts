/**
 * Loads, stores and fetches of virtual addresses: a direct-mapped translation cache over pages of RAM, and the slow way
 * behind it for everything else (walks, devices, misaligned accesses, pages that hold code, protection finer than a page).
 *
 * Fast ways answer with a place in RAM or -1, and raise nothing. Slow ways return false with the exception raised; then
 * nothing was read or written, not even part of a misaligned access.
 *
 * An entry of the cache is four words: low and high half of the page's virtual address, its place in RAM, the level of the
 * leaf. There is a set for each way to see memory: U, S, S with SUM, M. What changes a meaning flushes (MXR, satp, PMP).
 */
import type { Bus } from './bus'
import { CodeCache, PAGE_BYTES } from './code'
import { toNumber } from './int64'
import { Access, ProtectionTable } from './pmp'
import { Cause, type HartState, MPP_SHIFT, Privilege, Status } from './state'
import { isTranslating, PageWalker, raiseAccessFault } from './walk'

const ENTRIES = 256
const SET_WORDS = ENTRIES * 4
const SETS = 4
/** No access has this tag: of the bits inside a page, only the lowest three are compared. */
const NO_PAGE = 0x800
const ADDRESSABLE = 2 ** 53

export class Memory {
  readonly readTags = new Int32Array(SETS * SET_WORDS)
  readonly writeTags = new Int32Array(SETS * SET_WORDS)
  readonly fetchTags = new Int32Array(SETS * SET_WORDS)
  readonly words: Int32Array
  readonly halves: Uint16Array
  readonly bytes: Uint8Array
  readonly ramBase: number
  /** What a slow load read: low and high half, zeros above its width. */
  readonly cell = new Int32Array(2)
  /** The last slow access went to a device, which may have raised an interrupt. */
  hasTouchedDevice = false
  readonly protection: ProtectionTable
  readonly code: CodeCache
  readonly #walker: PageWalker
  /** First word of the set that data accesses use, and their privilege. */
  dataSet = 0
  fetchSet = 0
  #dataPrivilege: number = Privilege.Machine

  constructor(
    readonly state: HartState,
    readonly bus: Bus,
    codes: Int32Array,
  ) {
    const { baseAddress, bytes } = bus.ram
    if (bytes.length % PAGE_BYTES !== 0 || bytes.length > 2 ** 31 - PAGE_BYTES || bytes.byteOffset % 8 !== 0) {
      throw new RangeError(`RAM cannot be ${bytes.length} bytes: it takes whole pages of 4096 bytes, below 2 GiB`)
    }
    this.ramBase = baseAddress
    this.bytes = bytes
    this.words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2)
    this.halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length >> 1)
    this.protection = new ProtectionTable(state)
    this.code = new CodeCache(bytes, codes)
    this.#walker = new PageWalker(state, this.protection, baseAddress, this.words, (offset, count) => this.wrote(offset, count))
    this.flush()
    this.changeContext()
  }

  flush(): void {
    this.readTags.fill(NO_PAGE)
    this.writeTags.fill(NO_PAGE)
    this.fetchTags.fill(NO_PAGE)
  }

  /** Forgets what is known of one virtual address; leaves of large pages are forgotten whole. */
  flushAddress(low: number, high: number): void {
    for (const tags of [this.readTags, this.writeTags, this.fetchTags]) {
      for (let at = 0; at < tags.length; at += 4) {
        if (tags[at] === NO_PAGE) continue
        const spanBits = 12 + 9 * tags[at + 3]!
        const differentLow = tags[at]! ^ low
        const differentHigh = tags[at + 1]! ^ high
        const isSame =
          spanBits >= 32 ? differentHigh >>> (spanBits - 32) === 0 : differentHigh === 0 && differentLow >>> spanBits === 0
        if (isSame) tags[at] = NO_PAGE
      }
    }
  }

  /** To be called where privilege, MPRV, MPP or SUM changed. */
  changeContext(): void {
    const { privilege, mstatus } = this.state
    this.fetchSet = privilege * SET_WORDS
    this.#dataPrivilege = (mstatus & Status.MPRV) !== 0 ? (mstatus & Status.MPP) >> MPP_SHIFT : privilege
    const isSupervisor = this.#dataPrivilege === Privilege.Supervisor
    // Set 2 is free, for no privilege has this number.
    this.dataSet = (isSupervisor && (mstatus & Status.SUM) !== 0 ? 2 : this.#dataPrivilege) * SET_WORDS
  }

  /** Place in RAM for a load; `alignMask` is the width less one. */
  readFast(low: number, high: number, alignMask: number): number {
    const at = this.dataSet + ((low >>> 10) & 0x3fc)
    const tags = this.readTags
    return tags[at] === (low & (-4096 | alignMask)) && tags[at + 1] === high ? tags[at + 2]! + (low & 4095) : -1
  }

  writeFast(low: number, high: number, alignMask: number): number {
    const at = this.dataSet + ((low >>> 10) & 0x3fc)
    const tags = this.writeTags
    return tags[at] === (low & (-4096 | alignMask)) && tags[at + 1] === high ? tags[at + 2]! + (low & 4095) : -1
  }

  /** Place in RAM of the page that holds a program counter. */
  fetchFast(low: number, high: number): number {
    const at = this.fetchSet + ((low >>> 10) & 0x3fc)
    const tags = this.fetchTags
    return tags[at] === (low & -4096) && tags[at + 1] === high ? tags[at + 2]! : -1
  }

  /** The physical address, or -1 with the exception raised. What can be remembered is. */
  translate(low: number, high: number, bytes: number, access: number): number {
    const privilege = access === Access.fetch ? this.state.privilege : this.#dataPrivilege
    let address = toNumber(low, high)
    let level = 0
    if (isTranslating(this.state, privilege)) {
      address = this.#walker.walk(low, high, access, privilege)
      if (address < 0) return -1
      level = this.#walker.leafLevel
    }
    if (address + bytes > ADDRESSABLE || !this.protection.allows(address, bytes, access, privilege)) {
      return raiseAccessFault(this.state, access, low, high)
    }
    this.#remember(low, high, address, level, access)
    return address
  }

  #remember(low: number, high: number, address: number, level: number, access: number): void {
    const offset = address - this.ramBase
    if (offset < 0 || offset >= this.bytes.length) return
    const page = offset - (offset % PAGE_BYTES)
    if (!this.protection.isUniform(this.ramBase + page)) return
    // Stores to pages with code take the slow way, which forgets what was decoded.
    if (access === Access.write && this.code.holds(page)) return
    const tags = access === Access.fetch ? this.fetchTags : access === Access.write ? this.writeTags : this.readTags
    const at = (access === Access.fetch ? this.fetchSet : this.dataSet) + ((low >>> 10) & 0x3fc)
    tags[at] = low & -4096
    tags[at + 1] = high
    tags[at + 2] = page
    tags[at + 3] = level
  }

  /** A page begins to hold code: its stores must be seen from now on, by whatever address. */
  watch(pageBytes: number): void {
    for (let at = 0; at < this.writeTags.length; at += 4) {
      if (this.writeTags[at] !== NO_PAGE && this.writeTags[at + 2] === pageBytes) this.writeTags[at] = NO_PAGE
    }
  }

  /** RAM was written past the fast way, by the hart or by a device: code decoded from it is forgotten. */
  wrote(offsetBytes: number, bytes: number): void {
    this.code.forget(offsetBytes, bytes)
  }

  load(low: number, high: number, width: 1 | 2 | 4 | 8): boolean {
    this.hasTouchedDevice = false
    if ((low & (width - 1)) !== 0) return this.#loadMisaligned(low, high, width)
    const address = this.translate(low, high, width, Access.read)
    if (address < 0) return false
    const offset = address - this.ramBase
    if (offset < 0 || offset >= this.bytes.length) return this.#loadDevice(low, high, address, width)
    this.cell[0] = width >= 4 ? this.words[offset >> 2]! : width === 2 ? this.halves[offset >> 1]! : this.bytes[offset]!
    this.cell[1] = width === 8 ? this.words[(offset >> 2) + 1]! : 0
    return true
  }

  #refuse(low: number, high: number, access: number): false {
    raiseAccessFault(this.state, access, low, high)
    return false
  }

  #loadDevice(low: number, high: number, address: number, width: 1 | 2 | 4 | 8): boolean {
    this.hasTouchedDevice = true
    if (this.bus.read(address, width, this.cell)) {
      if (width < 8) this.cell[1] = 0
      if (width < 4) this.cell[0]! &= width === 2 ? 0xffff : 0xff
      return true
    }
    return this.#refuse(low, high, Access.read)
  }

  /** Where a misaligned access lies: the places of its first and last page's parts, or false with the exception raised. */
  #locate(low: number, high: number, width: number, access: number): boolean {
    const firstBytes = Math.min(width, PAGE_BYTES - (low & 4095))
    const first = this.translate(low, high, firstBytes, access)
    if (first < 0) return false
    let second = first + firstBytes
    if (firstBytes < width) {
      const nextLow = (low + firstBytes) | 0
      const nextHigh = (high + (nextLow === 0 ? 1 : 0)) | 0
      second = this.translate(nextLow, nextHigh, width - firstBytes, access)
      if (second < 0) return false
    }
    // Only RAM takes misaligned accesses.
    for (const [address, bytes] of [
      [first, firstBytes],
      [second, width - firstBytes],
    ] as const) {
      const offset = address - this.ramBase
      if (bytes > 0 && (offset < 0 || offset + bytes > this.bytes.length)) {
        return this.#refuse(low, high, access)
      }
    }
    this.#firstBytes = firstBytes
    this.#places[0] = first - this.ramBase
    this.#places[1] = second - this.ramBase - firstBytes
    return true
  }
  #firstBytes = 0
  readonly #places = new Int32Array(2)

  #loadMisaligned(low: number, high: number, width: number): boolean {
    if (!this.#locate(low, high, width, Access.read)) return false
    this.cell[0] = 0
    this.cell[1] = 0
    for (let index = 0; index < width; index++) {
      const place = this.#places[index < this.#firstBytes ? 0 : 1]! + index
      this.cell[index >> 2]! |= this.bytes[place]! << ((index & 3) * 8)
    }
    return true
  }

  store(low: number, high: number, width: 1 | 2 | 4 | 8, valueLow: number, valueHigh: number): boolean {
    this.hasTouchedDevice = false
    if ((low & (width - 1)) !== 0) return this.#storeMisaligned(low, high, width, valueLow, valueHigh)
    const address = this.translate(low, high, width, Access.write)
    if (address < 0) return false
    const offset = address - this.ramBase
    if (offset < 0 || offset >= this.bytes.length) {
      this.hasTouchedDevice = true
      return this.bus.write(address, width, valueLow, valueHigh) || this.#refuse(low, high, Access.write)
    }
    if (width === 8) {
      this.words[offset >> 2] = valueLow
      this.words[(offset >> 2) + 1] = valueHigh
    } else if (width === 4) this.words[offset >> 2] = valueLow
    else if (width === 2) this.halves[offset >> 1] = valueLow
    else this.bytes[offset] = valueLow
    this.code.forget(offset, width)
    return true
  }

  #storeMisaligned(low: number, high: number, width: number, valueLow: number, valueHigh: number): boolean {
    if (!this.#locate(low, high, width, Access.write)) return false
    for (let index = 0; index < width; index++) {
      const place = this.#places[index < this.#firstBytes ? 0 : 1]! + index
      this.bytes[place] = (index < 4 ? valueLow : valueHigh) >>> ((index & 3) * 8)
      this.code.forget(place, 1)
    }
    return true
  }

  /** Two bytes of code, by the slow way; -1 with the exception raised. */
  fetchHalf(low: number, high: number): number {
    const address = this.translate(low, high, 2, Access.fetch)
    if (address < 0) return -1
    const offset = address - this.ramBase
    if (offset >= 0 && offset < this.bytes.length) return this.halves[offset >> 1]!
    if (!this.bus.read(address, 2, this.cell)) return raiseAccessFault(this.state, Access.fetch, low, high)
    return this.cell[0]! & 0xffff
  }

  /** For atomic operations: the place in RAM of an aligned word that may be read and written, or -1 with the exception raised. */
  locateAtomic(low: number, high: number, width: 4 | 8, isLoad: boolean): number {
    const fast = isLoad ? this.readFast(low, high, width - 1) : this.writeFast(low, high, width - 1)
    if (fast >= 0) return fast
    const access = isLoad ? Access.read : Access.write
    if ((low & (width - 1)) !== 0) {
      this.state.raise(isLoad ? Cause.loadMisaligned : Cause.storeMisaligned, low, high)
      return -1
    }
    const address = this.translate(low, high, width, access)
    if (address < 0) return -1
    const offset = address - this.ramBase
    if (offset < 0 || offset >= this.bytes.length) return raiseAccessFault(this.state, access, low, high)
    return offset
  }
}
