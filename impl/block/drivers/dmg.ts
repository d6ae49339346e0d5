/**
 * The `dmg` format (UDIF), for reading: a trailer leads to a property list, whose base64 blocks list chunks of the disk:
 * zero, as they are, or zlib streams. Everything else is big-endian.
 *
 * What may fail: a trailer or list that promises what is not so, as BlockError; the file; chunks that are compressed by
 * another method (ENOTSUP), and parts of the disk that no chunk describes (EIO).
 */
import { assert, type Co, EINVAL, EIO, ENOTSUP, type Errno, OK } from '../../co'
import type { StreamCodec } from '../codec'
import type { DriverInfo } from '../driver'
import { BlockError } from '../error'
import type { BlockNode } from '../node'
import { hasText, readNumber64, textOf, viewOf } from './clusters/bytes'
import { type Cell, type Place, placeAt, placeError, SECTOR_BYTES, ZEROED } from './clusters/driver'
import { readHead } from './clusters/head'
import { ReadOnlyClusterDriver } from './clusters/read_only'

const TRAILER_BYTES = 512
const TRAILER_MAGIC = 'koly'
const TRAILER_AT = { dataOffset: 0x18, listOffset: 0xd8, listBytes: 0xe0 } as const
const BLOCK_MAGIC = 'mish'
const BLOCK_AT = { firstSector: 8, dataOffset: 0x18, entries: 204 } as const
const ENTRY_BYTES = 40
const ENTRY_AT = { type: 0, sector: 8, sectors: 16, offset: 24, bytes: 32 } as const
const LIST_BYTES_MAX = 32 * 2 ** 20
const CHUNK_BYTES_MAX = 64 * 2 ** 20

const ZERO = 0
const RAW = 1
const IGNORED = 2
const ADC = 0x80000004
const ZLIB = 0x80000005
const BZIP2 = 0x80000006
const LZFSE = 0x80000007
const KNOWN: readonly number[] = [ZERO, RAW, IGNORED, ADC, ZLIB, BZIP2, LZFSE]
/** Stands where no chunk is. */
const GAP = -1

interface Chunk {
  type: number
  startBytes: number
  lengthBytes: number
  /** In the file. */
  offsetBytes: number
  storedBytes: number
}

/** Throws BlockError. */
export function* openDmg(file: BlockNode, codec: StreamCodec | null): Co<DmgDriver> {
  const refuse = (text: string): never => {
    throw new BlockError(text, { errno: EINVAL })
  }
  if (file.lengthBytes < TRAILER_BYTES) refuse('dmg file must be at least 512 bytes long')
  const tailBytes = Math.min(file.lengthBytes, 2 * TRAILER_BYTES - 1)
  const tail = yield* readHead(file, tailBytes, file.lengthBytes - tailBytes)
  const at = textOf(tail, 0, tailBytes).indexOf(TRAILER_MAGIC)
  if (at === -1 || at + TRAILER_AT.listBytes + 8 > tailBytes) refuse('Could not locate UDIF trailer in dmg file')
  const view = viewOf(tail)
  const trailerAt = file.lengthBytes - tailBytes + at
  const listAt = readNumber64(view, at + TRAILER_AT.listOffset)
  const listBytes = readNumber64(view, at + TRAILER_AT.listBytes)
  if (listBytes === 0) refuse('The image has no property list; images with a resource fork only are not supported')
  if (listBytes > LIST_BYTES_MAX || listAt + listBytes > trailerAt) refuse('The property list lies outside of the image')
  const list = yield* readHead(file, listBytes, listAt)
  return new DmgDriver(chunksOf(textOf(list, 0, listBytes), readNumber64(view, at + TRAILER_AT.dataOffset)), codec)
}

/** The chunks that a property list describes, in order, with gaps where there are none. Throws BlockError. */
export function chunksOf(list: string, dataOffsetBytes: number): Chunk[] {
  const chunks: Chunk[] = []
  for (const [, text] of list.matchAll(/<data>([^<]*)<\/data>/g)) {
    const bytes = Buffer.from(text!, 'base64')
    if (bytes.length >= BLOCK_AT.entries && hasText(bytes, 0, BLOCK_MAGIC)) addChunks(chunks, bytes, dataOffsetBytes)
  }
  chunks.sort((a, b) => a.startBytes - b.startBytes)
  const all: Chunk[] = []
  let endBytes = 0
  for (const chunk of chunks) {
    const { startBytes, lengthBytes } = chunk
    if (startBytes < endBytes) throw new BlockError('Chunks of the image overlap', { errno: EINVAL })
    if (startBytes > endBytes)
      all.push({ type: GAP, startBytes: endBytes, lengthBytes: startBytes - endBytes, offsetBytes: 0, storedBytes: 0 })
    all.push(chunk)
    endBytes = startBytes + lengthBytes
  }
  assert(all.length >= chunks.length && Number.isSafeInteger(endBytes), 'dmg-chunks')
  return all
}

