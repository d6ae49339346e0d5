/**
 * The `compress` filter: what is written is to be stored compressed. Requests are whole clusters of the image below, which
 * the block layer makes of smaller ones by reading the rest.
 *
 * What may fail: an image whose format cannot compress (BlockError), and whatever that format refuses.
 */
import { assert, type Co, type Errno } from '../../co'
import { BlockError } from '../error'
import { type BlockLimits, RequestFlag } from '../flags'
import { FilterDriver } from './filter'

export class CompressDriver extends FilterDriver {
  readonly name = 'compress'

  override refreshLimits(limits: BlockLimits): void {
    super.refreshLimits(limits)
    const { driver } = this.child.node
    if ((this.supportedWriteFlags & RequestFlag.Compressed) === 0) {
      throw new BlockError(`Compression is not supported for underlying format: ${driver.name}`)
    }
    const { clusterBytes } = driver.info()
    if (clusterBytes > 0) limits.requestAlignmentBytes = Math.max(limits.requestAlignmentBytes, clusterBytes)
    assert(limits.requestAlignmentBytes >= 1, 'request-alignment-power-of-two')
  }

  override pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    return super.pwrite(offsetBytes, buffer, flags | RequestFlag.Compressed)
  }
}
