/**
 * The `cloop` format, for reading: blocks of one length, each a zlib stream, and the offsets of their beginnings in
 * numbers of 8 bytes, big-endian.
 *
 * What may fail: a header that promises what is not so, as BlockError with QEMU's texts; offsets that are none, and
 * streams that hold another length (EIO).
 */
import { assert, type Co, EFBIG, EINVAL, EIO, ENOTSUP, type Errno, OK } from '../../co'
import type { StreamCodec } from '../codec'
import type { DriverInfo } from '../driver'
import { BlockError } from '../error'
import type { BlockNode } from '../node'
import { hasText, viewOf } from './clusters/bytes'
import { type Cell, type Place, placeError, SECTOR_BYTES } from './clusters/driver'
import { EntryCache } from './clusters/entries'
import { readHead } from './clusters/head'
import { ReadOnlyClusterDriver } from './clusters/read_only'

const MAGIC = '#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n'
const HEAD_AT = 128
const OFFSETS_AT = 136
const ENTRY_BYTES = 8
const BLOCK_BYTES_MAX = 64 * 2 ** 20
const OFFSETS_BYTES_MAX = 512 * 2 ** 20
const BLOCKS_MAX = 0xffffffff / ENTRY_BYTES

export function probeCloop(head: Uint8Array): boolean {
  return hasText(head, 0, MAGIC)
}

/** Throws BlockError. */
export function* openCloop(file: BlockNode, codec: StreamCodec | null): Co<CloopDriver> {
  const refuse = (text: string, errno: Errno = EINVAL): never => {
    throw new BlockError(text, { errno })
  }
  const view = viewOf(yield* readHead(file, OFFSETS_AT - HEAD_AT, HEAD_AT))
  const blockBytes = view.getUint32(0)
  const blocks = view.getUint32(4)
  if (blockBytes % SECTOR_BYTES !== 0) refuse(`block_size ${blockBytes} must be a multiple of ${SECTOR_BYTES}`)
  if (blockBytes === 0) refuse('block_size cannot be zero')
  if (blockBytes > BLOCK_BYTES_MAX) refuse(`block_size ${blockBytes} must be ${BLOCK_BYTES_MAX / 2 ** 20} MB or less`)
  if (blocks > BLOCKS_MAX) refuse(`n_blocks ${blocks} must be ${Math.floor(BLOCKS_MAX)} or less`)
  if ((blocks + 1) * ENTRY_BYTES > OFFSETS_BYTES_MAX) {
    refuse('image requires too many offsets, try increasing block size', EFBIG)
  }
  if (codec === null) refuse('Compressed images cannot be read here', ENOTSUP)
  const driver = new CloopDriver(blockBytes, blocks, codec!)
  yield* checkOffsets(file, driver)
  return driver
}

function* checkOffsets(file: BlockNode, { blockBytes, blocks }: CloopDriver): Co<void> {
  const STEP = 8192
  let last = 0
  for (let first = 0; first <= blocks; first += STEP) {
    const count = Math.min(STEP, blocks + 1 - first)
    const view = viewOf(yield* readHead(file, count * ENTRY_BYTES, OFFSETS_AT + first * ENTRY_BYTES))
    for (let index = 0; index < count; index++) {
      const offset = Number(view.getBigUint64(index * ENTRY_BYTES))
      if (first + index > 0 && offset < last) {
        const text = `offsets not monotonically increasing at index ${first + index}, image file is corrupt`
        throw new BlockError(text, { errno: EINVAL })
      }
      // zlib makes nothing longer than that.
      if (first + index > 0 && offset - last > 2 * BLOCK_BYTES_MAX) {
        const text = `invalid compressed block size at index ${first + index}, image file is corrupt`
        throw new BlockError(text, { errno: EINVAL })
      }
      last = offset
    }
  }
  assert(blockBytes > 0, 'cloop-checked')
}

export class CloopDriver extends ReadOnlyClusterDriver {
  readonly name = 'cloop'
  readonly clusterBytes: number
  readonly blocks: number
  private readonly codec: StreamCodec
  private offsets: EntryCache | null = null

  constructor(blockBytes: number, blocks: number, codec: StreamCodec) {
    super()
    this.clusterBytes = blockBytes
    this.blocks = blocks
    this.codec = codec
  }
  get blockBytes(): number {
    return this.clusterBytes
  }

  lengthBytes(): number {
    return this.blocks * this.clusterBytes
  }
  override info(): DriverInfo {
    return { clusterBytes: 0, subclusterBytes: 0 }
  }
  override hasZeroInit(): boolean {
    return false
  }
  protected override attached(): void {
    this.offsets ??= new EntryCache(this.file, { entryBytes: ENTRY_BYTES, isLittleEndian: false })
  }
  protected *find(block: number): Co<Place> {
    assert(block < this.blocks, 'cloop-block')
    const begin = yield* this.offsets!.read(OFFSETS_AT + block * ENTRY_BYTES)
    const end = yield* this.offsets!.read(OFFSETS_AT + (block + 1) * ENTRY_BYTES)
    if (begin.errno !== OK || end.errno !== OK) return placeError(begin.errno || end.errno)
    const offsetBytes = Number(begin.value)
    const packedBytes = Number(end.value) - offsetBytes
    const isInside =
      packedBytes > 0 && packedBytes <= 2 * BLOCK_BYTES_MAX && offsetBytes + packedBytes <= this.file.node.lengthBytes
    return isInside ? { errno: OK, kind: 'packed', offsetBytes, packedBytes } : placeError(EIO)
  }
  protected override *unpack(place: Place, _cell: Cell, whole: Uint8Array): Co<Errno> {
    const packed = new Uint8Array(place.packedBytes ?? 0)
    const errno = yield* this.file.pread(place.offsetBytes, packed)
    if (errno !== OK) return errno
    return this.codec.expand(packed, whole) === whole.length ? OK : EIO
  }
}
