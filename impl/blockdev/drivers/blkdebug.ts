/** `blkdebug`: fails, stops and misaligns requests on demand. */
import { Permission } from '../../block'
import { BlkdebugDriver, type BlkdebugOptions, parseBlkdebugFilename } from '../../block/drivers/blkdebug'
import { rulesOfOptions, rulesOfText } from '../../block/drivers/blkdebug_rules'
import { BlockError } from '../../block/error'
import { assert, type Co, OK, strerror } from '../../co'
import type { BlockdevDriver, Opened, Opening } from '../driver'
import type { Options } from '../options'

const CONFIG_BYTES_MAX = 1 << 20
const PERMISSIONS: Readonly<Record<string, number>> = {
  'consistent-read': Permission.ConsistentRead,
  write: Permission.Write,
  'write-unchanged': Permission.WriteUnchanged,
  resize: Permission.Resize,
}

export const BLKDEBUG: BlockdevDriver = {
  name: 'blkdebug',
  protocol: 'blkdebug',
  isFilter: true,
  strongOptions: [
    'config',
    'inject-error.',
    'set-state.',
    'align',
    'max-transfer',
    'opt-write-zero',
    'max-write-zero',
    'opt-discard',
    'max-discard',
  ],
  parseFilename(filename, options) {
    if (!filename.startsWith('blkdebug:')) {
      options.set('x-image', filename)
      return
    }
    const { config, image } = parseBlkdebugFilename(filename)
    if (config !== null) options.set('config', config)
    options.set('x-image', image)
  },
  open,
}

function* open(opening: Opening): Co<Opened> {
  const { options, context } = opening
  options.takeString('filename')
  const config = options.takeString('config')
  const rules = config === undefined ? [] : rulesOfText(yield* readText(opening, config))
  const injects = options.takeList('inject-error').map(recordOf)
  const states = options.takeList('set-state').map(recordOf)
  const given: BlkdebugOptions = {
    rules: [...rules, ...rulesOfOptions({ 'inject-error': injects, 'set-state': states })],
    align: options.takeSize('align') ?? 0,
    maxTransfer: options.takeSize('max-transfer') ?? 0,
    optWriteZero: options.takeSize('opt-write-zero') ?? 0,
    maxWriteZero: options.takeSize('max-write-zero') ?? 0,
    optDiscard: options.takeSize('opt-discard') ?? 0,
    maxDiscard: options.takeSize('max-discard') ?? 0,
    takeChildPermissions: takePermissions(options, 'take-child-perms'),
    unshareChildPermissions: takePermissions(options, 'unshare-child-perms'),
  }
  const filename = options.takeString('x-image')
  const image = yield* opening.child({
    name: 'image',
    role: 'filtered',
    isProbed: false,
    ...(filename === undefined ? {} : { filename }),
  })
  return { driver: new BlkdebugDriver(given, context.say), children: [{ name: 'image', role: 'filtered', node: image }] }
}

function recordOf(options: Options): Record<string, unknown> {
  return Object.fromEntries(options.entries())
}

function takePermissions(options: Options, name: string): number {
  let permissions = 0
  for (const item of options.takeList(name)) {
    const text = item.takeString('') ?? ''
    const permission = Object.hasOwn(PERMISSIONS, text) ? PERMISSIONS[text]! : null
    if (permission === null) throw new BlockError(`Invalid parameter '${text}'`)
    permissions |= permission
  }
  assert((permissions & ~Permission.All) === 0, 'blkdebug-permissions')
  return permissions
}

/** A configuration file. Throws BlockError. */
function* readText({ context }: Opening, path: string): Co<string> {
  let file: Awaited<ReturnType<typeof context.files.open> extends Generator<undefined, infer F, undefined> ? F : never>
  try {
    file = yield* context.files.open(path, { readOnly: true, direct: false })
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
    throw new BlockError(`Could not read blkdebug config file: ${strerror(error.errno)}`, { errno: error.errno })
  }
  const { lengthBytes } = file.traits()
  const bytes = new Uint8Array(Math.min(lengthBytes, CONFIG_BYTES_MAX))
  const errno = yield* file.pread(0, bytes)
  yield* file.close()
  if (errno !== OK) throw new BlockError(`Could not read blkdebug config file: ${strerror(errno)}`, { errno })
  return new TextDecoder().decode(bytes)
}
