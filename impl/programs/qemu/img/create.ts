/** qemu-img create. */
import { BlockError } from '../../../block'
import { createImage } from '../../../blockdev'
import type { Co } from '../../../co'
import type { Tool } from '../tool'
import {
  asksForHelp,
  checkOptionList,
  type ImgCommand,
  longOptions,
  parseOptions,
  printCreateHelp,
  sizeArgument,
  usageError,
} from './command'

const LONG = longOptions(
  'format=f:',
  'options=o:',
  'backing=b:',
  'backing-format=F:',
  'backing-fmt=F:',
  'backing-unsafe=u',
  'quiet=q',
)

function* run(tool: Tool, args: readonly string[]): Co<number> {
  let format = 'raw'
  let backingFilename: string | null = null
  let backingFormat: string | null = null
  let isQuiet = false
  let isBackingUnchecked = false
  const optionTexts: string[] = []
  const operands = parseOptions(tool, CREATE, args, 'F:b:f:o:qu', LONG, (key, value) => {
    if (key === 'F') backingFormat = value
    if (key === 'b') backingFilename = value
    if (key === 'f') format = value
    if (key === 'q') isQuiet = true
    if (key === 'u') isBackingUnchecked = true
    if (key !== 'o') return
    checkOptionList(tool, value)
    optionTexts.push(value)
  })
  const [filename, size, extra] = operands
  if (asksForHelp(optionTexts)) return printCreateHelp(tool, format, filename ?? null)
  if (filename === undefined) usageError(tool, 'create', 'Expecting image file name')
  const sizeBytes = size === undefined ? null : sizeArgument(tool, 'image size', size)
  if (extra !== undefined) usageError(tool, 'create', `Unexpected argument: ${extra}`)
  try {
    yield* createImage(tool.context, {
      ...{ filename, format, optionTexts, sizeBytes, backingFilename, backingFormat, isBackingUnchecked },
      announce: (text) => {
        if (!isQuiet) tool.print(`${text}\n`)
        tool.terminals.out.flush()
      },
    })
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
    tool.complainOf(error, `${filename}: `)
    return 1
  }
  return 0
}

export const CREATE: ImgCommand = {
  name: 'create',
  summary: 'Creates an image.',
  usage: '[-f FMT] [-o FMT_OPTS] [-b BACKING_FILE [-F BACKING_FMT]]\n        [--object OBJDEF] [-u] [-q] FILE [SIZE[bkKMGTPE]]',
  run,
}
