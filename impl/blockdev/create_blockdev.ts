/**
 * blockdev-create: writes what an empty image is into nodes that are there or are described.
 *
 * What may fail: everything, as BlockError with QEMU's texts.
 */
import type { BlockNode, PreallocationMode } from '../block'
import { createFile } from '../block/drivers/file'
import { createLuks } from '../block/drivers/luks'
import { createQcow2, type EncryptionWanted } from '../block/drivers/qcow2'
import type { Co } from '../co'
import type { JsonObject } from '../json'
import { releaseNode } from './close'
import type { BlockdevContext } from './context'
import { CreateOptions } from './create_options'
import { luksCreateOptions, luksOptionsOf, passwordOf } from './drivers/luks'
import { openImage } from './open'
import { Options } from './options'

/** blockdev-create of a file, or of an image in a node that is there. `tree` is a checked BlockdevCreateOptions. */
export function* createBlockdev(context: BlockdevContext, tree: JsonObject): Co<void> {
  const options = Options.ofJson(tree)
  const driver = options.takeString('driver')
  if (driver === 'file') {
    const filename = options.takeString('filename') ?? ''
    const preallocation = (options.takeString('preallocation') ?? 'off') as PreallocationMode
    yield* createFile(context.graph.kernel, context.files, { filename, sizeBytes: options.takeSize('size') ?? 0, preallocation })
    return
  }
  const opened: BlockNode[] = []
  try {
    const file = yield* openDescribed(context, options, 'file')
    opened.push(file)
    if (driver === 'luks') {
      yield* createLuksIn(context, file, options)
      return
    }
    const hasDataFile = options.has('data-file') || options.hasBelow('data-file.')
    const dataFile = hasDataFile ? yield* openDescribed(context, options, 'data-file') : null
    if (dataFile !== null) opened.push(dataFile)
    const encryption = takeEncryption(context, options)
    const given: Record<string, unknown> = {
      version: options.takeString('version') === 'v2' ? 2 : 3,
      clusterBytes: options.takeSize('cluster-size'),
      refcountBits: options.takeNumber('refcount-bits'),
      lazyRefcounts: options.takeFlag('lazy-refcounts'),
      extendedL2: options.takeFlag('extended-l2'),
      compressionType: options.takeString('compression-type'),
      preallocation: options.takeString('preallocation'),
      backingName: options.takeString('backing-file'),
      backingFormat: options.takeString('backing-fmt'),
      dataFileRaw: options.takeFlag('data-file-raw'),
      dataFile: dataFile ?? undefined,
      encryption: encryption ?? undefined,
      dataFileName: dataFile === null ? undefined : context.graph.filenameOf(dataFile),
    }
    for (const [name, value] of Object.entries(given)) if (value === undefined) delete given[name]
    yield* createQcow2(file, { sizeBytes: options.takeSize('size') ?? 0, ...given })
  } finally {
    for (const node of opened.reverse()) yield* releaseNode(context, node)
  }
}

/** What is said under these names, in the form in which command lines say it. */
function takeLuks(options: Options, prefix: string): CreateOptions {
  const known = [...luksCreateOptions(''), { name: 'key-secret', type: 'string', help: '' } as const]
  const taken = new CreateOptions(known)
  for (const { name, type } of known) {
    const value = type === 'number' ? options.takeNumber(`${prefix}${name}`) : options.takeString(`${prefix}${name}`)
    if (value !== undefined) taken.set(name, String(value))
  }
  return taken
}

function* createLuksIn(context: BlockdevContext, file: BlockNode, options: Options): Co<void> {
  const asked = options.takeString('preallocation') ?? 'off'
  const preallocation = (asked === 'metadata' ? 'off' : asked) as PreallocationMode
  const taken = takeLuks(options, '')
  const wanted = { ...luksOptionsOf(taken, ''), sizeBytes: options.takeSize('size') ?? 0, preallocation }
  const password = passwordOf(context, taken.string('key-secret'), 'key-secret')
  yield* createLuks(file, context.demandCryptography('LUKS'), wanted, password)
}

function takeEncryption(context: BlockdevContext, options: Options): EncryptionWanted | null {
  const format = options.takeString('encrypt.format')
  if (format === undefined) return null
  const taken = takeLuks(options, 'encrypt.')
  const luks = format === 'luks' ? luksOptionsOf(taken, '') : null
  const password = passwordOf(context, taken.string('key-secret'), 'encrypt.key-secret')
  const cryptography = context.demandCryptography('qcow2')
  return luks === null ? { format: 'aes', cryptography, password } : { format: 'luks', luks, cryptography, password }
}

function openDescribed(context: BlockdevContext, options: Options, name: string): Co<BlockNode> {
  const reference = options.takeString(name) ?? null
  return openImage(context, { reference, options: options.takeBelow(`${name}.`) })
}
