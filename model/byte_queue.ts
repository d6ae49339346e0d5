/** Bytes that arrive in pieces and are taken in messages; numbers are big-endian. */
const SMALL_BYTES = 256

export class ByteQueue {
  private storage = new Uint8Array(SMALL_BYTES)
  private view = new DataView(this.storage.buffer)
  private start = 0
  private end = 0

  get length(): number {
    return this.end - this.start
  }

  push(bytes: Uint8Array): void {
    const wanted = this.length + bytes.length
    if (this.end + bytes.length > this.storage.length) {
      const target = wanted > this.storage.length ? new Uint8Array(2 * wanted) : this.storage
      target.set(this.storage.subarray(this.start, this.end))
      this.end -= this.start
      this.start = 0
      if (target !== this.storage) this.view = new DataView(target.buffer)
      this.storage = target
    }
    this.storage.set(bytes, this.end)
    this.end += bytes.length
  }

  /** What is `at` bytes ahead. */
  peekU16(at: number): number {
    return this.view.getUint16(this.start + at)
  }
  peekU32(at: number): number {
    return this.view.getUint32(this.start + at)
  }
  peekU64(at: number): bigint {
    return this.view.getBigUint64(this.start + at)
  }
  u16(): number {
    this.start += 2
    return this.view.getUint16(this.start - 2)
  }
  u32(): number {
    this.start += 4
    return this.view.getUint32(this.start - 4)
  }
  u64(): bigint {
    this.start += 8
    return this.view.getBigUint64(this.start - 8)
  }
  bytes(count: number): Uint8Array {
    const bytes = this.storage.slice(this.start, this.start + count)
    this.start += count
    return bytes
  }
}
