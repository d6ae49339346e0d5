/** qemu-img info. */
import { BlockError } from '../../../block'
import type { Co } from '../../../co'
import { type JsonObject, printJson } from '../../../json'
import { humanInfo, imageInfo } from '../image_info'
import type { OpenImage, Tool } from '../tool'
import { type ImgCommand, longOptions, type OutputFormat, outputFormat, parseOptions, usageError } from './command'

const LONG = longOptions('format=f:', 'image-opts', 'backing-chain', 'force-share=U', 'output:', 'limits')
const CHAIN_MAX = 1024

interface Given {
  filename: string
  format: string | null
  isOptions: boolean
  forceShare: boolean
  isChain: boolean
}

/** What is to be told about one image: the object, and the text for people. */
interface Told {
  info: JsonObject
  text: string
}

/** Opens, looks and closes each image of the chain by itself. */
function* collect(tool: Tool, given: Given): Co<Told[]> {
  const told: Told[] = []
  const seen = new Set<string>()
  let filename: string | null = given.filename
  let format = given.format
  let isOptions = given.isOptions
  for (let depth = 0; filename !== null && depth < CHAIN_MAX; depth++) {
    if (seen.has(filename)) tool.fail(`Backing file '${filename}' creates an infinite loop.`)
    seen.add(filename)
    const image: OpenImage = yield* tool.demandImage({
      ...{ filename, format, isOptions, forceShare: given.forceShare, noBacking: true, isForInfo: true },
    })
    const info = imageInfo(tool.context, image.node)
    told.push({ info, text: humanInfo(info, image.node) })
    yield* tool.close(image)
    const next: unknown = info.get('full-backing-filename')
    const nextFormat = info.get('backing-filename-format')
    isOptions = false
    format = typeof nextFormat === 'string' ? nextFormat : null
    if (!given.isChain) filename = null
    else if (info.has('backing-filename') && typeof next !== 'string') {
      throw new BlockError(`Could not determine the backing file name for '${filename}'`)
    } else filename = typeof next === 'string' ? next : null
  }
  return told
}

function* run(tool: Tool, args: readonly string[]): Co<number> {
  const given: Given = { filename: '', format: null, isOptions: false, forceShare: false, isChain: false }
  let output: OutputFormat = 'human'
  const operands = parseOptions(tool, INFO, args, 'f:U', LONG, (key, value) => {
    if (key === 'f') given.format = value
    if (key === 'U') given.forceShare = true
    if (key === 'image-opts') given.isOptions = true
    if (key === 'backing-chain') given.isChain = true
    if (key === 'output') output = outputFormat(tool, 'info', value)
  })
  if (operands.length !== 1) usageError(tool, 'info', 'Expecting one image file name')
  given.filename = operands[0]!
  const told = yield* collect(tool, given)
  if ((output as OutputFormat) === 'json') {
    const objects = told.map(({ info }) => info)
    tool.print(`${printJson(given.isChain ? objects : objects[0]!, true)}\n`)
  } else tool.print(told.map(({ text }) => text).join('\n'))
  return 0
}

export const INFO: ImgCommand = {
  name: 'info',
  summary: 'Tells about an image.',
  usage: '[-f FMT | --image-opts] [--backing-chain] [-U] [--output human|json]\n        [--object OBJDEF] FILE',
  run,
}
