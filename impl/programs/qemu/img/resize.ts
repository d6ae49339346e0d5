/** qemu-img resize. */
import { BlockError, type PreallocationMode } from '../../../block'
import { parseSize, SizeError } from '../../../blockdev'
import { type Co, OK } from '../../../co'
import { parsePreallocation } from '../../../io'
import { resizeErrorText } from '../resize_error'
import type { OpenImage, Tool } from '../tool'
import { type ImgCommand, longOptions, parseOptions, usageError } from './command'

const LONG = longOptions('format=f:', 'image-opts', 'preallocation:', 'shrink', 'quiet=q')

interface Wanted {
  /** The number of bytes, or of those that come or go. */
  bytes: number
  change: 'set' | 'add' | 'remove'
}

function parseWanted(text: string): Wanted {
  const change = text.startsWith('+') ? 'add' : text.startsWith('-') ? 'remove' : 'set'
  const digits = change === 'set' ? text : text.slice(1)
  const bytes = parseSize(digits)
  if (bytes === 'range') throw new BlockError(`Value '${digits}' is out of range for parameter 'size'`)
  if (bytes === null) throw new SizeError('size')
  return { bytes, change }
}

interface Given {
  preallocation: PreallocationMode
  mayShrink: boolean
  isQuiet: boolean
}

function* resize(tool: Tool, image: OpenImage, wanted: Wanted, given: Given): Co<number> {
  const { backend } = image
  const presentBytes = backend.lengthBytes
  const { bytes, change } = wanted
  const totalBytes = change === 'set' ? bytes : presentBytes + (change === 'add' ? bytes : -bytes)
  const { preallocation } = given
  if (totalBytes <= 0) return refuse(tool, 'New image size must be positive')
  if (totalBytes <= presentBytes && preallocation !== 'off') {
    return refuse(tool, 'Preallocation can only be used for growing images')
  }
  if (totalBytes < presentBytes && !given.mayShrink) {
    tool.complain('Use the --shrink option to perform a shrink operation.')
    tool.complain(
      "warning: Shrinking an image will delete all data beyond the shrunken image's end. " +
        'Before performing such an operation, make sure there is no important data there.',
    )
    return 1
  }
  // As long as was asked for, or not at all.
  const errno = yield* backend.truncate(totalBytes, true, preallocation)
  if (errno !== OK) return refuse(tool, resizeErrorText(backend, errno, preallocation))
  if (!given.isQuiet) tool.print('Image resized.\n')
  return 0
}

function refuse(tool: Tool, text: string): number {
  tool.complain(text)
  return 1
}

function* run(tool: Tool, args: readonly string[]): Co<number> {
  const given: Given = { preallocation: 'off', mayShrink: false, isQuiet: false }
  let format: string | null = null
  let isOptions = false
  // The size comes last, and may look like an option.
  const size = args.at(-1)
  const isHelp = args.length === 1 && (size === '-h' || size === '--help')
  if (args.length < 2 && !isHelp) usageError(tool, 'resize', 'Not enough arguments')
  const operands = parseOptions(tool, RESIZE, isHelp ? args : args.slice(0, -1), 'f:q', LONG, (key, value) => {
    if (key === 'f') format = value
    if (key === 'q') given.isQuiet = true
    if (key === 'image-opts') isOptions = true
    if (key === 'shrink') given.mayShrink = true
    if (key === 'preallocation') given.preallocation = parsePreallocation(value)
  })
  if (operands.length !== 1) usageError(tool, 'resize', 'Expecting image file name and size')
  const wanted = parseWanted(size ?? '')
  const image = yield* tool.demandImage({ filename: operands[0]!, format, isOptions, isWritable: true, mayResize: true })
  const code = yield* resize(tool, image, wanted, given)
  return yield* tool.closeWith(image, code)
}

export const RESIZE: ImgCommand = {
  name: 'resize',
  summary: 'Changes the length of an image.',
  usage: '[-f FMT | --image-opts] [--preallocation PREALLOC] [--shrink] [-q]\n        [--object OBJDEF] FILE [+-]SIZE[bkKMGTPE]',
  run,
}
