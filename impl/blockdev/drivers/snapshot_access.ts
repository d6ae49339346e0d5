/** `snapshot-access`: shows the state that a copy-before-write filter keeps. */
import { SnapshotAccessDriver } from '../../block/drivers/snapshot_access'
import type { Co } from '../../co'
import type { BlockdevDriver, Opened, Opening } from '../driver'

export const SNAPSHOT_ACCESS: BlockdevDriver = {
  name: 'snapshot-access',
  protocol: null,
  isFilter: true,
  strongOptions: [],
  *open(opening: Opening): Co<Opened> {
    const file = yield* opening.child({ name: 'file', role: 'image', isProbed: true })
    return { driver: new SnapshotAccessDriver(), children: [{ name: 'file', role: 'image', node: file }] }
  },
}
