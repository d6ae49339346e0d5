/** `file` and `host_device`: regular files and block devices of the host. */
import { BlockError } from '../../block'
import { createFile, openFile } from '../../block/drivers/file'
import type { Co } from '../../co'
import type { BlockdevContext } from '../context'
import type { CreateOption, CreateOptions } from '../create_options'
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

const CREATE_OPTIONS: readonly CreateOption[] = [
  { name: 'size', type: 'size', help: 'Virtual disk size' },
  { name: 'nocow', type: 'bool', help: 'Turn off copy-on-write (valid only on btrfs)' },
  { name: 'preallocation', type: 'string', help: 'Preallocation mode (allowed values: off, falloc, full)' },
  { name: 'extent_size_hint', type: 'size', help: 'Extent size hint for the image file, 0 to disable' },
]

export const FILE: BlockdevDriver = {
  ...entry('file'),
  createOptions: CREATE_OPTIONS,
  create: ({ context, filename, options }) => create(context, filename, options.size('size') ?? 0, options),
  createFile: create,
}
export const HOST_DEVICE: BlockdevDriver = { ...entry('host_device'), opensForCreation: true }

/** Creation by copying on write and hints for extents are matters of file systems that this host does not steer. */
function create({ graph, files }: BlockdevContext, name: string, sizeBytes: number, options: CreateOptions): Co<void> {
  const preallocation = options.string('preallocation') ?? 'off'
  const isKnown = preallocation === 'off' || preallocation === 'falloc' || preallocation === 'full'
  if (!isKnown && preallocation !== 'metadata') throw new BlockError(`invalid parameter value: ${preallocation}`)
  const filename = stripPrefix(name, 'file:')
  if (!isKnown) throw new BlockError(`Unsupported preallocation mode: ${preallocation}`)
  return createFile(graph.kernel, files, { filename, sizeBytes, preallocation, allocatesFirstBlock: true })
}

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
