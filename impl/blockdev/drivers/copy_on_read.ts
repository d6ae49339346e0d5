/** `copy-on-read`: copies what is read out of the images below. */
import { CopyOnReadDriver, findBottom } from '../../block/drivers/copy_on_read'
import type { Co } from '../../co'
import type { BlockdevDriver, Opened, Opening } from '../driver'

export const COPY_ON_READ: BlockdevDriver = {
  name: 'copy-on-read',
  protocol: null,
  isFilter: true,
  strongOptions: [],
  open,
}

function* open(opening: Opening): Co<Opened> {
  const bottomName = opening.options.takeString('bottom')
  const file = yield* opening.child({ name: 'file', role: 'filtered', isProbed: true })
  const bottom = bottomName === undefined ? null : findBottom(file, bottomName)
  return { driver: new CopyOnReadDriver(bottom), children: [{ name: 'file', role: 'filtered', node: file }] }
}
