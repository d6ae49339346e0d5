/**
 * Write thresholds: management programs want to hear, once, that a guest has written beyond some offset of a node, so that
 * they grow the storage below before it is full (block-set-write-threshold).
 *
 * What never may happen: a write that is told twice, or one that is delayed by being told.
 */
import { assert, EINVAL } from '../co'
import { BlockError } from './error'
import type { BlockNode } from './node'

export interface WriteThreshold {
  readonly endBytes: number
  /** Called when the write begins, by how much its end is beyond. Must not park. */
  readonly exceeded: (amountBytes: number) => void
}

/** The event BLOCK_WRITE_THRESHOLD as QMP sends it. */
export interface WriteThresholdEvent {
  event: 'BLOCK_WRITE_THRESHOLD'
  data: { 'node-name': string; 'amount-exceeded': number; 'write-threshold': number }
}

/** Arms `node` in place of what was armed before; 0 disarms it. Throws BlockError for what is no offset. */
export function setWriteThreshold(node: BlockNode, endBytes: number, emit: (event: WriteThresholdEvent) => void): void {
  if (!Number.isSafeInteger(endBytes) || endBytes < 0) {
    throw new BlockError("Parameter 'write-threshold' expects uint64", { errno: EINVAL })
  }
  const exceeded = (amountBytes: number): void =>
    emit({
      event: 'BLOCK_WRITE_THRESHOLD',
      data: { 'node-name': node.name, 'amount-exceeded': amountBytes, 'write-threshold': endBytes },
    })
  node.writeThreshold = endBytes === 0 ? null : { endBytes, exceeded }
  node.watermarkBytes = endBytes === 0 ? node.highestWrittenBytes : Math.min(node.highestWrittenBytes, endBytes)
  assert(node.watermarkBytes <= node.highestWrittenBytes, 'watermark')
}

/** `write_threshold` of query-named-block-nodes: 0 if none is armed. */
export function writeThresholdOf(node: BlockNode): number {
  return node.writeThreshold?.endBytes ?? 0
}
