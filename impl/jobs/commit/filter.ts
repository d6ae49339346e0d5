/**
 * The filter that a commit puts above its top layer. It takes nothing of what is below, so that the layers there may show
 * what is half written, and reads as they do.
 */

import { Permission } from '../../block'
import { FilterDriver } from '../../block/drivers/filter'
import type { Co, Errno } from '../../co'
import { EROFS } from '../../co'

export class CommitFilter extends FilterDriver {
  readonly name = 'commit_top'

  override childPermissions(): { permission: number; shared: number } {
    return { permission: Permission.None, shared: Permission.All }
  }

  // Nobody writes above a commit: whoever may is the reason for an active one.
  override *pwrite(): Co<Errno> {
    return EROFS
  }
  override *pwriteZeroes(): Co<Errno> {
    return EROFS
  }
  override *pdiscard(): Co<Errno> {
    return EROFS
  }
}
