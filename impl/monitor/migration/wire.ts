/**
 * What is sent when a machine without a processor moves: lines of JSON, a format of our own. The first says that it is one and
 * whether the machine ran; then come the bitmaps, each with its bits in pieces; the last says that this is all. Images are not
 * sent: both programs have them.
 *
 * What may fail: the stream, and a sender that keeps to none of this, as BlockError.
 * What never may: memory that a sender can make grow without a bound.
 */
import { BlockError } from '../../block'
import { DirtyBitmap } from '../../block/dirty_bitmap'
import { assert, type ByteStream, type Co, EIO, OK, strerror } from '../../co'

const VERSION = 1
const LINE_BYTES_MAX = 1024 * 1024
const PIECE_BYTES = 64 * 1024
const READ_BYTES = 64 * 1024
/** Of the bits of all bitmaps together. */
const BITS_BYTES_MAX = 256 * 1024 * 1024
const BITS_PER_BYTE = 8
/** Bits come in whole words. */
const WORD_BYTES = 4

export interface SentBitmap {
  /** By its alias, as both programs know the node. */
  readonly node: string
  readonly name: string
  readonly isEnabled: boolean
  readonly isPersistent: boolean
  readonly bits: DirtyBitmap
}

export interface SentMachine {
  readonly wasRunning: boolean
  readonly bitmaps: readonly SentBitmap[]
}

/** Throws BlockError. */
export function* sendMachine(stream: ByteStream, { wasRunning, bitmaps }: SentMachine): Co<void> {
  yield* sendLine(stream, { 'mirrorsim-migration': VERSION, running: wasRunning })
  for (const { node, name, isEnabled, isPersistent, bits } of bitmaps) {
    const { granularityBytes, lengthBytes } = bits
    yield* sendLine(stream, { node, name, granularityBytes, lengthBytes, isEnabled, isPersistent })
    const totalBytes = wholeBytes(bits)
    for (let at = 0; at < totalBytes; at += PIECE_BYTES) {
      const piece = new Uint8Array(Math.min(PIECE_BYTES, totalBytes - at))
      bits.saveBytes(at, piece)
      if (piece.some((byte) => byte !== 0)) yield* sendLine(stream, { at, bits: Buffer.from(piece).toString('base64') })
    }
  }
  yield* sendLine(stream, { end: true })
  const errno = yield* stream.endWrite()
  if (errno !== OK) throw new BlockError(`Unable to write to the migration stream: ${strerror(errno)}`, { errno })
}

function wholeBytes({ bitCount }: DirtyBitmap): number {
  return Math.ceil(bitCount / BITS_PER_BYTE / WORD_BYTES) * WORD_BYTES
}

function* sendLine(stream: ByteStream, line: object): Co<void> {
  const bytes = Buffer.from(`${JSON.stringify(line)}\n`)
  assert(bytes.length <= LINE_BYTES_MAX, 'migration-line', () => String(bytes.length))
  const errno = yield* stream.write(bytes)
  if (errno !== OK) throw new BlockError(`Unable to write to the migration stream: ${strerror(errno)}`, { errno })
}

/** Throws BlockError. */
export function* receiveMachine(stream: ByteStream): Co<SentMachine> {
  const lines = new Lines(stream)
  const first = yield* lines.next()
  if (first['mirrorsim-migration'] !== VERSION) throw broken('Not a migration stream')
  const bitmaps: SentBitmap[] = []
  let budgetBytes = BITS_BYTES_MAX
  for (;;) {
    const line = yield* lines.next()
    if (line['end'] === true) return { wasRunning: first['running'] === true, bitmaps }
    if (line['bits'] !== undefined) addBits(bitmaps.at(-1), line)
    else {
      const bitmap = newBitmap(line, budgetBytes)
      budgetBytes -= Math.ceil(bitmap.bits.bitCount / BITS_PER_BYTE)
      bitmaps.push(bitmap)
    }
  }
}

function newBitmap(line: Record<string, unknown>, budgetBytes: number): SentBitmap {
  const { node, name, granularityBytes, lengthBytes, isEnabled, isPersistent } = line
  const isSound =
    typeof node === 'string' &&
    typeof name === 'string' &&
    name !== '' &&
    Number.isSafeInteger(lengthBytes) &&
    (lengthBytes as number) >= 0 &&
    typeof granularityBytes === 'number' &&
    granularityBytes >= 512 &&
    granularityBytes <= 2 ** 31 &&
    Number.isInteger(Math.log2(granularityBytes))
  if (!isSound) throw broken('A bitmap of the migration stream is none')
  const length = lengthBytes as number
  if (length / granularityBytes / BITS_PER_BYTE > budgetBytes) throw broken('The bitmaps need too much memory')
  const bits = new DirtyBitmap(length, granularityBytes)
  return { node, name, isEnabled: isEnabled === true, isPersistent: isPersistent === true, bits }
}

function addBits(bitmap: SentBitmap | undefined, { at, bits }: Record<string, unknown>): void {
  const bytes = typeof bits === 'string' ? Buffer.from(bits, 'base64') : null
  const isSound = bitmap !== undefined && bytes !== null && bytes.length > 0 && Number.isSafeInteger(at) && (at as number) >= 0
  if (!isSound) throw broken('Bits of the migration stream are none')
  const endBytes = wholeBytes(bitmap.bits)
  if (bytes.length % WORD_BYTES !== 0) throw broken('Bits of the migration stream are none')
  if ((at as number) % PIECE_BYTES !== 0 || (at as number) + bytes.length > endBytes) throw broken('Bits lie behind a bitmap')
  bitmap.bits.loadBytes(at as number, bytes)
}

function broken(text: string): BlockError {
  return new BlockError(text, { errno: EIO })
}

class Lines {
  private readonly stream: ByteStream
  private readonly buffer = new Uint8Array(READ_BYTES)
  private rest = Buffer.alloc(0)

  constructor(stream: ByteStream) {
    this.stream = stream
  }

  /** The next line. Throws BlockError at the end of the stream. */
  *next(): Co<Record<string, unknown>> {
    let end = this.rest.indexOf(0x0a)
    while (end < 0) {
      if (this.rest.length > LINE_BYTES_MAX) throw broken('A line of the migration stream is too long')
      const count = yield* this.stream.read(this.buffer)
      if (count <= 0) throw broken(`The migration stream ends too early${count < 0 ? `: ${strerror(-count)}` : ''}`)
      const from = this.rest.length
      this.rest = Buffer.concat([this.rest, this.buffer.subarray(0, count)])
      end = this.rest.indexOf(0x0a, from)
    }
    const text = this.rest.subarray(0, end).toString()
    this.rest = this.rest.subarray(end + 1)
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      throw broken('Not a migration stream')
    }
    if (typeof value !== 'object' || value === null) throw broken('Not a migration stream')
    return value as Record<string, unknown>
  }
}
