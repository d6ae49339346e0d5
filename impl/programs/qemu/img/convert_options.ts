/** The options of qemu-img convert, with what excludes what. */

import type { WantedSnapshot } from '../../../block/drivers/qcow2'
import { parseNumber, parseSize } from '../../../blockdev'
import type { CacheMode, Tool } from '../tool'
import { asksForHelp, cacheArgument, type ImgCommand, longOptions, parseOptions, sizeArgument } from './command'
import { checkSnapshot } from './measure'

export interface ConvertArguments {
  sourceNames: string[]
  sourceFormat: string | null
  isSourceOptions: boolean
  sourceCache: CacheMode
  forceShare: boolean
  snapshot: WantedSnapshot | null
  bitmaps: boolean
  skipsBrokenBitmaps: boolean
  targetName: string
  targetFormat: string
  isTargetOptions: boolean
  targetCache: CacheMode
  optionTexts: string[]
  backingName: string | null
  backingFormat: string | null
  skipsCreation: boolean
  isTargetZero: boolean
  minSparseBytes: number
  isSalvaging: boolean
  isCompressed: boolean
  copiesRanges: boolean
  rateBytesPerSecond: number
  isProgress: boolean
  isQuiet: boolean
}

const LONG = longOptions(
  'source-format=f:',
  'image-opts',
  'source-image-opts=image-opts',
  'source-cache=T:',
  'snapshot=l:',
  'bitmaps',
  'skip-broken-bitmaps',
  'salvage',
  'target-format=O:',
  'target-image-opts',
  'target-options=o:',
  'options=o:',
  'target-cache=t:',
  'backing=b:',
  'backing-format=F:',
  'sparse-size=S:',
  'no-create=n',
  'target-is-zero',
  'force-share=U',
  'rate-limit=r:',
  'parallel=m:',
  'oob-writes=W',
  'copy-range-offloading=C',
  'compress=c',
  'progress=p',
  'quiet=q',
)
const SPARSE_MAX_BYTES = 16 * 2 ** 20
const SPARSE_DEFAULT_BYTES = 4096
const COROUTINES_MAX = 16

function initial(): ConvertArguments {
  const writeback = { direct: false, noFlush: false, writethrough: false }
  return {
    ...{ sourceNames: [], sourceFormat: null, isSourceOptions: false, sourceCache: writeback, forceShare: false },
    ...{ snapshot: null, bitmaps: false, skipsBrokenBitmaps: false, targetName: '', targetFormat: 'raw' },
    ...{ isTargetOptions: false, targetCache: { ...writeback, noFlush: true }, optionTexts: [], backingName: null },
    ...{ backingFormat: null, skipsCreation: false, isTargetZero: false, minSparseBytes: SPARSE_DEFAULT_BYTES },
    ...{ isSalvaging: false, isCompressed: false, copiesRanges: false, rateBytesPerSecond: 0, isProgress: false, isQuiet: false },
  }
}

/** Letters that only set something. */
const FLAGS: Readonly<Record<string, (given: ConvertArguments) => void>> = {
  'image-opts': (given) => {
    given.isSourceOptions = true
  },
  'target-image-opts': (given) => {
    given.isTargetOptions = true
  },
  bitmaps: (given) => {
    given.bitmaps = true
  },
  'skip-broken-bitmaps': (given) => {
    given.skipsBrokenBitmaps = true
  },
  salvage: (given) => {
    given.isSalvaging = true
  },
  'target-is-zero': (given) => {
    given.isTargetZero = true
  },
  C: (given) => {
    given.copiesRanges = true
  },
  U: (given) => {
    given.forceShare = true
  },
  c: (given) => {
    given.isCompressed = true
  },
  n: (given) => {
    given.skipsCreation = true
  },
  p: (given) => {
    given.isProgress = true
  },
  q: (given) => {
    given.isQuiet = true
  },
}

/** Throws ToolExit. */
export function parseConvert(tool: Tool, command: ImgCommand, args: readonly string[]): ConvertArguments {
  const given = initial()
  const named = { targetFormat: false, sparse: false, sourceCache: 'writeback', targetCache: 'unsafe' }
  const operands = parseOptions(tool, command, args, 'B:CF:O:S:T:Ub:cf:l:m:no:pqr:t:W', LONG, (key, value) => {
    FLAGS[key]?.(given)
    if (key === 'f') given.sourceFormat = value
    if (key === 'O') {
      given.targetFormat = value
      named.targetFormat = true
    }
    if (key === 'B' || key === 'b') given.backingName = value
    if (key === 'F') given.backingFormat = value
    if (key === 'o') given.optionTexts.push(value)
    if (key === 'l') given.snapshot = checkSnapshot(tool, value)
    if (key === 't') named.targetCache = value
    if (key === 'T') named.sourceCache = value
    if (key === 'm') checkCoroutines(tool, value)
    if (key === 'r') given.rateBytesPerSecond = sizeArgument(tool, 'rate limit', value)
    if (key !== 'S') return
    given.minSparseBytes = sparseArgument(tool, value)
    named.sparse = true
  })
  given.targetName = operands.at(-1) ?? ''
  given.sourceNames = operands.slice(0, -1)
  checkTogether(tool, given, named)
  if (operands.length < 2 && !asksForHelp(given.optionTexts)) tool.fail('Must specify image file name')
  if (asksForHelp(given.optionTexts) && operands.length < 2) given.targetName = ''
  given.targetCache = cacheArgument(tool, named.targetCache)
  given.sourceCache = cacheArgument(tool, named.sourceCache, 'source cache')
  return given
}

/** What the lines say about options that exclude each other. Throws ToolExit. */
function checkTogether(tool: Tool, given: ConvertArguments, named: { targetFormat: boolean; sparse: boolean }): void {
  if (given.isTargetOptions && named.targetFormat) tool.fail('--target-image-opts and -O are mutually exclusive')
  if (given.isTargetOptions && !given.skipsCreation) tool.fail('--target-image-opts requires use of -n flag')
  if (given.skipsCreation && given.optionTexts.length > 0) tool.fail('-o has no effect when skipping image creation')
  if (given.isTargetZero && !given.skipsCreation) tool.fail('--target-is-zero requires use of -n flag')
  if (given.skipsBrokenBitmaps && !given.bitmaps) tool.fail('Use of --skip-broken-bitmaps requires --bitmaps')
  if (given.copiesRanges && named.sparse) tool.fail('Cannot enable copy offloading when -S is used')
  if (given.copiesRanges && given.isCompressed) tool.fail('Cannot enable copy offloading when -c is used')
  if (given.bitmaps && given.snapshot !== null) tool.fail('Cannot use --bitmaps with -l')
  if (given.copiesRanges) given.minSparseBytes = 0
}

function checkCoroutines(tool: Tool, text: string): void {
  const count = parseNumber(text)
  if (count === null || count < 1 || count > COROUTINES_MAX) {
    tool.fail(`Invalid number of coroutines. Allowed number of coroutines is between 1 and ${COROUTINES_MAX}`)
  }
}

function sparseArgument(tool: Tool, text: string): number {
  const what = 'buffer size for sparse output'
  const bytes = parseSize(text)
  if (typeof bytes !== 'number') return sizeArgument(tool, what, text)
  if (bytes % 512 === 0 && bytes <= SPARSE_MAX_BYTES) return bytes
  return tool.fail(
    `Invalid ${what} specified. Valid sizes are multiples of 512 up to ${SPARSE_MAX_BYTES}. ` +
      'Select 0 to disable sparse detection (fully allocates output).',
  )
}
