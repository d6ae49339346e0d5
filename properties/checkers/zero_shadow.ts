/**
 * What the destination is known to read as zero, chunk by chunk, told by the requests that reach it and by nothing else.
 * A chunk is known from the end of a successful zero write that covered it whole; any data or discard that is sent to it
 * ends that, from the moment it is sent.
 */
import type { DiskRequestView } from '../../sim/observer'

type Range = Pick<DiskRequestView, 'offsetBytes' | 'lengthBytes' | 'serial'>

export class ZeroShadow {
  private readonly granularityBytes: number
  private readonly lengthBytes: number
  private readonly known: Uint8Array
  /** Of the last request that may have brought data: a zero write that was sent before it proves nothing. */
  private readonly dataSerial: Int32Array

  constructor(granularityBytes: number, lengthBytes: number, isKnown: boolean) {
    const chunkCount = Math.ceil(lengthBytes / granularityBytes)
    this.granularityBytes = granularityBytes
    this.lengthBytes = lengthBytes
    this.known = new Uint8Array(chunkCount).fill(isKnown ? 1 : 0)
    this.dataSerial = new Int32Array(chunkCount).fill(-1)
  }

  isKnown(chunkIndex: number): boolean {
    return this.known[chunkIndex] === 1
  }

  /** The first chunk that a request touches and that is known to read zero, or -1. */
  firstKnown({ offsetBytes, lengthBytes }: Range): number {
    const end = Math.min(Math.ceil((offsetBytes + lengthBytes) / this.granularityBytes), this.known.length)
    for (let index = Math.floor(offsetBytes / this.granularityBytes); index < end; index++) {
      if (this.known[index] === 1) return index
    }
    return -1
  }

  dataSubmitted({ offsetBytes, lengthBytes, serial }: Range): void {
    const first = Math.floor(offsetBytes / this.granularityBytes)
    const end = Math.ceil((offsetBytes + lengthBytes) / this.granularityBytes)
    this.known.fill(0, first, end)
    this.dataSerial.fill(serial, first, end)
  }

  /** The short chunk at the end of the disk is covered by what reaches the end. */
  zeroCompleted({ offsetBytes, lengthBytes, serial }: Range): void {
    const endBytes = offsetBytes + lengthBytes
    const end = endBytes >= this.lengthBytes ? this.known.length : Math.floor(endBytes / this.granularityBytes)
    for (let index = Math.ceil(offsetBytes / this.granularityBytes); index < end; index++) {
      if (this.dataSerial[index]! < serial) this.known[index] = 1
    }
  }

  /** After an error nobody can tell which part of a longer zero write the mirror counts. */
  forget(): void {
    this.known.fill(0)
  }
}
