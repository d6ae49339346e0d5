/**
 * blockdev-create: writes what an empty image is into nodes that are there or are described.
 *
 * What may fail: everything, as BlockError with QEMU's texts.
 */
import { BlockError, type BlockNode, type PreallocationMode } from '../block'
import { createFile } from '../block/drivers/file'
import { createQcow2 } from '../block/drivers/qcow2'
import type { Co } from '../co'
import type { JsonObject } from '../json'
import { releaseNode } from './close'
import type { BlockdevContext } from './context'
import { openImage } from './open'
import { Options } from './options'

/** blockdev-create of a file, or of a qcow2 image in a node that is there. `tree` is a checked BlockdevCreateOptions. */
export function* createBlockdev(context: BlockdevContext, tree: JsonObject): Co<void> {
  const options = Options.ofJson(tree)
  if (options.takeString('driver') === 'file') {
    const filename = options.takeString('filename') ?? ''
    const preallocation = (options.takeString('preallocation') ?? 'off') as PreallocationMode
    yield* createFile(context.graph.kernel, context.files, { filename, sizeBytes: options.takeSize('size') ?? 0, preallocation })
    return
  }
  const opened: BlockNode[] = []
  try {
    const file = yield* openDescribed(context, options, 'file')
    opened.push(file)
    const hasDataFile = options.has('data-file') || options.hasBelow('data-file.')
    const dataFile = hasDataFile ? yield* openDescribed(context, options, 'data-file') : null
    if (dataFile !== null) opened.push(dataFile)
    if (options.hasBelow('encrypt.')) throw new BlockError('Encryption of qcow2 images is not supported')
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
      dataFileName: dataFile === null ? undefined : context.graph.filenameOf(dataFile),
    }
    for (const [name, value] of Object.entries(given)) if (value === undefined) delete given[name]
    yield* createQcow2(file, { sizeBytes: options.takeSize('size') ?? 0, ...given })
  } finally {
    for (const node of opened.reverse()) yield* releaseNode(context, node)
  }
}

function openDescribed(context: BlockdevContext, options: Options, name: string): Co<BlockNode> {
  const reference = options.takeString(name) ?? null
  return openImage(context, { reference, options: options.takeBelow(`${name}.`) })
}
