/** `vmdk`: the images of VMware, in one file or several. */
import { BlockError } from '../../block'
import { writeHead } from '../../block/drivers/clusters/head'
import { descriptorText, type ExtentLine, NO_PARENT, newSparse, openVmdk, probeVmdk, VmdkDriver } from '../../block/drivers/vmdk'
import { assert, type Co } from '../../co'
import { backingNameOf } from '../backing'
import type { CreateOptions } from '../create_options'
import type { BlockdevDriver, Creating, Opened, OpenedChild, Opening } from '../driver'
import { combinePaths } from '../filename'
import { imageIdentity } from '../image_identity'

const SECTOR_BYTES = 512
const SPLIT_BYTES = 2 ** 31
const EXTENTS_MAX = 4096
const ADAPTERS: readonly string[] = ['ide', 'buslogic', 'lsilogic', 'legacyESX']
const SUBFORMATS: readonly string[] = [
  'monolithicFlat',
  'monolithicSparse',
  'twoGbMaxExtentSparse',
  'twoGbMaxExtentFlat',
  'streamOptimized',
]

export const VMDK: BlockdevDriver = {
  name: 'vmdk',
  protocol: null,
  isFilter: false,
  supportsBacking: true,
  strongOptions: [],
  probe: (head) => (probeVmdk(head) ? 100 : 0),
  open,
  canCompress: true,
  createOptions: [
    { name: 'size', type: 'size', help: 'Virtual disk size' },
    {
      name: 'adapter_type',
      type: 'string',
      help: 'Virtual adapter type, can be one of ide (default), lsilogic, buslogic or legacyESX',
    },
    { name: 'backing_file', type: 'string', help: 'File name of a base image' },
    { name: 'backing_fmt', type: 'string', help: "Must be 'vmdk' if present" },
    { name: 'compat6', type: 'bool', help: 'VMDK version 6 image', defaultText: 'off' },
    { name: 'hwversion', type: 'string', help: 'VMDK hardware version', defaultText: 'undefined' },
    { name: 'toolsversion', type: 'string', help: 'VMware guest tools version' },
    {
      name: 'subformat',
      type: 'string',
      help:
        'VMDK flat extent format, can be one of ' +
        '{monolithicSparse (default) | monolithicFlat | twoGbMaxExtentSparse | twoGbMaxExtentFlat | streamOptimized} ',
    },
    { name: 'zeroed_grain', type: 'bool', help: 'Enable efficient zero writes using the zeroed-grain GTE feature' },
  ],
  create,
}

function* open(opening: Opening): Co<Opened> {
  const { context, nodeOptions } = opening
  const file = yield* opening.child({ name: 'file', role: 'image', isProbed: false })
  const children: OpenedChild[] = [{ name: 'file', role: 'image', node: file }]
  const driver = yield* openVmdk(file, {
    isWritable: !nodeOptions.readOnly,
    codec: context.codecs.zlib,
    *openExtent(name, filename) {
      const node = yield* opening.child({
        name,
        role: 'image',
        isProbed: false,
        filename: backingNameOf(context, file, filename),
      })
      children.push({ name, role: 'image', node })
      return node
    },
  })
  const { parentFilename } = driver.descriptor
  return { driver, children, backing: parentFilename === null ? null : { name: parentFilename, format: 'vmdk' } }
}

interface Given {
  lengthBytes: number
  subformat: string
  isFlat: boolean
  isSplit: boolean
  hasZeroedGrains: boolean
  adapterType: string
  hardwareVersion: string
  toolsVersion: string
  backingName: string | null
}

