/**
 * Physical memory protection (Privileged ISA, "Physical Memory Protection"): sixteen entries, granularity of four bytes.
 * The lowest entry that matches any byte of an access decides; it must match all of them. M mode passes where no entry
 * matches or the one that does is not locked; other modes pass only by an entry.
 */
import { type HartState, PMP_ENTRIES, Privilege } from './state'

export const Access = { read: 1, write: 2, fetch: 4 } as const
const LOCKED = 0x80
const PAGE_BYTES = 4096

/** Bounds of the entries, worked out anew when a register changes. */
export class ProtectionTable {
  readonly #first = new Float64Array(PMP_ENTRIES)
  readonly #end = new Float64Array(PMP_ENTRIES)
  #active = 0

  constructor(readonly state: HartState) {
    this.update()
  }

  update(): void {
    const { pmpConfig, pmpAddress } = this.state
    this.#active = 0
    for (let entry = 0; entry < PMP_ENTRIES; entry++) {
      const mode = (pmpConfig[entry]! >> 3) & 3
      const address = pmpAddress[entry]!
      let first = 0
      let end = 0
      if (mode === 1) {
        first = entry === 0 ? 0 : pmpAddress[entry - 1]! * 4
        end = address * 4
      } else if (mode === 2) {
        first = address * 4
        end = first + 4
      } else if (mode === 3) {
        // The low ones of the address, and one more, say how large the naturally aligned range is.
        let bytes = 8
        let rest = address
        while (rest % 2 === 1) {
          rest = Math.floor(rest / 2)
          bytes *= 2
        }
        first = Math.floor((address * 4) / bytes) * bytes
        end = first + bytes
      }
      this.#first[entry] = first
      this.#end[entry] = Math.max(first, end)
      if (mode !== 0) this.#active = entry + 1
    }
  }

  allows(address: number, bytes: number, access: number, privilege: number): boolean {
    for (let entry = 0; entry < this.#active; entry++) {
      const first = this.#first[entry]!
      const end = this.#end[entry]!
      if (address >= end || address + bytes <= first) continue
      if (address < first || address + bytes > end) return false
      const config = this.state.pmpConfig[entry]!
      if (privilege === Privilege.Machine && (config & LOCKED) === 0) return true
      return (config & access) === access
    }
    return privilege === Privilege.Machine
  }

  /** Whether every access inside the page has the same answer, so that it may be remembered for all of it. */
  isUniform(pageAddress: number): boolean {
    for (let entry = 0; entry < this.#active; entry++) {
      const first = this.#first[entry]!
      const end = this.#end[entry]!
      if (pageAddress >= end || pageAddress + PAGE_BYTES <= first) continue
      return first <= pageAddress && pageAddress + PAGE_BYTES <= end
    }
    return true
  }
}
