/** How the limits of a node follow from those of its children, before its own driver has its say. */
import { assert } from '../co'
import type { BlockLimits } from './flags'
import type { ChildRole } from './node'

/** The smaller of two maxima of which 0 means none. */
function strictest(leftBytes: number, rightBytes: number): number {
  return leftBytes === 0 || (rightBytes !== 0 && rightBytes < leftBytes) ? rightBytes : leftBytes
}

/**
 * Takes over into `limits` what a child demands. Alignments grow, maxima shrink. A backing image is only read, with
 * requests of its own, so its alignments do not concern the overlay.
 */
export function mergeLimits(limits: BlockLimits, child: BlockLimits, role: ChildRole): void {
  assert(child.requestAlignmentBytes >= 1, 'request-alignment-power-of-two')
  limits.maxTransferBytes = strictest(limits.maxTransferBytes, child.maxTransferBytes)
  limits.optTransferBytes = Math.max(limits.optTransferBytes, child.optTransferBytes)
  limits.memoryAlignmentBytes = Math.max(limits.memoryAlignmentBytes, child.memoryAlignmentBytes)
  if (role === 'cow') return
  limits.requestAlignmentBytes = Math.max(limits.requestAlignmentBytes, child.requestAlignmentBytes)
  limits.maxPwriteZeroesBytes = strictest(limits.maxPwriteZeroesBytes, child.maxPwriteZeroesBytes)
  limits.pwriteZeroesAlignmentBytes = Math.max(limits.pwriteZeroesAlignmentBytes, child.pwriteZeroesAlignmentBytes)
  limits.maxPdiscardBytes = strictest(limits.maxPdiscardBytes, child.maxPdiscardBytes)
  limits.pdiscardAlignmentBytes = Math.max(limits.pdiscardAlignmentBytes, child.pdiscardAlignmentBytes)
}