/** Throws BlockError with QEMU's texts. */
function takeOptions(options: CreateOptions): Given {
  const subformat = options.string('subformat') ?? 'monolithicSparse'
  const adapterType = options.string('adapter_type') ?? 'ide'
  const backingName = options.string('backing_file') ?? null
  const version = options.string('hwversion') ?? 'undefined'
  const isVersion6 = options.flag('compat6') ?? false
  const hasZeroedGrains = options.flag('zeroed_grain') ?? false
  if (isVersion6 && version !== 'undefined') throw new BlockError('compat6 cannot be enabled with hwversion set')
  if (!ADAPTERS.includes(adapterType)) throw new BlockError(`invalid parameter value: ${adapterType}`)
  if (!SUBFORMATS.includes(subformat)) throw new BlockError(`invalid parameter value: ${subformat}`)
  const isFlat = subformat.endsWith('Flat')
  if (isFlat && backingName !== null) throw new BlockError("Flat image can't have backing file")
  if (isFlat && hasZeroedGrains) throw new BlockError("Flat image can't enable zeroed grain")
  return {
    lengthBytes: Math.ceil((options.size('size') ?? 0) / SECTOR_BYTES) * SECTOR_BYTES,
    ...{ subformat, isFlat, hasZeroedGrains, adapterType, backingName },
    isSplit: subformat.startsWith('twoGb'),
    hardwareVersion: version !== 'undefined' ? version : isVersion6 ? '6' : '4',
    toolsVersion: options.string('toolsversion') ?? '2147483647',
  }
}

function* create(creating: Creating): Co<void> {
  const { context, filename, options, makeFile, openFile } = creating
  const given = takeOptions(options)
  const parentCid = yield* parentIdentity(creating, given.backingName)
  const extents = extentsOf(filename, given)
  const text = descriptorText({
    ...given,
    cid: new DataView(imageIdentity(context.graph.kernel.nowNs(), filename, 'image', 4).buffer).getUint32(0),
    parentCid,
    createType: given.subformat,
    parentFilename: given.backingName,
    extents,
  })
  const description = Buffer.from(text)
  for (const extent of extents) {
    const isAlone = !given.isFlat && !given.isSplit
    const name = isAlone ? filename : combinePaths(filename, extent.filename)
    if (given.isFlat) {
      yield* makeFile(name, extent.lengthBytes)
      continue
    }
    const isCompressed = given.subformat === 'streamOptimized'
    const { pieces, descriptorAt, fileBytes } = newSparse({ ...given, lengthBytes: extent.lengthBytes, isCompressed })
    yield* makeFile(name, 0)
    yield* writeHead(yield* openFile(name), fileBytes, isAlone ? [...pieces, [descriptorAt, description]] : pieces)
    if (isAlone) return
  }
  yield* makeFile(filename, 0)
  yield* writeHead(yield* openFile(filename), description.length, [[0, description]])
}

/** The identity of the image below, which must be of this format. Throws BlockError. */
function* parentIdentity({ openBelow }: Creating, backingName: string | null): Co<number> {
  if (backingName === null) return NO_PARENT
  const { driver } = yield* openBelow(backingName)
  if (!(driver instanceof VmdkDriver)) throw new BlockError('backing_file must be a vmdk image')
  return driver.descriptor.cid
}

function extentsOf(filename: string, { lengthBytes, isFlat, isSplit }: Given): ExtentLine[] {
  const slash = filename.lastIndexOf('/')
  const base = filename.slice(slash + 1).replace(/^[a-z]+:/, '')
  const type = isFlat ? 'FLAT' : 'SPARSE'
  if (!isFlat && !isSplit) return [{ type, lengthBytes, filename: base, offsetBytes: 0 }]
  const dot = base.lastIndexOf('.')
  const [stem, ending] = dot === -1 ? [base, ''] : [base.slice(0, dot), base.slice(dot)]
  if (!isSplit) return [{ type, lengthBytes, filename: `${stem}-flat${ending}`, offsetBytes: 0 }]
  const count = Math.max(1, Math.ceil(lengthBytes / SPLIT_BYTES))
  if (count > EXTENTS_MAX) throw new BlockError(`A disk of ${lengthBytes} bytes takes more than ${EXTENTS_MAX} extents`)
  const extents: ExtentLine[] = []
  for (let index = 0; index < count; index++) {
    const bytes = Math.min(SPLIT_BYTES, lengthBytes - index * SPLIT_BYTES)
    const name = `${stem}-${isFlat ? 'f' : 's'}${String(index + 1).padStart(3, '0')}${ending}`
    extents.push({ type, lengthBytes: bytes, filename: name, offsetBytes: 0 })
  }
  assert(extents.length === count, 'vmdk-extents-made')
  return extents
}
