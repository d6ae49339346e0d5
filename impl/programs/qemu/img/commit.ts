/** qemu-img commit: writes what an overlay holds to an image below it, and empties the overlay. */
import { BlockBackend, BlockError, type BlockNode, Permission, RequestFlag, StatusFlag } from '../../../block'
import { type Co, ENOTSUP, type Errno, OK, strerror } from '../../../co'
import { filenameOf } from '../image_info'
import type { OpenImage, Tool } from '../tool'
import { cacheArgument, type ImgCommand, longOptions, parseOptions, sizeArgument, usageError } from './command'
import { Progress } from './progress'

const LONG = longOptions('format=f:', 'image-opts', 'cache=t:', 'drop=d', 'base=b:', 'rate-limit=r:', 'progress=p', 'quiet=q')
const PIECE_BYTES = 2 * 2 ** 20
const NS_PER_S = 1e9

interface Commit {
  tool: Tool
  top: OpenImage
  base: BlockNode
  target: BlockBackend
  rateBytesPerSecond: number
  progress: Progress
}

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

/** Copies what the layers above the base hold. */
function* copyDown({ tool, top, base, target, rateBytesPerSecond, progress }: Commit): Co<Errno> {
  const lengthBytes = top.backend.lengthBytes
  if (target.lengthBytes < lengthBytes) {
    const errno = yield* target.truncate(lengthBytes, false, 'off')
    if (errno !== OK) return errno
  }
  const buffer = tool.files.allocateBuffer(PIECE_BYTES)
  const startNs = tool.kernel.nowNs()
  let copiedBytes = 0
  for (let at = 0; at < lengthBytes; ) {
    const status = yield* top.node.blockStatusAbove(base, 'want-zero', at, lengthBytes - at)
    if (status.errno !== OK) return status.errno
    const isAllocated = (status.flags & StatusFlag.Allocated) !== 0
    const isZero = (status.flags & StatusFlag.Zero) !== 0
    const pieceBytes = isAllocated && !isZero ? Math.min(status.bytes, PIECE_BYTES) : status.bytes
    const errno = isAllocated ? yield* copyPiece(top.backend, target, at, pieceBytes, isZero, buffer) : OK
    if (errno !== OK) return errno
    at += pieceBytes
    progress.set((at / lengthBytes) * 100)
    if (!isAllocated || rateBytesPerSecond === 0) continue
    copiedBytes += pieceBytes
    const waitNs = startNs + Math.floor((copiedBytes / rateBytesPerSecond) * NS_PER_S) - tool.kernel.nowNs()
    if (waitNs > 0) yield* tool.kernel.sleepNs(waitNs)
  }
  return yield* target.flush()
}

function* copyPiece(
  source: BlockBackend,
  target: BlockBackend,
  atBytes: number,
  lengthBytes: number,
  isZero: boolean,
  buffer: Uint8Array,
): Co<Errno> {
  if (isZero) return yield* target.pwriteZeroes(atBytes, lengthBytes, RequestFlag.MayUnmap)
  const piece = buffer.subarray(0, lengthBytes)
  const errno = yield* source.pread(atBytes, piece)
  return errno === OK ? yield* target.pwrite(atBytes, piece) : errno
}

/** Makes the base writable for the time of the copy. Throws BlockError. */
function* commit(tool: Tool, top: OpenImage, base: BlockNode, rateBytesPerSecond: number, progress: Progress): Co<Errno> {
  const { graph } = tool
  yield* graph.drainedBegin(base)
  try {
    yield* graph.setReadOnly(base, false)
  } finally {
    graph.drainedEnd(base)
  }
  const target = new BlockBackend(graph, '')
  target.attach(base, Permission.ConsistentRead | Permission.Write | Permission.Resize, Permission.All)
  try {
    return yield* copyDown({ tool, top, base, target, rateBytesPerSecond, progress })
  } finally {
    target.dispose()
  }
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
  let errno = yield* commit(tool, top, base, rateBytesPerSecond, progress)
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
