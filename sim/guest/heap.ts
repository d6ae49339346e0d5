/**
 * The guest's memory for requests: first fit over the free ranges, which are kept in order and merged. Bounded by what it
 * is given; whoever gets -1 waits until something is freed.
 */

/** Every range begins and ends on this many bytes. */
export const HEAP_UNIT_BYTES = 16

export class GuestHeap {
  /** Free ranges in ascending order, none adjacent to another. */
  private readonly starts: number[] = []
  private readonly ends: number[] = []
  readonly capacityBytes: number

  /** `startOffset` and `endOffset` are multiples of HEAP_UNIT_BYTES. */
  constructor(startOffset: number, endOffset: number) {
    if (endOffset <= startOffset) throw new Error('guest: no memory for requests')
    this.starts.push(startOffset)
    this.ends.push(endOffset)
    this.capacityBytes = endOffset - startOffset
  }

  /** The offset of `lengthBytes` bytes (a multiple of HEAP_UNIT_BYTES), or -1 while there are not so many in one piece. */
  take(lengthBytes: number): number {
    const { starts, ends } = this
    for (let index = 0; index < starts.length; index++) {
      const start = starts[index]!
      const end = ends[index]!
      if (end - start < lengthBytes) continue
      if (end - start === lengthBytes) {
        starts.splice(index, 1)
        ends.splice(index, 1)
      } else starts[index] = start + lengthBytes
      return start
    }
    return -1
  }

  /** Gives back what `take` gave. */
  free(offset: number, lengthBytes: number): void {
    const { starts, ends } = this
    const end = offset + lengthBytes
    let index = 0
    while (index < starts.length && starts[index]! < offset) index++
    const joinsBefore = index > 0 && ends[index - 1] === offset
    const joinsAfter = index < starts.length && starts[index] === end
    if (joinsBefore && joinsAfter) {
      ends[index - 1] = ends[index]!
      starts.splice(index, 1)
      ends.splice(index, 1)
    } else if (joinsBefore) ends[index - 1] = end
    else if (joinsAfter) starts[index] = offset
    else {
      starts.splice(index, 0, offset)
      ends.splice(index, 0, end)
    }
  }

  /** Free bytes, in however many pieces. */
  get freeBytes(): number {
    return this.starts.reduce((sum, start, index) => sum + this.ends[index]! - start, 0)
  }
}
