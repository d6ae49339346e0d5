/**
 * What a copy may allocate: an upper bound that grows with every reason to allocate. A unit that is allocated without any
 * reason breaks the promise that a copy is as sparse as its original.
 */

export class AllocationBound {
  readonly unitBytes: number
  /** One byte per unit: 1 where there is a reason. */
  private readonly reasons: Uint8Array
  /** Boundaries that a reason is rounded out to before units are counted. */
  private readonly roundings: readonly number[]

  constructor(lengthBytes: number, unitBytes: number, roundings: readonly number[]) {
    this.unitBytes = unitBytes
    this.reasons = new Uint8Array(Math.ceil(lengthBytes / unitBytes))
    this.roundings = roundings.filter((roundingBytes) => roundingBytes > 1)
  }

  /** The range may be written as it is. */
  allowExactly(offsetBytes: number, endBytes: number): void {
    this.reasons.fill(1, Math.floor(offsetBytes / this.unitBytes), Math.ceil(endBytes / this.unitBytes))
  }

  /** The range has data that has to be copied, with what shares a block with it. */
  allow(offsetBytes: number, endBytes: number): void {
    let start = offsetBytes
    let end = endBytes
    for (const roundingBytes of this.roundings) {
      start -= start % roundingBytes
      const over = end % roundingBytes
      if (over !== 0) end += roundingBytes - over
    }
    this.allowExactly(start, end)
  }

  /**
   * Of each unit: 1 where it is allocated already. Blocks are written as a whole: whoever changes a part of one that holds
   * something fills all of it.
   */
  allowUnits(allocated: Uint8Array, blockBytes: number): void {
    const { unitBytes } = this
    for (let unit = 0; unit < allocated.length; unit++) {
      if (allocated[unit] === 0) continue
      const startBytes = unit * unitBytes
      if (blockBytes <= unitBytes) this.reasons[unit] = 1
      else this.allowExactly(startBytes - (startBytes % blockBytes), startBytes - (startBytes % blockBytes) + blockBytes)
    }
  }

  allowAll(): void {
    this.reasons.fill(1)
  }

  /** The first unit that is allocated without a reason, or -1. */
  firstExcess(allocated: Uint8Array): number {
    for (let unit = 0; unit < allocated.length; unit++) if (allocated[unit]! > this.reasons[unit]!) return unit
    return -1
  }
}
