/**
 * Images made and written to by both with the same commands: the files are the same, byte for byte. Left out is what cannot be:
 * compressed data (two compressors), and giving clusters up, whose places we use again later than QEMU does, when no power cut
 * can show them to anybody. A file may end where only zeroes would follow.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { NAMES, type OurImages } from './interop_ours'
import { drawInterop, type InteropImage, type InteropOperation } from './interop_plan'
import type { TheirImages } from './interop_theirs'

export function drawBytes(seed: string): InteropImage {
  const image = drawInterop(seed)
  const keeps = ({ kind }: InteropOperation): boolean => kind === 'write' || (kind === 'write-zeroes' && image.version === 3)
  // QEMU moves the refcount table of an image whose clusters are all allocated at once.
  const preallocation = image.preallocation === 'off' ? 'off' : 'metadata'
  return { ...image, preallocation, operations: image.operations.filter(keeps) }
}

/** Null, or what differs. `folders` are ours and theirs. */
export async function runBytes(
  image: InteropImage,
  folders: readonly [string, string],
  ours: OurImages,
  theirs: TheirImages,
): Promise<string | null> {
  await ours.create(image)
  theirs.create(image)
  const created = difference(folders)
  if (created !== null) return `after creation: ${created}`
  await ours.change(image)
  theirs.change(image)
  return difference(folders)
}

function difference(folders: readonly [string, string]): string | null {
  const [mine, other] = folders.map((folder) => fs.readFileSync(path.join(folder, NAMES.top))) as [Buffer, Buffer]
  for (let at = 0; at < Math.max(mine.length, other.length); at++) {
    const [left = 0, right = 0] = [mine[at], other[at]]
    if (left !== right) return `byte 0x${at.toString(16)} is ${left}, qemu's ${right}`
  }
  return null
}
