/**
 * What a hart needs of the machine around it. Physical addresses are numbers below 2^53. RAM is one array of bytes, and the
 * hart reads and writes it directly; everything else goes through `read` and `write`.
 */
export interface Bus {
  readonly ram: { readonly baseAddress: number; readonly bytes: Uint8Array }
  /** Puts the low and high 32 bits into cell[0] and cell[1]; false: nothing answers there (an access fault). */
  read(address: number, widthBytes: 1 | 2 | 4 | 8, cell: Int32Array): boolean
  /** False: nothing answers there (an access fault). */
  write(address: number, widthBytes: 1 | 2 | 4 | 8, low: number, high: number): boolean
}

/**
 * Virtual time: `instructions` have passed, how many ticks is that? Nothing reads the host's clock. The board may set
 * `offsetTicks` (a guest that writes mtime).
 */
export class VirtualClock {
  offsetTicks = 0
  constructor(readonly instructionsPerTick = 100) {
    if (!Number.isInteger(instructionsPerTick) || instructionsPerTick < 1) {
      throw new RangeError(`a tick cannot be ${instructionsPerTick} instructions: it takes whole numbers from 1`)
    }
  }

  ticksAt(instructions: number): number {
    return Math.floor(instructions / this.instructionsPerTick) + this.offsetTicks
  }

  /** The first instruction count at which `ticks` have passed; Infinity where no run gets there. */
  instructionsAt(ticks: number): number {
    const count = (ticks - this.offsetTicks) * this.instructionsPerTick
    return count <= Number.MAX_SAFE_INTEGER ? Math.max(0, count) : Infinity
  }
}
