/**
 * Creating an image in an empty file (or over whatever a device holds). Clusters lie where QEMU puts them: header, refcount
 * table, refcount block, L1 table.
 *
 * What may fail: options that do not go together (BlockError with QEMU's texts), and the file.
 */
import { assert, type Co, EINVAL, OK } from '../../../co'
import type { Codecs } from '../../codec'
import type { PreallocationMode } from '../../driver'
import { BlockError } from '../../error'
import { Permission } from '../../flags'
import type { BlockChild, BlockNode } from '../../node'
import { type EncryptionWanted, encryptNewImage } from './encryption'
import { encodeHeader, type Qcow2Header } from './header'
import { Qcow2Image } from './image'
import {
  AUTOCLEAR_DATA_FILE_RAW,
  COMPATIBLE_LAZY_REFCOUNTS,
  COMPRESSION_ZLIB,
  COMPRESSION_ZSTD,
  CRYPT_NONE,
  INCOMPATIBLE_COMPRESSION,
  INCOMPATIBLE_DATA_FILE,
  INCOMPATIBLE_EXTENDED_L2,
  SUBCLUSTERS_PER_CLUSTER,
  writeU64,
} from './layout'
import { demand, settingsOf, temporaryParent } from './open'
import { resizeImage } from './resize'

/** The options of blockdev-create and of `qemu-img create -o`. What is absent has QEMU's default. */
export interface Qcow2CreateOptions {
  sizeBytes: number
  /** 3 is compat=1.1, 2 is compat=0.10. */
  version?: 2 | 3
  clusterBytes?: number
  refcountBits?: number
  lazyRefcounts?: boolean
  extendedL2?: boolean
  compressionType?: 'zlib' | 'zstd'
  preallocation?: PreallocationMode
  /** As it is to stand in the image. */
  backingName?: string
  backingFormat?: string
  /** An empty file for the data, and its name as it is to stand in the image. */
  dataFile?: BlockNode
  dataFileName?: string
  dataFileRaw?: boolean
  encryption?: EncryptionWanted
}

/** Creates an image in `file`. Throws BlockError. */
export function* createQcow2(file: BlockNode, options: Qcow2CreateOptions): Co<void> {
  checkOptions(options)
  const { graph } = file
  const parent = temporaryParent('the creation of a qcow2 image')
  const permission = Permission.ConsistentRead | Permission.Write | Permission.Resize
  const edges: BlockChild[] = []
  try {
    edges.push(graph.attach({ name: 'root', parent, node: file, permission, shared: Permission.ConsistentRead }))
    const { dataFile } = options
    if (dataFile !== undefined) {
      edges.push(graph.attach({ name: 'root', parent, node: dataFile, permission, shared: Permission.ConsistentRead }))
    }
    yield* create(edges[0]!, edges[1] ?? null, options)
  } finally {
    for (const edge of edges) if (edge.isAttached) graph.detach(edge)
  }
}

function* create(file: BlockChild, dataFile: BlockChild | null, options: Qcow2CreateOptions): Co<void> {
  const header = newHeader(options)
  const clusterBytes = 2 ** header.clusterBits
  const first = encodeHeader({ ...header, backingName: null, backingFormat: null })
  const table = new Uint8Array(clusterBytes * 2)
  writeU64(table, 0, clusterBytes * 2)
  // A file is emptied; a device keeps its length, and what it holds is written over.
  yield* file.truncate(0, false, 'off')
  demand(yield* file.pwrite(clusterBytes, table), 'Could not write refcount table')
  demand(yield* file.pwrite(0, first), 'Could not write qcow2 header')
  const codecs: Codecs = { deflate: null, zstd: null, zlib: null }
  const image = new Qcow2Image(file.node.kernel, header, settingsOf(header, { codecs }), codecs)
  image.attach(null, file, dataFile)
  const tableEntries = new Float64Array(clusterBytes / 8)
  tableEntries[0] = clusterBytes * 2
  image.setTables(new Uint32Array(0), tableEntries, new Set())
  yield* image.lock.lock()
  let errno = yield* image.refcounts.increase(0, clusterBytes * 3)
  image.lock.unlock()
  demand(errno, 'Could not allocate clusters for qcow2 header and refcount table')
  errno = yield* resizeImage(image, options.sizeBytes, preallocationOf(options))
  demand(errno, 'Could not resize image')
  assert(image.header.sizeBytes === options.sizeBytes, 'created-size')
  if (options.encryption !== undefined) yield* encryptNewImage(image, options.encryption)
  yield* image.lock.lock()
  errno = yield* image.writeHeader()
  if (errno === OK) errno = yield* image.markClean()
  if (errno === OK) errno = yield* image.flushFiles()
  image.lock.unlock()
  demand(errno, 'Could not update qcow2 header')
}

