/** qemu-img measure: how long the file of an image will be. */
import { BlockError, type BlockNode, StatusFlag } from '../../../block'
import { measureQcow2, Qcow2Driver, type WantedSnapshot } from '../../../block/drivers/qcow2'
import { type BlockdevContext, type CreateOptions, findDriver, luksPayloadBytes, parseQemuOpts } from '../../../blockdev'
import { type Co, strerror } from '../../../co'
import { jsonObject, printJson } from '../../../json'
import type { Tool } from '../tool'
import {
  asksForHelp,
  checkOptionList,
  createOptionsOf,
  type ImgCommand,
  longOptions,
  type OutputFormat,
  outputFormat,
  parseOptions,
  printCreateHelp,
  sizeArgument,
} from './command'

const LONG = longOptions(
  'source-format=f:',
  'format=f:',
  'image-opts',
  'target-format=O:',
  'options=o:',
  'snapshot=l:',
  'output:',
  'size=s:',
  'force-share=U',
)

const MEASURABLE = new Set(['raw', 'qcow2', 'luks'])

interface Given {
  filename: string | null
  format: string | null
  isOptions: boolean
  forceShare: boolean
  targetFormat: string
  optionTexts: string[]
  snapshot: WantedSnapshot | null
  output: OutputFormat
  sizeBytes: number | null
}

interface Measured {
  requiredBytes: number
  fullyAllocatedBytes: number
  bitmapsBytes?: number
}

/** Bytes of whole clusters that hold data somewhere in the chain. */
function* dataBytesOf(node: BlockNode, clusterBytes: number): Co<number> {
  const endBytes = node.lengthBytes
  let dataBytes = 0
  let coveredBytes = 0
  for (let at = 0; at < endBytes; ) {
    const status = yield* node.blockStatusAbove(null, 'want-zero', at, endBytes - at)
    if (status.errno !== 0) throw new BlockError(`Unable to get block status: ${strerror(status.errno)}`)
    const isData = (status.flags & StatusFlag.Data) !== 0 && (status.flags & StatusFlag.Zero) === 0
    if (isData) {
      const startBytes = Math.max(coveredBytes, Math.floor(at / clusterBytes) * clusterBytes)
      coveredBytes = Math.ceil((at + status.bytes) / clusterBytes) * clusterBytes
      dataBytes += Math.max(0, coveredBytes - startBytes)
    }
    at += status.bytes
  }
  return dataBytes
}

function* measure(context: BlockdevContext, given: Given, options: CreateOptions, node: BlockNode | null): Co<Measured> {
  const sizeBytes = node?.lengthBytes ?? given.sizeBytes ?? 0
  if (given.targetFormat === 'raw') {
    const roundedBytes = Math.ceil(sizeBytes / 512) * 512
    return { requiredBytes: roundedBytes, fullyAllocatedBytes: roundedBytes }
  }
  if (given.targetFormat === 'luks') {
    const bytes = luksPayloadBytes(context, options, '') + sizeBytes
    return { requiredBytes: bytes, fullyAllocatedBytes: bytes }
  }
  const hasLuks = options.string('encrypt.format') === 'luks'
  const cryptoHeaderBytes = hasLuks ? luksPayloadBytes(context, options, 'encrypt.') : 0
  const clusterBytes = options.size('cluster_size') ?? 65536
  const isPreallocated = (options.string('preallocation') ?? 'off') !== 'off'
  const roundedBytes = Math.ceil(sizeBytes / clusterBytes) * clusterBytes
  const hasBacking = options.has('backing_file')
  const dataBytes =
    isPreallocated || hasBacking || node === null
      ? isPreallocated || (hasBacking && node !== null)
        ? roundedBytes
        : 0
      : yield* dataBytesOf(node, clusterBytes)
  const measured = measureQcow2(
    {
      sizeBytes: roundedBytes,
      clusterBytes,
      refcountBits: options.number('refcount_bits') ?? 16,
      extendedL2: options.flag('extended_l2') ?? false,
      cryptoHeaderBytes,
    },
    Math.min(dataBytes, roundedBytes),
  )
  const hasBitmaps = node !== null && node.driver.name === 'qcow2' && options.string('compat') !== '0.10'
  return { ...measured, ...(hasBitmaps ? { bitmapsBytes: bitmapBytes(node, clusterBytes) } : {}) }
}

/** What copies of the persistent bitmaps need beside everything else. */
function bitmapBytes(node: BlockNode, clusterBytes: number): number {
  let clusters = 0
  let directoryBytes = 0
  for (const bitmap of node.namedBitmaps.values()) {
    if (!bitmap.isPersistent || bitmap.isInconsistent) continue
    const { granularityBytes, lengthBytes } = bitmap.bits
    const dataClusters = Math.ceil(Math.ceil(Math.ceil(lengthBytes / granularityBytes) / 8) / clusterBytes)
    clusters += dataClusters + Math.ceil((dataClusters * 8) / clusterBytes)
    directoryBytes += Math.ceil((24 + Buffer.byteLength(bitmap.name)) / 8) * 8
  }
  return (clusters + Math.ceil(directoryBytes / clusterBytes)) * clusterBytes
}