function addChunks(chunks: Chunk[], block: Uint8Array, dataOffsetBytes: number): void {
  assert(block.length >= BLOCK_AT.entries && dataOffsetBytes >= 0, 'dmg-block')
  const view = viewOf(block)
  const firstSector = readNumber64(view, BLOCK_AT.firstSector)
  const blockOffset = readNumber64(view, BLOCK_AT.dataOffset)
  const count = Math.floor((block.length - BLOCK_AT.entries) / ENTRY_BYTES)
  for (let index = 0; index < count; index++) {
    const at = BLOCK_AT.entries + index * ENTRY_BYTES
    const type = view.getUint32(at + ENTRY_AT.type)
    // Comments and the end of the list.
    if (!KNOWN.includes(type)) continue
    const startBytes = (firstSector + readNumber64(view, at + ENTRY_AT.sector)) * SECTOR_BYTES
    const lengthBytes = readNumber64(view, at + ENTRY_AT.sectors) * SECTOR_BYTES
    const offsetBytes = dataOffsetBytes + blockOffset + readNumber64(view, at + ENTRY_AT.offset)
    const storedBytes = readNumber64(view, at + ENTRY_AT.bytes)
    const isEmpty = type === ZERO || type === IGNORED
    if (!isEmpty && (lengthBytes > CHUNK_BYTES_MAX || storedBytes > CHUNK_BYTES_MAX)) {
      const text = `length ${lengthBytes} or ${storedBytes} for chunk ${chunks.length} is larger than max (${CHUNK_BYTES_MAX})`
      throw new BlockError(text, { errno: EINVAL })
    }
    if (!Number.isSafeInteger(startBytes + lengthBytes) || !Number.isSafeInteger(offsetBytes + storedBytes)) {
      throw new BlockError(`chunk ${chunks.length} is out of reach`, { errno: EINVAL })
    }
    if (lengthBytes > 0) chunks.push({ type, startBytes, lengthBytes, offsetBytes, storedBytes })
  }
}

export class DmgDriver extends ReadOnlyClusterDriver {
  readonly name = 'dmg'
  /** Chunks have lengths of their own. */
  readonly clusterBytes = SECTOR_BYTES
  private readonly chunks: readonly Chunk[]
  private readonly codec: StreamCodec | null

  constructor(chunks: readonly Chunk[], codec: StreamCodec | null) {
    super()
    this.chunks = chunks
    this.codec = codec
  }

  lengthBytes(): number {
    const last = this.chunks.at(-1)
    return last === undefined ? 0 : last.startBytes + last.lengthBytes
  }
  override info(): DriverInfo {
    return { clusterBytes: 0, subclusterBytes: 0 }
  }
  override hasZeroInit(): boolean {
    return false
  }
  protected override cellAt(offsetBytes: number): Cell {
    let [low, high] = [0, this.chunks.length - 1]
    while (low < high) {
      const middle = Math.ceil((low + high) / 2)
      if (this.chunks[middle]!.startBytes <= offsetBytes) low = middle
      else high = middle - 1
    }
    const { startBytes, lengthBytes } = this.chunks[low]!
    assert(startBytes <= offsetBytes && offsetBytes < startBytes + lengthBytes, 'dmg-cell')
    return { cluster: low, startBytes, bytes: lengthBytes }
  }
  protected *find(index: number): Co<Place> {
    const chunk = this.chunks[index]
    assert(chunk !== undefined, 'dmg-chunk')
    const { type, offsetBytes, storedBytes, lengthBytes } = chunk
    if (type === ZERO || type === IGNORED) return ZEROED
    if (type === GAP) return placeError(EIO)
    if (offsetBytes + storedBytes > this.file.node.lengthBytes) return placeError(EIO)
    if (type === RAW) return storedBytes >= lengthBytes ? placeAt(offsetBytes) : placeError(EIO)
    return type === ZLIB ? { errno: OK, kind: 'packed', offsetBytes, packedBytes: storedBytes } : placeError(ENOTSUP)
  }
  protected override *unpack(place: Place, _cell: Cell, whole: Uint8Array): Co<Errno> {
    const packed = new Uint8Array(place.packedBytes ?? 0)
    if (this.codec === null) return ENOTSUP
    if (packed.length === 0) return EIO
    const errno = yield* this.file.pread(place.offsetBytes, packed)
    if (errno !== OK) return errno
    return this.codec.expand(packed, whole) === whole.length ? OK : EIO
  }
}
