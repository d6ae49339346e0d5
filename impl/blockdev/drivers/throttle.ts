/** `throttle`: holds requests back by the limits of a throttle group. */
import { BlockError } from '../../block'
import { ThrottleDriver } from '../../block/drivers/throttle'
import type { Co } from '../../co'
import type { BlockdevDriver, Opened, Opening } from '../driver'

export const THROTTLE: BlockdevDriver = {
  name: 'throttle',
  protocol: null,
  isFilter: true,
  strongOptions: ['throttle-group'],
  open,
}

function* open(opening: Opening): Co<Opened> {
  const { options, context } = opening
  const file = yield* opening.child({ name: 'file', role: 'filtered', isProbed: true })
  const name = options.takeString('throttle-group')
  if (name === undefined) throw new BlockError('Please specify a throttle group')
  const driver = new ThrottleDriver(context.throttleGroups.lookup(name))
  return { driver, children: [{ name: 'file', role: 'filtered', node: file }], abandon: () => driver.close() }
}
