/** `preallocate`: allocates a file ahead of writes. */
import { PreallocateDriver } from '../../block/drivers/preallocate'
import type { Co } from '../../co'
import type { BlockdevDriver, Opened, Opening } from '../driver'

export const PREALLOCATE: BlockdevDriver = { name: 'preallocate', protocol: null, isFilter: true, strongOptions: [], open }

function* open(opening: Opening): Co<Opened> {
  const { options } = opening
  const preallocAlign = options.takeSize('prealloc-align')
  const preallocSize = options.takeSize('prealloc-size')
  const driver = new PreallocateDriver({
    ...(preallocAlign === undefined ? {} : { preallocAlign }),
    ...(preallocSize === undefined ? {} : { preallocSize }),
  })
  const file = yield* opening.child({ name: 'file', role: 'filtered', isProbed: false })
  return { driver, children: [{ name: 'file', role: 'filtered', node: file }] }
}
