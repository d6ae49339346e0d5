/** Draws what lies on the disks before a world begins. Extents are whole sectors inside the disk; later ones overwrite. */
import { type InitialExtent, SECTOR_BYTES } from '../../sim/plan'
import type { Choices } from './choices'
import type { Geometry } from './geometry'
import { type ImageShape, ZERO_EXTENT_PERCENT } from './mixture'

const SCATTERED_MAX = 10
const STRIPES_MAX = 12

type Content = InitialExtent['content']

class Image {
  readonly extents: InitialExtent[] = []
  private readonly prefix: string

  constructor(prefix: string) {
    this.prefix = prefix
  }

  add(offsetBytes: number, lengthBytes: number, content: Content): void {
    this.extents.push({ id: `${this.prefix}${this.extents.length + 1}`, offsetBytes, lengthBytes, content })
  }
}

/** `prefix` begins the extents' ids: `s` for the source, `d` for the destination. */
export function drawImage(choices: Choices, geometry: Geometry, shape: ImageShape, prefix: string): InitialExtent[] {
  const { lengthBytes } = geometry
  const image = new Image(prefix)
  switch (shape) {
    case 'empty':
      break
    case 'full':
      image.add(0, lengthBytes, 'data')
      break
    case 'half':
      drawHalf(choices, image, lengthBytes)
      break
    case 'scattered':
      drawScattered(choices, image, geometry)
      break
    case 'stripes':
      drawStripes(choices, image, geometry)
      break
    case 'zeroed':
      image.add(0, lengthBytes, 'zero')
      break
    case 'edges':
      image.add(0, Math.min(lengthBytes, choices.between(1, 4) * SECTOR_BYTES), 'data')
      image.add(lengthBytes - SECTOR_BYTES, SECTOR_BYTES, 'data')
      break
  }
  return image.extents
}

/** Data before or after a cut at any sector. */
function drawHalf(choices: Choices, image: Image, lengthBytes: number): void {
  const cutBytes = choices.between(0, lengthBytes / SECTOR_BYTES - 1) * SECTOR_BYTES
  if (cutBytes > 0 && choices.chance(50)) image.add(0, cutBytes, 'data')
  else image.add(cutBytes, lengthBytes - cutBytes, 'data')
}

/** Extents from one sector to three chunks, so that holes and data shorter than a chunk both occur. */
function drawScattered(choices: Choices, image: Image, { lengthBytes, granularityBytes }: Geometry): void {
  const chunkSectors = granularityBytes / SECTOR_BYTES
  for (let left = choices.between(1, SCATTERED_MAX); left > 0; left--) {
    const isAligned = choices.chance(40)
    const unitBytes = isAligned ? granularityBytes : SECTOR_BYTES
    const offsetBytes = choices.below(Math.ceil(lengthBytes / unitBytes)) * unitBytes
    const extentBytes = isAligned ? choices.between(1, 3) * granularityBytes : choices.between(1, chunkSectors * 2) * SECTOR_BYTES
    const content = choices.chance(ZERO_EXTENT_PERCENT) ? 'zero' : 'data'
    image.add(offsetBytes, Math.min(extentBytes, lengthBytes - offsetBytes), content)
  }
}

/** Data and holes by turns, a chunk wide each where the disk is small enough. */
function drawStripes(choices: Choices, image: Image, { lengthBytes, granularityBytes, chunkCount }: Geometry): void {
  const widthBytes = Math.ceil(chunkCount / (2 * STRIPES_MAX)) * granularityBytes
  const content: Content = choices.chance(85) ? 'data' : 'zero'
  for (let offsetBytes = choices.below(2) * widthBytes; offsetBytes < lengthBytes; offsetBytes += 2 * widthBytes) {
    image.add(offsetBytes, Math.min(widthBytes, lengthBytes - offsetBytes), content)
  }
}
