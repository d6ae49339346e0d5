/**
 * Who forbids what to be done with a node as a whole (starting a job on it, resizing it, deleting it). Permissions say
 * what may happen to its data; these say what may happen to the node.
 */
import { EBUSY } from '../co'
import { BlockError } from './error'

/** Operations that can be blocked; the names are those of QEMU's block operation types. */
export type BlockOperation =
  | 'backup-source'
  | 'backup-target'
  | 'change'
  | 'commit-source'
  | 'commit-target'
  | 'drive-del'
  | 'eject'
  | 'external-snapshot'
  | 'internal-snapshot'
  | 'mirror-source'
  | 'mirror-target'
  | 'replace'
  | 'resize'
  | 'stream'

/** One owner's block; add it to `BlockNode.blockers` of each node concerned and delete it there when done. */
export interface OperationBlocker {
  /** As the error text ends: `block device is in use by block job: mirror`. */
  readonly reason: string
  /** What stays allowed; everything else is blocked. */
  readonly allows: ReadonlySet<BlockOperation>
}

/** Throws `Node 'N' is busy: REASON` if somebody blocks `operation`. */
export function checkUnblocked(nodeName: string, blockers: Iterable<OperationBlocker>, operation: BlockOperation): void {
  for (const blocker of blockers) {
    if (!blocker.allows.has(operation)) throw new BlockError(`Node '${nodeName}' is busy: ${blocker.reason}`, { errno: EBUSY })
  }
}
