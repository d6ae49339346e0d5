/** `compress`: stores what is written compressed. */
import { CompressDriver } from '../../block/drivers/compress'
import type { Co } from '../../co'
import type { BlockdevDriver, Opened, Opening } from '../driver'

export const COMPRESS: BlockdevDriver = { name: 'compress', protocol: null, isFilter: true, strongOptions: [], open }

function* open(opening: Opening): Co<Opened> {
  const file = yield* opening.child({ name: 'file', role: 'filtered', isProbed: true })
  return { driver: new CompressDriver(), children: [{ name: 'file', role: 'filtered', node: file }] }
}
