/** Opening and making VMDK images; see driver.ts, sparse.ts and descriptor.ts. Throws BlockError with QEMU's texts. */
import { type Co, EINVAL } from '../../../co'
import type { StreamCodec } from '../../codec'
import { BlockError } from '../../error'
import type { BlockNode } from '../../node'
import { textOf } from '../clusters/bytes'
import { readHead } from '../clusters/head'
import { DESCRIPTOR_BYTES, type Descriptor, looksLikeDescriptor, parseDescriptor } from './descriptor'
import { VmdkDriver, type VmdkExtent } from './driver'
import { readSparseHeader, VMDK_MAGIC } from './sparse'

export { descriptorText, type ExtentLine, NO_PARENT } from './descriptor'
export { VmdkDriver } from './driver'
export { newSparse } from './sparse'

const EXTENT_FILES = ['monolithicFlat', 'vmfs', 'vmfsSparse', 'seSparse', 'twoGbMaxExtentSparse', 'twoGbMaxExtentFlat']
const SMALLEST_BYTES = 4
/** A file that only describes is short. */
const DESCRIPTOR_FILE_BYTES_MAX = 2 ** 20

export function probeVmdk(head: Uint8Array): boolean {
  return textOf(head, 0, VMDK_MAGIC.length) === VMDK_MAGIC || looksLikeDescriptor(textOf(head, 0, head.length))
}

export interface VmdkOpenOptions {
  isWritable: boolean
  codec: StreamCodec | null
  /** Opens the file of an extent as the child of this name. */
  openExtent(childName: string, filename: string): Co<BlockNode>
}

export function* openVmdk(file: BlockNode, options: VmdkOpenOptions): Co<VmdkDriver> {
  const { isWritable, codec } = options
  if (file.lengthBytes < SMALLEST_BYTES) throw new BlockError('File is too small, not a valid image', { errno: EINVAL })
  const magic = yield* readHead(file, SMALLEST_BYTES)
  if (textOf(magic, 0, VMDK_MAGIC.length) !== VMDK_MAGIC) return yield* openDescribed(file, options)
  const sparse = yield* readSparseHeader(file, isWritable)
  let descriptor: Descriptor = { cid: 0, parentCid: 0, createType: '', parentFilename: null, extents: [] }
  const hasDescriptor = sparse.descriptorAt > 0 && sparse.descriptorAt < file.lengthBytes
  if (hasDescriptor) descriptor = parseDescriptor(yield* readText(file, DESCRIPTOR_BYTES, sparse.descriptorAt), false)
  const extent = {
    ...{ childName: 'file', type: '', startBytes: 0, lengthBytes: sparse.capacityBytes, sparse, flatOffsetBytes: 0 },
  }
  return new VmdkDriver({ descriptor, descriptorAt: hasDescriptor ? sparse.descriptorAt : null, extents: [extent], codec })
}

function* readText(file: BlockNode, lengthBytes: number, offsetBytes: number): Co<string> {
  const bytes = yield* readHead(file, Math.min(lengthBytes, file.lengthBytes - offsetBytes), offsetBytes)
  const text = textOf(bytes, 0, bytes.length)
  const end = text.indexOf('\0')
  return end === -1 ? text : text.slice(0, end)
}

function* openDescribed(file: BlockNode, { isWritable, codec, openExtent }: VmdkOpenOptions): Co<VmdkDriver> {
  const descriptor = parseDescriptor(yield* readText(file, DESCRIPTOR_FILE_BYTES_MAX, 0), true)
  if (!EXTENT_FILES.includes(descriptor.createType)) {
    throw new BlockError(`Unsupported image type '${descriptor.createType}'`)
  }
  const extents: VmdkExtent[] = []
  let startBytes = 0
  for (const line of descriptor.extents) {
    const childName = `extents.${extents.length}`
    const node = yield* openExtent(childName, line.filename)
    const { type, lengthBytes } = line
    const sparse = type === 'SPARSE' ? yield* readSparseHeader(node, isWritable) : null
    // What the description promises and the extent's own header does not is nowhere.
    if (sparse !== null && sparse.capacityBytes < lengthBytes) throw new BlockError('Extent is shorter than described')
    extents.push({ childName, type, startBytes, lengthBytes, sparse, flatOffsetBytes: line.offsetBytes })
    startBytes += lengthBytes
    if (!Number.isSafeInteger(startBytes)) throw new BlockError('Extents are too long together')
  }
  return new VmdkDriver({ descriptor, descriptorAt: 0, extents, codec })
}
