/**
 * What filters have in common: everything goes to the one filtered child as it came, with every flag that the child
 * understands. A filter overrides what it is there for.
 *
 * What may fail: the child. What never may: a filter that reads differently from its child.
 */
import { assert, type Co, type Errno } from '../../co'
import { BlockDriver, type DriverInfo } from '../driver'
import { type BlockLimits, RequestFlag } from '../flags'
import type { BlockChild } from '../node'

export abstract class FilterDriver extends BlockDriver {
  override readonly isFilter = true

  protected get child(): BlockChild {
    const child = this.node.filtered
    assert(child !== null, 'filter-has-child', () => this.name)
    return child
  }

  lengthBytes(): number {
    return this.child.node.lengthBytes
  }
  override refreshLimits(_limits: BlockLimits): void {
    const below = this.child.node.driver
    const written = RequestFlag.Fua | RequestFlag.Compressed
    this.supportedWriteFlags = RequestFlag.WriteUnchanged | (written & below.supportedWriteFlags)
    const zeroed = RequestFlag.Fua | RequestFlag.MayUnmap
    this.supportedZeroFlags = RequestFlag.WriteUnchanged | RequestFlag.NoFallback | (zeroed & below.supportedZeroFlags)
  }
  override info(): DriverInfo {
    return this.child.node.driver.info()
  }
  override allocatedBytes(): number | null {
    return this.child.node.driver.allocatedBytes()
  }
  override hasZeroInit(): boolean {
    return this.child.node.driver.hasZeroInit()
  }

  pread(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    return this.child.pread(offsetBytes, buffer, flags)
  }
  pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    return this.child.pwrite(offsetBytes, buffer, flags)
  }
  override pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    return this.child.pwriteZeroes(offsetBytes, lengthBytes, flags)
  }
  override pdiscard(offsetBytes: number, lengthBytes: number): Co<Errno> {
    return this.child.pdiscard(offsetBytes, lengthBytes)
  }
}
