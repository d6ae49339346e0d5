/** qemu-img commit: writes what an overlay holds to an image below it, and empties the overlay. */
import { BlockError, type BlockNode } from '../../../block'
import { type Co, ENOTSUP, OK, strerror } from '../../../co'
import { copyDown } from '../../../jobs'
import { filenameOf } from '../image_info'
import type { Tool } from '../tool'
import { cacheArgument, type ImgCommand, longOptions, parseOptions, sizeArgument, usageError } from './command'
import { Progress } from './progress'

const LONG = longOptions('format=f:', 'image-opts', 'cache=t:', 'drop=d', 'base=b:', 'rate-limit=r:', 'progress=p', 'quiet=q')

/** The image of that name below `top`. Throws BlockError. */
function findBase(tool: Tool, top: BlockNode, topName: string, wanted: string | null): BlockNode {
  const first = top.skipFilters().backing?.node.skipFilters() ?? null
  if (first === null) throw new BlockError('Image does not have a backing file')
  if (wanted === null) return first
  for (let node: BlockNode | null = first; node !== null; node = node.backing?.node.skipFilters() ?? null) {
    if (filenameOf(tool.context, node) === wanted) return node
  }
  throw new BlockError(`Did not find '${wanted}' in the backing chain of '${topName}'`)
}

function* run(tool: Tool, args: readonly string[]): Co<number> {
  let format: string | null = null
  let isOptions = false
  let cache = 'writeback'
  let baseName: string | null = null
  let drops = false
  let isQuiet = false
  let isProgress = false
  let rateBytesPerSecond = 0
  const operands = parseOptions(tool, COMMIT, args, 'f:t:b:dpqr:', LONG, (key, value) => {
    if (key === 'f') format = value
    if (key === 't') cache = value
    if (key === 'b') baseName = value
    // What lies between would be wrong afterwards: the top has to stay as it is.
    if (key === 'd' || key === 'b') drops = true
    if (key === 'p') isProgress = true
    if (key === 'q') isQuiet = true
    if (key === 'r') rateBytesPerSecond = sizeArgument(tool, 'rate limit', value)
    if (key === 'image-opts') isOptions = true
  })
  const progress = new Progress(tool, isProgress && !isQuiet)
  if (operands.length !== 1) usageError(tool, 'commit', 'Expecting one image file name')
  const filename = operands[0]!
  const mode = cacheArgument(tool, cache)
  const top = yield* tool.demandImage({ filename, format, isOptions, isWritable: true, cache: mode })
  progress.set(0)
  let base: BlockNode
  try {
    base = findBase(tool, top.node, filename, baseName)
  } catch (error) {
    return tool.failWith(error)
  }
  const onProgress = (fraction: number): void => progress.set(fraction * 100)
  let errno = yield* copyDown(tool.graph, top.backend, base, { rateBytesPerSecond, onProgress })
  if (errno !== OK) return tool.fail(`Error while committing image: ${strerror(errno)}`)
  if (!drops) {
    errno = yield* top.node.skipFilters().driver.makeEmpty()
    if (errno !== OK && errno !== ENOTSUP) return tool.fail(`Could not empty ${filename}: ${strerror(errno)}`)
  }
  const code = yield* tool.closeWith(top, 0)
  if (code !== 0) return code
  progress.set(100)
  progress.end()
  if (!isQuiet) tool.print('Image committed.\n')
  return 0
}

export const COMMIT: ImgCommand = {
  name: 'commit',
  summary: 'Writes the content of an image to the one below it.',
  usage: '[-f FMT | --image-opts] [-t CACHE] [-b BASE_IMG] [-d] [-r RATE] [-p] [-q]\n        [--object OBJDEF] FILE',
  run,
}
