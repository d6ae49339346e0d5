/** For tests only: small images of formats that no program here makes, with what they hold. */
import * as zlib from 'node:zlib'

export interface ForeignImage {
  format: 'bochs' | 'cloop' | 'dmg'
  /** QEMU finds dmg by its name. */
  filename: string
  bytes: Uint8Array
  content: Uint8Array
}

const SECTOR_BYTES = 512
const BOCHS_EXTENT_BYTES = 16384
const BOCHS_EXTENTS = 6
const CLOOP_BLOCK_BYTES = 8192

/** Different for every sector. */
function sector(number: number): Uint8Array {
  return new Uint8Array(SECTOR_BYTES).map((_, at) => (number * 7 + (at >>> 4)) & 255)
}

/** Two of six extents are there, and of them every third sector. */
export function bochsImage(): ForeignImage {
  const sectors = BOCHS_EXTENT_BYTES / SECTOR_BYTES
  const content = new Uint8Array(BOCHS_EXTENTS * BOCHS_EXTENT_BYTES)
  const head = Buffer.alloc(SECTOR_BYTES)
  head.write('Bochs Virtual HD Image', 0)
  head.write('Redolog', 32)
  head.write('Growing', 48)
  ;[0x20000, SECTOR_BYTES, BOCHS_EXTENTS, 4, BOCHS_EXTENT_BYTES].forEach((value, index) => {
    head.writeUInt32LE(value, 64 + index * 4)
  })
  head.writeBigUInt64LE(BigInt(content.length), 88)
  const catalog = Buffer.alloc(BOCHS_EXTENTS * 4, 0xff)
  const parts: Uint8Array[] = [head, catalog]
  for (const [place, extent] of [4, 1].entries()) {
    catalog.writeUInt32LE(place, extent * 4)
    const bitmap = new Uint8Array(SECTOR_BYTES)
    const data = new Uint8Array(BOCHS_EXTENT_BYTES)
    for (let number = 0; number < sectors; number += 3) {
      bitmap[number >>> 3]! |= 1 << (number & 7)
      data.set(sector(extent * sectors + number), number * SECTOR_BYTES)
    }
    content.set(data, extent * BOCHS_EXTENT_BYTES)
    parts.push(bitmap, data)
  }
  return { format: 'bochs', filename: 'i.bochs', bytes: Buffer.concat(parts), content }
}

export function cloopImage(): ForeignImage {
  const blocks = Array.from({ length: 5 }, (_, block) =>
    Buffer.concat(Array.from({ length: CLOOP_BLOCK_BYTES / SECTOR_BYTES }, (__, at) => sector(block * 31 + at))),
  )
  const packed = blocks.map((block) => zlib.deflateSync(block))
  const head = Buffer.alloc(136 + (blocks.length + 1) * 8)
  head.write('#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n')
  head.writeUInt32BE(CLOOP_BLOCK_BYTES, 128)
  head.writeUInt32BE(blocks.length, 132)
  let at = head.length
  for (const [index, block] of packed.entries()) {
    head.writeBigUInt64BE(BigInt(at), 136 + index * 8)
    at += block.length
  }
  head.writeBigUInt64BE(BigInt(at), 136 + blocks.length * 8)
  return { format: 'cloop', filename: 'i.cloop', bytes: Buffer.concat([head, ...packed]), content: Buffer.concat(blocks) }
}

/** Chunks: as they are, zero, a zlib stream, ignored, and another stream. */
export function dmgImage(): ForeignImage {
  const zero = new Uint8Array(SECTOR_BYTES * 5)
  const pieces = [
    { type: 1, plain: Buffer.concat([1, 2, 3].map(sector)) },
    { type: 0, plain: zero },
    { type: 0x80000005, plain: Buffer.concat([4, 5, 6, 7].map(sector)) },
    { type: 2, plain: zero },
    { type: 0x80000005, plain: Buffer.concat([8, 9].map(sector)) },
  ]
  const stored: Uint8Array[] = []
  const entries: Buffer[] = []
  let [at, first] = [0, 0]
  for (const { type, plain } of pieces) {
    const bytes = type === 1 ? plain : type === 0x80000005 ? zlib.deflateSync(plain) : new Uint8Array(0)
    const entry = Buffer.alloc(40)
    entry.writeUInt32BE(type, 0)
    ;[first, plain.length / SECTOR_BYTES, at, bytes.length].forEach((value, index) => {
      entry.writeBigUInt64BE(BigInt(value), 8 + index * 8)
    })
    stored.push(bytes)
    entries.push(entry)
    at += bytes.length
    first += plain.length / SECTOR_BYTES
  }
  const end = Buffer.alloc(40)
  end.writeUInt32BE(0xffffffff, 0)
  end.writeBigUInt64BE(BigInt(first), 8)
  const block = Buffer.alloc(204)
  block.write('mish', 0)
  block.writeUInt32BE(1, 4)
  block.writeBigUInt64BE(BigInt(first), 16)
  block.writeUInt32BE(entries.length + 1, 200)
  const list = Buffer.from(
    `<?xml version="1.0"?><plist><dict><key>resource-fork</key><dict><key>blkx</key><array><dict><key>Data</key>` +
      `<data>\n${Buffer.concat([block, ...entries, end]).toString('base64')}\n</data></dict></array></dict></dict></plist>`,
  )
  const trailer = Buffer.alloc(SECTOR_BYTES)
  trailer.write('koly', 0)
  trailer.writeUInt32BE(4, 4)
  trailer.writeUInt32BE(SECTOR_BYTES, 8)
  trailer.writeBigUInt64BE(BigInt(at), 0x20)
  trailer.writeBigUInt64BE(BigInt(at), 0xd8)
  trailer.writeBigUInt64BE(BigInt(list.length), 0xe0)
  trailer.writeBigUInt64BE(BigInt(first), 0x1ec)
  return {
    ...{ format: 'dmg', filename: 'i.dmg' },
    bytes: Buffer.concat([...stored, list, trailer]),
    content: Buffer.concat(pieces.map(({ plain }) => plain)),
  }
}

export const FOREIGN_IMAGES: ReadonlyArray<() => ForeignImage> = [bochsImage, cloopImage, dmgImage]
