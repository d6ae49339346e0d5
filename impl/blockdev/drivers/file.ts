/** `file` and `host_device`: regular files and block devices of the host. */
import { BlockError } from '../../block'
import { openFile } from '../../block/drivers/file'
import type { Co } from '../../co'
import type { BlockdevDriver, Opened, Opening } from '../driver'
import { isDevice } from '../driver'
import { stripPrefix } from '../filename'

const AIO = ['threads', 'native', 'io_uring'] as const
const LOCKING = ['auto', 'on', 'off'] as const
/** Accepted and without effect here: they tune what this implementation does in another way. */
const TUNING = ['pr-manager', 'aio-max-batch', 'x-check-cache-dropped', 'drop-cache'] as const

function entry(name: 'file' | 'host_device'): BlockdevDriver {
  return {
    name,
    protocol: name,
    isFilter: false,
    needsFilename: true,
    strongOptions: ['filename'],
    parseFilename(filename, options) {
      options.set('filename', stripPrefix(filename, `${name}:`))
    },
    open: (opening) => open(name, opening),
  }
}

export const FILE = entry('file')
export const HOST_DEVICE = entry('host_device')

function* open(name: 'file' | 'host_device', opening: Opening): Co<Opened> {
  const { context, options, nodeOptions } = opening
  const filename = options.takeString('filename') ?? ''
  const aio = options.takeChoice('aio', AIO) ?? 'threads'
  const locking = options.takeChoice('locking', LOCKING) ?? 'auto'
  for (const key of TUNING) options.takeString(key)
  const isBlockDevice = isDevice(context.files, filename)
  if (name === 'file' && isBlockDevice) throw new BlockError(`'file' driver requires '${filename}' to be a regular file`)
  const driver = yield* openFile(context.files, {
    filename,
    readOnly: nodeOptions.readOnly,
    direct: opening.direct,
    noFlush: opening.noFlush,
    autoReadOnly: opening.autoReadOnly,
    locking,
    // Both are threads of the host's pool or calls of the loop: the host knows what is faster for this file.
    ...(aio === 'threads' ? {} : { aio }),
    driverName: name,
  })
  if (name === 'host_device' && !driver.traits.isBlockDevice) {
    yield* driver.close()
    throw new BlockError(`'host_device' driver requires '${filename}' to be either a character or block device`)
  }
  if (driver.isReadOnly) nodeOptions.readOnly = true
  return { driver, children: [], abandon: () => driver.close() }
}
