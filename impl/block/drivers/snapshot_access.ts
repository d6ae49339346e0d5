/**
 * The `snapshot-access` driver: shows the state that the node below keeps (copy-before-write), for reading. What is
 * discarded here will not be read again.
 *
 * What may fail: reading a state that has been given up (EACCES), or where none is kept (ENOTSUP); every write.
 */
import { assert, type Co, ENOTSUP, type Errno } from '../../co'
import { BlockDriver, type BlockStatus, type SnapshotSource, type StatusMode, statusError } from '../driver'
import { type BlockLimits, Permission } from '../flags'
import type { BlockNode } from '../node'

export class SnapshotAccessDriver extends BlockDriver {
  readonly name = 'snapshot-access'

  private get below(): BlockNode {
    const file = this.node.children.get('file')
    assert(file !== undefined, 'snapshot-access-has-file', () => this.node.name)
    return file.node
  }
  private get state(): SnapshotSource | null {
    return this.below.driver.snapshot
  }

  lengthBytes(): number {
    return this.below.lengthBytes
  }
  override refreshLimits(limits: BlockLimits): void {
    limits.requestAlignmentBytes = this.below.limits.requestAlignmentBytes
  }
  /** Nothing is asked for: the node below has its own means. */
  override childPermissions(): { permission: number; shared: number } {
    return { permission: Permission.None, shared: Permission.All }
  }

  *pread(offsetBytes: number, buffer: Uint8Array, _flags: number): Co<Errno> {
    return this.state === null ? ENOTSUP : yield* this.state.readSnapshot(offsetBytes, buffer)
  }
  *pwrite(): Co<Errno> {
    return ENOTSUP
  }
  override *pdiscard(offsetBytes: number, lengthBytes: number): Co<Errno> {
    return this.state === null ? ENOTSUP : yield* this.state.discardSnapshot(offsetBytes, lengthBytes)
  }
  override *blockStatus(mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    return this.state === null ? statusError(ENOTSUP) : yield* this.state.snapshotStatus(mode, offsetBytes, lengthBytes)
  }
}
