/** Opening `qed` images; see driver.ts and header.ts. Throws BlockError with QEMU's texts. */
import { type Co, EINVAL } from '../../../co'
import { BlockError } from '../../error'
import type { BlockNode } from '../../node'
import { nameOf } from '../clusters/bytes'
import { readHead } from '../clusters/head'
import { QedDriver } from './driver'
import { decodeQedHeader, FEATURE, NAME_BYTES_MAX, QED_HEADER_BYTES } from './header'

export { QedDriver } from './driver'
export { FEATURE, newQed, probeQed } from './header'

export function* openQed(file: BlockNode): Co<QedDriver> {
  const { backingBytes, ...header } = decodeQedHeader(yield* readHead(file, QED_HEADER_BYTES))
  const { clusterBytes, tableClusters, tableOffsetBytes, headerClusters, backingAt } = header
  const endBytes = Math.floor(file.lengthBytes / clusterBytes) * clusterBytes
  const isAligned = tableOffsetBytes % clusterBytes === 0
  if (
    !isAligned ||
    tableOffsetBytes < headerClusters * clusterBytes ||
    tableOffsetBytes + tableClusters * clusterBytes > endBytes
  ) {
    throw new BlockError('QED table offset is invalid', { errno: EINVAL })
  }
  if ((header.features & FEATURE.backing) !== 0n) {
    if (backingBytes > NAME_BYTES_MAX || backingAt + backingBytes > headerClusters * clusterBytes) {
      throw new BlockError('Failed to read backing filename', { errno: EINVAL })
    }
    if (backingBytes > 0) header.backingName = nameOf(yield* readHead(file, backingBytes, backingAt))
  }
  return new QedDriver(header)
}
