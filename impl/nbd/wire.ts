/**
 * Reading and building what goes over the wire: numbers are big-endian, 64-bit numbers are kept as numbers of the
 * language. Those above 2^53 lose their last bits, but stay larger than the length of any image.
 *
 * What never may: more memory for what the other end sends than `INPUT_BYTES`, beyond what the caller gives.
 */
import { assert, type ByteStream, type Co, EIO, type Errno, OK } from '../co'
import { STRING_MAX_BYTES } from './protocol'

const INPUT_BYTES = 64 * 1024
const TWO_32 = 0x100000000

const ENCODER = new TextEncoder()
const DECODER = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export function getUint64(view: DataView, at: number): number {
  return view.getUint32(at) * TWO_32 + view.getUint32(at + 4)
}
export function setUint64(view: DataView, at: number, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, 'wire-number', () => String(value))
  view.setUint32(at, Math.floor(value / TWO_32))
  view.setUint32(at + 4, value >>> 0)
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
export function encodeText(text: string): Uint8Array {
  return ENCODER.encode(text)
}
/** Text of at most 4096 bytes without NUL, or null for bytes that are none (doc/proto.md, "Conventions"). */
export function decodeText(bytes: Uint8Array): string | null {
  if (bytes.length > STRING_MAX_BYTES || bytes.includes(0)) return null
  try {
    return DECODER.decode(bytes)
  } catch {
    return null
  }
}
/** Text of the other end for people to read, whatever it is. */
export function displayText(bytes: Uint8Array): string {
  const text = decodeText(bytes.subarray(0, STRING_MAX_BYTES)) ?? ''
  let clean = ''
  for (const character of text) clean += character < ' ' || character === '\x7f' ? '?' : character
  return clean
}

/** What has arrived of a stream, in front of what has not. One reader at a time. */
export class Input {
  private readonly storage = new Uint8Array(INPUT_BYTES)
  private readonly view = viewOf(this.storage)
  private start = 0
  private end = 0

  constructor(readonly stream: ByteStream) {}

  /** Bytes that can be taken without waiting. */
  get available(): number {
    return this.end - this.start
  }

  /**
   * Waits until so many bytes are there; at most as many as the buffer holds. OK; a positive errno; or -1 when the stream
   * has ended before the first of them. One that ends between them is EIO.
   */
  *need(bytes: number): Co<Errno> {
    assert(bytes > 0 && bytes <= INPUT_BYTES, 'input-need', () => String(bytes))
    while (this.available < bytes) {
      if (this.start === this.end) this.start = this.end = 0
      else if (this.start + bytes > INPUT_BYTES) this.compact()
      const count = yield* this.stream.read(this.storage.subarray(this.end))
      if (count < 0) return -count
      if (count === 0) return this.available === 0 ? ENDED : EIO
      this.end += count
    }
    return OK
  }

  private compact(): void {
    this.storage.copyWithin(0, this.start, this.end)
    this.end -= this.start
    this.start = 0
  }

  private take(bytes: number): number {
    assert(this.available >= bytes, 'input-available', () => `${bytes} of ${this.available}`)
    const at = this.start
    this.start += bytes
    return at
  }
  uint16(): number {
    return this.view.getUint16(this.take(2))
  }
  uint32(): number {
    return this.view.getUint32(this.take(4))
  }
  uint64(): number {
    return getUint64(this.view, this.take(8))
  }
  /** A copy of what is there already. */
  bytes(count: number): Uint8Array {
    const at = this.take(count)
    return this.storage.slice(at, at + count)
  }

  /** Fills `buffer`. OK, or a positive errno; EIO for a stream that ends too soon. */
  *fill(buffer: Uint8Array): Co<Errno> {
    let at = Math.min(this.available, buffer.length)
    if (at > 0) {
      const from = this.take(at)
      buffer.set(this.storage.subarray(from, from + at))
    }
    while (at < buffer.length) {
      const count = yield* this.stream.read(at === 0 ? buffer : buffer.subarray(at))
      if (count <= 0) return count === 0 ? EIO : -count
      at += count
    }
    return OK
  }

  /** Reads so many bytes and forgets them. */
  *skip(bytes: number): Co<Errno> {
    for (let left = bytes; left > 0; ) {
      if (this.available === 0) {
        const errno = yield* this.need(1)
        if (errno !== OK) return errno === ENDED ? EIO : errno
      }
      const count = Math.min(left, this.available)
      this.take(count)
      left -= count
    }
    return OK
  }
}

/** See `Input.need`. */
export const ENDED = -1

/** Builds one message of known parts. */
export class Output {
  private readonly parts: number[] = []

  uint16(value: number): this {
    assert(value >= 0 && value <= 0xffff, 'wire-number', () => String(value))
    this.parts.push(value >>> 8, value & 0xff)
    return this
  }
  uint32(value: number): this {
    assert(value >= 0 && value < TWO_32, 'wire-number', () => String(value))
    this.parts.push(value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff)
    return this
  }
  uint64(value: number): this {
    return this.uint32(Math.floor(value / TWO_32)).uint32(value >>> 0)
  }
  words(words: readonly number[]): this {
    for (const word of words) this.uint32(word)
    return this
  }
  raw(bytes: Uint8Array): this {
    for (const byte of bytes) this.parts.push(byte)
    return this
  }
  text(text: string): this {
    return this.raw(encodeText(text))
  }
  /** Its length in 32 bits, then the text. */
  countedText(text: string): this {
    const bytes = encodeText(text)
    return this.uint32(bytes.length).raw(bytes)
  }
  get length(): number {
    return this.parts.length
  }
  done(): Uint8Array {
    return Uint8Array.from(this.parts)
  }
}

/** Takes one message apart. Reading beyond its end gives zeroes and makes `isShort` true. */
export class Message {
  private readonly view: DataView
  private at = 0
  isShort = false

  constructor(private readonly bytes: Uint8Array) {
    this.view = viewOf(bytes)
  }
  get left(): number {
    return this.bytes.length - this.at
  }
  private take(bytes: number): number {
    if (bytes > this.left) {
      this.isShort = true
      return -1
    }
    const at = this.at
    this.at += bytes
    return at
  }
  uint16(): number {
    const at = this.take(2)
    return at < 0 ? 0 : this.view.getUint16(at)
  }
  uint32(): number {
    const at = this.take(4)
    return at < 0 ? 0 : this.view.getUint32(at)
  }
  uint64(): number {
    const at = this.take(8)
    return at < 0 ? 0 : getUint64(this.view, at)
  }
  /** The next bytes, or all that is left. */
  rest(bytes = this.left): Uint8Array {
    const at = this.take(bytes)
    return at < 0 ? new Uint8Array(0) : this.bytes.subarray(at, at + bytes)
  }
}
