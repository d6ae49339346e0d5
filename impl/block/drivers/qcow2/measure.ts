/**
 * How long the file of an image becomes, before there is one: what `qemu-img measure` tells. Pure arithmetic. Everything that
 * a fully allocated image would need of tables is counted, so the answer is never too small.
 */
import { assert } from '../../../co'
import { type Geometry, geometryOf, refcountMetadata } from './layout'

export interface Measurement {
  /** With every cluster of the disk. */
  fullyAllocatedBytes: number
  /** With `dataBytes` of clusters only. */
  requiredBytes: number
}

/** `dataBytes` is what has to be written, in whole clusters of the image. */
export function measureQcow2(
  options: { sizeBytes: number; clusterBytes?: number; refcountBits?: number; extendedL2?: boolean; cryptoHeaderBytes?: number },
  dataBytes: number,
): Measurement {
  const { sizeBytes, clusterBytes = 65536, refcountBits = 16, extendedL2 = false, cryptoHeaderBytes = 0 } = options
  const geometry = geometryOf(Math.log2(clusterBytes), Math.log2(refcountBits), extendedL2)
  const alignedBytes = Math.ceil(sizeBytes / clusterBytes) * clusterBytes
  const fullyAllocatedBytes = fullLength(geometry, alignedBytes, Math.ceil(cryptoHeaderBytes / clusterBytes))
  assert(dataBytes >= 0 && dataBytes <= alignedBytes, 'measured-data', () => `${dataBytes} of ${alignedBytes}`)
  return { fullyAllocatedBytes, requiredBytes: fullyAllocatedBytes - alignedBytes + dataBytes }
}

/** Length of a file with header, `cryptoClusters` of keys, tables, refcounts and `dataBytes` of data clusters. */
function fullLength(geometry: Geometry, dataBytes: number, cryptoClusters: number): number {
  const { clusterBytes, l2Entries } = geometry
  const dataClusters = dataBytes / clusterBytes
  const l2Clusters = Math.ceil(dataClusters / l2Entries)
  const l1Clusters = Math.ceil(l2Clusters / (clusterBytes / 8))
  const clusters = 1 + cryptoClusters + l2Clusters + l1Clusters + dataClusters
  const { blocks, tableClusters } = refcountMetadata(geometry, clusters, false)
  assert(Number.isSafeInteger(clusters), 'measured-clusters')
  return (clusters + blocks + tableClusters) * clusterBytes
}
