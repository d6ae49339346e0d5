/** qemu-img bitmap: changes of persistent bitmaps, in the order in which they are given. */
import { BlockError, type BlockNode } from '../../../block'
import { addBitmap, clearBitmap, enableBitmap, mergeBitmaps, removeBitmap } from '../../../block/named_bitmap'
import type { Co } from '../../../co'
import type { OpenImage, Tool } from '../tool'
import { type ImgCommand, longOptions, parseOptions, sizeArgument } from './command'

const LONG = longOptions(
  'format=f:',
  'image-opts',
  'add',
  'remove',
  'clear',
  'enable',
  'disable',
  'merge:',
  'granularity=g:',
  'source-file=b:',
  'source-format=F:',
)
const VERBS = new Set(['add', 'remove', 'clear', 'enable', 'disable', 'merge'])

interface Action {
  verb: string
  source: string
}

interface Given {
  node: BlockNode
  name: string
  granularityBytes: number
  sourceNode: BlockNode
}

function* perform({ verb, source }: Action, { node, name, granularityBytes, sourceNode }: Given): Co<void> {
  if (verb === 'add') {
    const granularity = granularityBytes === 0 ? {} : { granularityBytes }
    yield* addBitmap(node, { name, persistent: true, ...granularity })
  }
  if (verb === 'remove') yield* removeBitmap(node, name)
  if (verb === 'clear') clearBitmap(node, name)
  if (verb === 'enable' || verb === 'disable') enableBitmap(node, name, verb === 'enable')
  if (verb === 'merge') mergeBitmaps(node, name, [{ node: sourceNode, name: source }])
}

function* run(tool: Tool, args: readonly string[]): Co<number> {
  let format: string | null = null
  let isOptions = false
  let granularityBytes = 0
  let sourceFilename: string | null = null
  let sourceFormat: string | null = null
  const actions: Action[] = []
  const operands = parseOptions(tool, BITMAP, args, 'b:f:F:g:', LONG, (key, value) => {
    if (key === 'f') format = value
    if (key === 'b') sourceFilename = value
    if (key === 'F') sourceFormat = value
    if (key === 'image-opts') isOptions = true
    if (key === 'g') granularityBytes = sizeArgument(tool, 'granularity', value, 1n)
    if (VERBS.has(key)) actions.push({ verb: key, source: value })
  })
  if (operands.length !== 2) tool.fail('Expecting filename and bitmap name')
  if (actions.length === 0) {
    tool.fail('Need at least one of --add, --remove, --clear, --enable, --disable, or --merge')
  }
  const has = (verb: string): boolean => actions.some((action) => action.verb === verb)
  if (granularityBytes > 0 && !has('add')) tool.fail('granularity only supported with --add')
  if (sourceFormat !== null && sourceFilename === null) tool.fail('-F only supported with -b')
  if (sourceFilename !== null && !has('merge')) tool.fail('Merge bitmap source file only supported with --merge')
  const image = yield* tool.demandImage({ filename: operands[0]!, format, isOptions, isWritable: true })
  const name = operands[1]!
  let source: OpenImage | null = null
  if (sourceFilename !== null) source = yield* tool.demandImage({ filename: sourceFilename, format: sourceFormat })
  const given = { node: image.node, name, granularityBytes, sourceNode: source?.node ?? image.node }
  let code = 0
  for (const action of actions) {
    try {
      yield* perform(action, given)
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
      tool.complainOf(error, `Operation ${action.verb} on bitmap ${name} failed: `)
      code = 1
      break
    }
  }
  if (source !== null) yield* tool.close(source)
  return yield* tool.closeWith(image, code)
}

export const BITMAP: ImgCommand = {
  name: 'bitmap',
  summary: 'Changes persistent bitmaps of an image.',
  usage:
    '[-f FMT | --image-opts] [--add [-g SIZE] | --remove | --clear | --enable | --disable |\n' +
    '        --merge SOURCE [-b SRC_FILE [-F SRC_FMT]]].. [--object OBJDEF] FILE BITMAP',
  run,
}
