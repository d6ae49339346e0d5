/**
 * What an image pair of `npm run interop` is: options of creation, what lies below, and what is done to it. Plain data,
 * drawn from a seed; integers only.
 */
import { Choices, type Table } from '../properties/plans/choices'

const KiB = 1024
const MiB = 1024 * KiB
const SECTOR_BYTES = 512

export interface InteropBacking {
  format: 'raw' | 'qcow2'
  lengthBytes: number
  operations: InteropOperation[]
}

export interface InteropImage {
  seed: string
  /** Who creates the image, and who does the operations: the other one only reads. */
  creator: 'ours' | 'theirs'
  writer: 'ours' | 'theirs'
  lengthBytes: number
  version: 2 | 3
  clusterBytes: number
  extendedL2: boolean
  refcountBits: number
  lazyRefcounts: boolean
  compressionType: 'zlib' | 'zstd'
  preallocation: 'off' | 'metadata' | 'falloc' | 'full'
  dataFile: 'none' | 'plain' | 'raw'
  backing: InteropBacking | null
  operations: InteropOperation[]
}

export interface InteropOperation {
  kind: 'write' | 'write-zeroes' | 'unmap' | 'discard' | 'compressed'
  offsetBytes: number
  lengthBytes: number
  /** The byte that is written. */
  pattern: number
}

const CLUSTER: Table<number> = [
  [512, 10, 1],
  [1 * KiB, 5, 1],
  [4 * KiB, 15, 1],
  [16 * KiB, 15, 1],
  [64 * KiB, 40, 1],
  [256 * KiB, 8, 1],
  [2 * MiB, 7, 1],
]
const REFCOUNT_BITS: Table<number> = [
  [16, 60, 1],
  [1, 8, 1],
  [2, 6, 1],
  [4, 6, 1],
  [8, 6, 1],
  [32, 7, 1],
  [64, 7, 1],
]
const PREALLOCATION: Table<InteropImage['preallocation']> = [
  ['off', 76, 1],
  ['metadata', 12, 1],
  ['falloc', 6, 1],
  ['full', 6, 1],
]
const KIND: Table<InteropOperation['kind']> = [
  ['write', 50, 1],
  ['write-zeroes', 20, 1],
  ['unmap', 15, 1],
  ['discard', 15, 1],
]
/** Images without extended L2 entries cannot have smaller clusters than this with them. */
const EXTENDED_CLUSTER_MIN_BYTES = 16 * KiB
const OPERATIONS_MAX = 24
const COMPRESSED_MAX = 6
const OPERATION_SECTORS_MAX = 1024

export function drawInterop(seed: string): InteropImage {
  const choices = new Choices(seed, 'interop', 'uniform')
  const version = choices.chance(20) ? 2 : 3
  const clusterBytes = choices.pick(CLUSTER)
  const lengthBytes = choices.between(1, choices.chance(50) ? 4096 : 512) * SECTOR_BYTES
  const hasDataFile = version === 3 && choices.chance(12)
  const hasBacking = choices.chance(40)
  const dataFile = !hasDataFile ? 'none' : !hasBacking && choices.chance(50) ? 'raw' : 'plain'
  const preallocation = choices.pick(PREALLOCATION)
  // Compressed data takes free clusters only, so it comes first.
  const canCompress = dataFile === 'none' && (hasBacking || preallocation === 'off') && choices.chance(40)
  return {
    seed,
    creator: choices.chance(50) ? 'ours' : 'theirs',
    writer: choices.chance(50) ? 'ours' : 'theirs',
    lengthBytes,
    version,
    clusterBytes,
    extendedL2: version === 3 && clusterBytes >= EXTENDED_CLUSTER_MIN_BYTES && choices.chance(35),
    refcountBits: version === 3 ? choices.pick(REFCOUNT_BITS) : 16,
    lazyRefcounts: version === 3 && choices.chance(15),
    compressionType: version === 3 && choices.chance(30) ? 'zstd' : 'zlib',
    preallocation: hasBacking ? 'off' : preallocation,
    dataFile,
    backing: hasBacking ? drawBacking(choices, lengthBytes) : null,
    operations: [
      ...(canCompress ? drawCompressed(choices, lengthBytes, clusterBytes) : []),
      ...drawOperations(choices, lengthBytes, clusterBytes),
    ],
  }
}

function drawBacking(choices: Choices, aboveBytes: number): InteropBacking {
  const format = choices.chance(50) ? 'raw' : 'qcow2'
  const isShorter = choices.chance(40)
  const sectors = Math.max(1, Math.floor((aboveBytes / SECTOR_BYTES) * (isShorter ? 0.6 : 1)))
  const lengthBytes = (choices.chance(20) ? sectors + choices.below(64) : sectors) * SECTOR_BYTES
  return { format, lengthBytes, operations: drawOperations(choices, lengthBytes, 65536) }
}

function drawCompressed(choices: Choices, lengthBytes: number, clusterBytes: number): InteropOperation[] {
  const clusters = Math.floor(lengthBytes / clusterBytes)
  const chosen = new Set<number>()
  for (let left = clusters === 0 ? 0 : choices.between(1, COMPRESSED_MAX); left > 0; left--) chosen.add(choices.below(clusters))
  return [...chosen].map((cluster) => ({
    kind: 'compressed',
    offsetBytes: cluster * clusterBytes,
    lengthBytes: clusterBytes,
    pattern: choices.between(1, 255),
  }))
}

function drawOperations(choices: Choices, lengthBytes: number, clusterBytes: number): InteropOperation[] {
  const operations: InteropOperation[] = []
  for (let left = choices.below(OPERATIONS_MAX + 1); left > 0; left--) {
    const unitBytes = choices.chance(40) && clusterBytes <= lengthBytes ? clusterBytes : SECTOR_BYTES
    const units = Math.floor(lengthBytes / unitBytes)
    const first = choices.below(units)
    const most = Math.max(1, Math.floor((OPERATION_SECTORS_MAX * SECTOR_BYTES) / unitBytes))
    const count = choices.between(1, Math.min(units - first, most))
    operations.push({
      kind: choices.pick(KIND),
      offsetBytes: first * unitBytes,
      lengthBytes: count * unitBytes,
      pattern: choices.between(1, 255),
    })
  }
  return operations
}