function preallocationOf(options: Qcow2CreateOptions): PreallocationMode {
  const { preallocation = 'off' } = options
  return options.dataFileRaw === true && preallocation === 'off' ? 'metadata' : preallocation
}

function newHeader(options: Qcow2CreateOptions): Qcow2Header {
  const { version = 3, clusterBytes = 65536, refcountBits = 16 } = options
  let incompatible = 0n
  if (options.dataFile !== undefined) incompatible |= INCOMPATIBLE_DATA_FILE
  if (options.compressionType === 'zstd') incompatible |= INCOMPATIBLE_COMPRESSION
  if (options.extendedL2 === true) incompatible |= INCOMPATIBLE_EXTENDED_L2
  assert(version === 3 || incompatible === 0n, 'features-of-version-3')
  return {
    version,
    clusterBits: Math.log2(clusterBytes),
    sizeBytes: 0,
    cryptMethod: CRYPT_NONE,
    l1Entries: 0,
    l1OffsetBytes: 0,
    refcountTableOffsetBytes: clusterBytes,
    refcountTableClusters: 1,
    snapshotCount: 0,
    snapshotsOffsetBytes: 0,
    incompatible,
    compatible: options.lazyRefcounts === true ? COMPATIBLE_LAZY_REFCOUNTS : 0n,
    autoclear: options.dataFileRaw === true ? AUTOCLEAR_DATA_FILE_RAW : 0n,
    refcountOrder: Math.log2(refcountBits),
    compressionType: options.compressionType === 'zstd' ? COMPRESSION_ZSTD : COMPRESSION_ZLIB,
    unknownFields: new Uint8Array(0),
    backingName: options.backingName ?? null,
    backingFormat: options.backingFormat ?? null,
    dataFileName: options.dataFileName ?? null,
    bitmaps: null,
    cryptoHeader: null,
    unknownExtensions: [],
  }
}

const NEEDS_V3 = 'only supported with compatibility level 1.1 and above (use version=v3 or greater)'

function checkOptions(options: Qcow2CreateOptions): void {
  const { version = 3, clusterBytes = 65536, refcountBits = 16, sizeBytes } = options
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || sizeBytes % 512 !== 0) {
    throw new BlockError('Image size must be a multiple of 512 bytes')
  }
  if (!isPowerOfTwo(clusterBytes) || clusterBytes < 512 || clusterBytes > 2 ** 21) {
    throw new BlockError('Cluster size must be a power of two between 512 and 2048k')
  }
  if (options.extendedL2 === true) {
    if (version < 3) throw new BlockError(`Extended L2 entries are ${NEEDS_V3}`)
    const least = SUBCLUSTERS_PER_CLUSTER * 512
    if (clusterBytes < least) {
      throw new BlockError(`Extended L2 entries are only supported with cluster sizes of at least ${least} bytes`)
    }
  }
  if ((options.preallocation ?? 'off') !== 'off' && options.backingName !== undefined && options.extendedL2 !== true) {
    throw new BlockError('Backing file and preallocation can only be used at the same time if extended_l2 is on')
  }
  if (options.backingFormat !== undefined && options.backingName === undefined) {
    throw new BlockError('Backing format cannot be used without backing file')
  }
  if (options.lazyRefcounts === true && version < 3) throw new BlockError(`Lazy refcounts ${NEEDS_V3}`)
  if (!isPowerOfTwo(refcountBits) || refcountBits > 64) {
    throw new BlockError('Refcount width must be a power of two and may not exceed 64 bits')
  }
  if (version < 3 && refcountBits !== 16) {
    throw new BlockError(
      'Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)',
    )
  }
  checkData(options, version)
}

function checkData(options: Qcow2CreateOptions, version: number): void {
  const { dataFile, dataFileRaw = false } = options
  if (dataFileRaw && dataFile === undefined) throw new BlockError('data-file-raw requires data-file')
  if (dataFileRaw && options.backingName !== undefined) {
    throw new BlockError('Backing file and data-file-raw cannot be used at the same time')
  }
  if (dataFile !== undefined && version < 3) throw new BlockError(`External data files are ${NEEDS_V3}`)
  if (options.compressionType === 'zstd' && version < 3) {
    throw new BlockError(`Non-zlib compression type is ${NEEDS_V3}`, { errno: EINVAL })
  }
  assert(dataFile !== undefined || !dataFileRaw, 'data-file-options')
}

function isPowerOfTwo(value: number): boolean {
  return Number.isSafeInteger(value) && value > 0 && 2 ** Math.round(Math.log2(value)) === value
}