function parse(tool: Tool, args: readonly string[]): Given {
  const given: Given = {
    ...{ filename: null, format: null, isOptions: false, forceShare: false, targetFormat: 'raw' },
    ...{ optionTexts: [], snapshot: null, output: 'human', sizeBytes: null },
  }
  let hasObject = false
  const operands = parseOptions(tool, MEASURE, args, 'f:l:o:O:s:U', LONG, (key, value) => {
    if (key === 'f') given.format = value
    if (key === 'U') given.forceShare = true
    if (key === 'O') given.targetFormat = value
    if (key === 'image-opts') given.isOptions = true
    if (key === 'output') given.output = outputFormat(tool, 'measure', value)
    if (key === 's') given.sizeBytes = sizeArgument(tool, 'image size', value)
    if (key === 'l') given.snapshot = checkSnapshot(tool, value)
    if (key !== 'o') return
    checkOptionList(tool, value)
    given.optionTexts.push(value)
  })
  hasObject = given.isOptions || given.format !== null || given.snapshot !== null
  if (operands.length > 1) tool.fail('At most one filename argument is allowed.')
  given.filename = operands[0] ?? null
  if (given.filename === null && hasObject) tool.fail('--image-opts, -f, and -l require a filename argument.')
  if (given.filename === null && given.sizeBytes === null && !asksForHelp(given.optionTexts)) {
    tool.fail('Either --size N or one filename must be specified.')
  }
  if (given.filename !== null && given.sizeBytes !== null) tool.fail('--size N cannot be used together with a filename.')
  return given
}

/** `-l`: a name, or `snapshot.id=…,snapshot.name=…`. Throws ToolExit. */
export function checkSnapshot(tool: Tool, text: string): WantedSnapshot {
  if (!text.startsWith('snapshot.')) return text
  const { options } = parseQemuOpts(text)
  const wanted: { id?: string; name?: string } = {}
  for (const [key, value] of options.entries()) {
    if (key === 'snapshot.id') wanted.id = String(value)
    else if (key === 'snapshot.name') wanted.name = String(value)
    else {
      tool.complain(`Invalid parameter '${key}'`)
      tool.fail(`Failed in parsing snapshot param '${text}'`)
    }
  }
  return wanted
}

/** Has an image that is open for reading show a snapshot. Throws ToolExit. */
export function* loadSnapshot(tool: Tool, node: BlockNode, wanted: WantedSnapshot): Co<void> {
  const { driver } = node
  if (!(driver instanceof Qcow2Driver)) {
    const feature = 'does not support temporarily loading internal snapshots'
    return tool.fail(`Failed to load snapshot: Block format '${driver.name}' used by device '' ${feature}`)
  }
  try {
    yield* driver.showSnapshot(wanted)
  } catch (error) {
    if (error instanceof BlockError) return tool.fail(`Failed to load snapshot: ${error.message}`)
    throw error
  }
}

function* run(tool: Tool, args: readonly string[]): Co<number> {
  const given = parse(tool, args)
  const { targetFormat, optionTexts, filename } = given
  const driver = findDriver(targetFormat)
  if (driver === null) return tool.fail(`Unknown file format '${targetFormat}'`)
  if (driver.createOptions === undefined) return tool.fail(`Format driver '${targetFormat}' does not support image creation`)
  if (asksForHelp(optionTexts)) return printCreateHelp(tool, targetFormat, filename)
  if (!MEASURABLE.has(targetFormat)) return tool.fail(`Block driver '${targetFormat}' does not support size measurement`)
  let options: CreateOptions
  try {
    options = createOptionsOf(tool, targetFormat, 'measured', optionTexts)
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
    tool.complainOf(error)
    return tool.fail(`Invalid options for file format '${targetFormat}'`)
  }
  const { format, isOptions, forceShare } = given
  const image = filename === null ? null : yield* tool.demandImage({ filename, format, isOptions, forceShare })
  if (given.snapshot !== null && image !== null) yield* loadSnapshot(tool, image.node, given.snapshot)
  const measured = yield* measure(tool.context, given, options, image?.node ?? null)
  if (given.output === 'json') {
    const object = jsonObject({
      required: measured.requiredBytes,
      'fully-allocated': measured.fullyAllocatedBytes,
      bitmaps: measured.bitmapsBytes,
    })
    tool.print(`${printJson(object, true)}\n`)
  } else {
    tool.print(`required size: ${measured.requiredBytes}\nfully allocated size: ${measured.fullyAllocatedBytes}\n`)
    if (measured.bitmapsBytes !== undefined) tool.print(`bitmaps size: ${measured.bitmapsBytes}\n`)
  }
  if (image !== null) yield* tool.close(image)
  return 0
}

export const MEASURE: ImgCommand = {
  name: 'measure',
  summary: 'Says how much room an image will need.',
  usage:
    '[-f FMT | --image-opts] [-l SNAPSHOT] [-O TARGET_FMT] [-o TARGET_OPTS]\n        [--output human|json] [--object OBJDEF] (--size SIZE | FILE)',
  run,
}
