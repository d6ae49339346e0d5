/** `blklogwrites`: writes a log of all changes. */
import { LogWritesDriver } from '../../block/drivers/blklogwrites'
import type { Co } from '../../co'
import type { BlockdevDriver, Opened, Opening } from '../driver'

export const BLKLOGWRITES: BlockdevDriver = {
  name: 'blklogwrites',
  protocol: null,
  isFilter: true,
  strongOptions: [],
  open,
}

function* open(opening: Opening): Co<Opened> {
  const { options } = opening
  const append = options.takeFlag('log-append') ?? false
  const sectorBytes = options.takeSize('log-sector-size')
  const superUpdateInterval = options.takeNumber('log-super-update-interval')
  const driver = new LogWritesDriver({
    append,
    ...(sectorBytes === undefined ? {} : { sectorBytes }),
    ...(superUpdateInterval === undefined ? {} : { superUpdateInterval }),
  })
  const file = yield* opening.child({ name: 'file', role: 'filtered', isProbed: false })
  const log = yield* opening.child({ name: 'log', role: 'image', isProbed: false })
  return {
    driver,
    children: [
      { name: 'file', role: 'filtered', node: file },
      { name: 'log', role: 'image', node: log },
    ],
    start: () => driver.start(),
  }
}
