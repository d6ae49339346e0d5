/**
 * Formats that are only read. Their nodes are read-only, so nothing is ever reserved or published: whoever tries all the same
 * gets EACCES. As in QEMU, block status looks at no table and takes all for data.
 */
import { type Co, EACCES, type Errno } from '../../../co'
import { type BlockStatus, statusOf } from '../../driver'
import { StatusFlag } from '../../flags'
import { ClusterDriver, type Place, placeError } from './driver'

export abstract class ReadOnlyClusterDriver extends ClusterDriver {
  protected *reserve(_cluster: number): Co<Place> {
    return placeError(EACCES)
  }
  protected *publish(_cluster: number, _offsetBytes: number): Co<Errno> {
    return EACCES
  }
  override *blockStatus(_mode: unknown, _offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    return statusOf(StatusFlag.Allocated | StatusFlag.Data, lengthBytes)
  }
}
