/** qemu-img dd: copies a number of blocks of one image to a new one. */
import { BlockError } from '../../../block'
import { createBy, creatorsOf, findDriver, wholeText } from '../../../blockdev'
import { type Co, OK, strerror } from '../../../co'
import type { Tool } from '../tool'
import { type ImgCommand, longOptions, parseOptions, sizeArgument } from './command'

const LONG = longOptions('format=f:', 'image-opts', 'output-format=O:', 'force-share=U')
const BLOCK_MAX = 2n ** 31n - 1n

interface Given {
  format: string | null
  targetFormat: string
  isOptions: boolean
  forceShare: boolean
  blockBytes: number
  count: number | null
  skip: number
  input: string | null
  output: string | null
}

/** `name=value`. Throws ToolExit. */
function takeOperand(tool: Tool, given: Given, text: string): void {
  const equals = text.indexOf('=')
  const name = equals < 0 ? text : text.slice(0, equals)
  const value = equals < 0 ? '' : text.slice(equals + 1)
  if (equals >= 0 && name === 'bs') given.blockBytes = sizeArgument(tool, 'bs', value, 1n, BLOCK_MAX)
  else if (equals >= 0 && name === 'count') given.count = sizeArgument(tool, 'count', value)
  else if (equals >= 0 && name === 'skip') given.skip = sizeArgument(tool, 'skip', value)
  else if (equals >= 0 && name === 'if') given.input = value
  else if (equals >= 0 && name === 'of') given.output = value
  else tool.fail(`unrecognized operand ${name}`)
}

function parse(tool: Tool, args: readonly string[]): Given {
  const given: Given = {
    ...{ format: null, targetFormat: 'raw', isOptions: false, forceShare: false, blockBytes: 512 },
    ...{ count: null, skip: 0, input: null, output: null },
  }
  const operands = parseOptions(tool, DD, args, 'f:O:U', LONG, (key, value) => {
    if (key === 'f') given.format = value
    if (key === 'O') given.targetFormat = value
    if (key === 'U') given.forceShare = true
    if (key === 'image-opts') given.isOptions = true
  })
  for (const operand of operands) takeOperand(tool, given, operand)
  if (given.input === null || given.output === null) tool.fail('Must specify both input and output files')
  return given
}

function* createOutput(tool: Tool, given: Given, lengthBytes: number): Co<void> {
  const filename = given.output!
  try {
    const { driver, options } = creatorsOf(tool.context, given.targetFormat, filename)
    options.set('size', wholeText(lengthBytes))
    yield* createBy(tool.context, driver, filename, options)
  } catch (error) {
    tool.failWith(error, `${filename}: error while creating output image: `)
  }
}

function* run(tool: Tool, args: readonly string[]): Co<number> {
  const given = parse(tool, args)
  const { format, isOptions, forceShare, blockBytes, count, skip } = given
  const source = yield* tool.demandImage({ filename: given.input!, format, isOptions, forceShare })
  const driver = findDriver(given.targetFormat)
  if (driver === null) return tool.fail('Unknown file format')
  if (driver.createOptions === undefined) {
    return tool.fail(`Format driver '${driver.name}' does not support image creation`)
  }
  const sourceBytes = source.backend.lengthBytes
  // Where reading ends, counted from the start of the source.
  const endBytes = count === null ? sourceBytes : Math.min(sourceBytes, count * blockBytes)
  const skippedBytes = skip * blockBytes
  yield* createOutput(tool, given, Math.max(0, endBytes - skippedBytes))
  const target = yield* tool.demandImage({
    filename: given.output!,
    format: given.targetFormat,
    isWritable: true,
    mayResize: true,
  })
  if (skippedBytes > endBytes) tool.complain(`${given.input!}: cannot skip to specified offset`)
  for (let at = skippedBytes; at < endBytes; at += blockBytes) {
    const buffer = new Uint8Array(Math.min(blockBytes, endBytes - at))
    const readErrno = yield* source.backend.pread(at, buffer)
    if (readErrno !== OK) return tool.fail(`error while reading from input image file: ${strerror(readErrno)}`)
    const writeErrno = yield* target.backend.pwrite(at - skippedBytes, buffer)
    if (writeErrno !== OK) return tool.fail(`error while writing to output image file: ${strerror(writeErrno)}`)
  }
  const errno = yield* tool.close(target)
  if (errno !== OK) throw new BlockError(`error while writing to output image file: ${strerror(errno)}`, { errno })
  yield* tool.close(source)
  return 0
}

export const DD: ImgCommand = {
  name: 'dd',
  summary: 'Copies blocks of an image to a new one.',
  usage:
    '[-f FMT | --image-opts] [-O OUTPUT_FMT] [-U] [--object OBJDEF]\n        [bs=BLOCK_SIZE] [count=BLOCKS] [skip=BLOCKS] if=INPUT of=OUTPUT',
  run,
}
