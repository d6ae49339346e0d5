/** `raw`: the file itself, or a window of it. */
import { RawDriver } from '../../block/drivers/raw'
import { assert, type Co } from '../../co'
import type { BlockdevDriver, Opened, Opening } from '../driver'

export const RAW: BlockdevDriver = {
  name: 'raw',
  protocol: null,
  isFilter: false,
  strongOptions: ['offset', 'size'],
  // What no format knows is raw, so it is never sure itself.
  probe: (head) => (head.length > 0 ? 1 : 0),
  open,
  createOptions: [{ name: 'size', type: 'size', help: 'Virtual disk size' }],
  create: (creating) => creating.makeFile(creating.filename, creating.options.size('size') ?? 0),
}

function* open(opening: Opening): Co<Opened> {
  const { options, filename, isProbed, nodeOptions, context } = opening
  const offsetBytes = options.takeSize('offset')
  const sizeBytes = options.takeSize('size')
  const file = yield* opening.child({ name: 'file', role: 'image', isProbed: false })
  const driver = new RawDriver(
    {
      ...(offsetBytes === undefined ? {} : { offsetBytes }),
      ...(sizeBytes === undefined ? {} : { sizeBytes }),
      ...(isProbed ? { mayBegin: context.isRaw } : {}),
    },
    file.lengthBytes,
  )
  if (isProbed && !nodeOptions.readOnly) {
    context.warn(
      `WARNING: Image format was not specified for '${filename ?? ''}' and probing guessed raw.\n` +
        '         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.\n' +
        "         Specify the 'raw' format explicitly to remove the restrictions.",
    )
  }
  assert(driver.offsetBytes >= 0, 'raw-offset')
  return { driver, children: [{ name: 'file', role: 'image', node: file }] }
}
