/**
 * qemu-img rebase: gives an overlay another image below it. In safe mode what reads differently there is copied to the overlay
 * first; with -u only the name in the header changes.
 */
import { BlockError, type BlockNode, isAllocatedAbove, isZero, RequestFlag } from '../../../block'
import { combinePaths, findDriver } from '../../../blockdev'
import { type Co, ENOSPC, OK, strerror } from '../../../co'
import { filenameOf } from '../image_info'
import type { CacheMode, OpenImage, Tool } from '../tool'
import { cacheArgument, type ImgCommand, longOptions, parseOptions, usageError } from './command'
import { Progress } from './progress'

const LONG = longOptions(
  'format=f:',
  'image-opts',
  'cache=t:',
  'source-cache=T:',
  'backing=b:',
  'backing-format=F:',
  'backing-unsafe=u',
  'compress=c',
  'force-share=U',
  'progress=p',
  'quiet=q',
)
const PIECE_BYTES = 2 * 2 ** 20

interface Given {
  filename: string
  format: string | null
  isOptions: boolean
  backingName: string | null
  backingFormat: string | null
  isUnsafe: boolean
  isCompressed: boolean
  forceShare: boolean
  isProgress: boolean
  isQuiet: boolean
  cache: CacheMode
  sourceCache: CacheMode
}

/** What an overlay would show of one of the two images below it; beyond its end, zeroes. */
function* readBelow(image: OpenImage | null, atBytes: number, buffer: Uint8Array): Co<number> {
  const lengthBytes = image === null ? 0 : Math.max(0, Math.min(buffer.length, image.backend.lengthBytes - atBytes))
  buffer.fill(0, lengthBytes)
  return image === null || lengthBytes === 0 ? OK : yield* image.backend.pread(atBytes, buffer.subarray(0, lengthBytes))
}

class SafeRebase {
  private readonly tool: Tool
  private readonly overlay: OpenImage
  private readonly old: OpenImage | null
  private readonly next: OpenImage | null
  private readonly given: Given
  private readonly progress: Progress
  private readonly unitBytes: number
  private readonly buffers: readonly [Uint8Array, Uint8Array]

  constructor(
    tool: Tool,
    images: { overlay: OpenImage; old: OpenImage | null; next: OpenImage | null },
    given: Given,
    progress: Progress,
  ) {
    this.tool = tool
    this.overlay = images.overlay
    this.old = images.old
    this.next = images.next
    this.given = given
    this.progress = progress
    const { clusterBytes, subclusterBytes } = images.overlay.node.driver.info()
    this.unitBytes = Math.max(512, given.isCompressed ? clusterBytes : subclusterBytes)
    const bytes = Math.max(PIECE_BYTES, this.unitBytes)
    this.buffers = [tool.files.allocateBuffer(bytes), tool.files.allocateBuffer(bytes)]
  }

  *run(): Co<void> {
    const { backend, node } = this.overlay
    const lengthBytes = backend.lengthBytes
    for (let at = 0; at < lengthBytes; ) {
      const allocation = yield* isAllocatedAbove(node, node.backing?.node ?? null, at, lengthBytes - at)
      if (allocation.errno !== OK) this.tool.fail(`error while reading image metadata: ${strerror(allocation.errno)}`)
      let pieceBytes = allocation.bytes
      if (!allocation.isAllocated) {
        pieceBytes = Math.min(allocation.bytes, PIECE_BYTES - (at % this.unitBytes))
        yield* this.compare(at, pieceBytes)
      }
      at += pieceBytes
      this.progress.set((at / lengthBytes) * 100)
    }
  }

  /** Copies from the old image what the new one shows differently. */
  private *compare(atBytes: number, lengthBytes: number): Co<void> {
    const [before, after] = [this.buffers[0].subarray(0, lengthBytes), this.buffers[1].subarray(0, lengthBytes)]
    this.demand(yield* readBelow(this.old, atBytes, before), 'old backing file')
    this.demand(yield* readBelow(this.next, atBytes, after), 'new backing file')
    for (let at = 0; at < lengthBytes; ) {
      const end = Math.min(lengthBytes, at + this.unitBytes - ((atBytes + at) % this.unitBytes))
      const piece = before.subarray(at, end)
      const isSame = Buffer.compare(piece, after.subarray(at, end)) === 0
      if (!isSame) yield* this.write(atBytes + at, piece)
      at = end
    }
  }

  private *write(atBytes: number, piece: Uint8Array): Co<void> {
    const { backend } = this.overlay
    const flags = this.given.isCompressed ? RequestFlag.Compressed : RequestFlag.None
    const errno = isZero(piece)
      ? yield* backend.pwriteZeroes(atBytes, piece.length)
      : yield* backend.pwrite(atBytes, piece, flags)
    if (errno !== OK) this.tool.fail(`Error while writing to COW image: ${strerror(errno)}`)
  }

  private demand(errno: number, what: string): void {
    if (errno !== OK) this.tool.fail(`error while reading from ${what}`)
  }
}

/** The image that lies below now, opened on its own; null: there is none. Throws ToolExit. */
function* openOld(tool: Tool, overlay: BlockNode, given: Given): Co<OpenImage | null> {
  const backing = overlay.backing?.node
  if (backing === undefined) return null
  const filename = filenameOf(tool.context, backing)
  try {
    return yield* tool.open({ filename, format: backing.driver.name, cache: given.sourceCache, forceShare: given.forceShare })
  } catch (error) {
    return tool.failWith(error, `Could not open old backing file '${filename}': `)
  }
}

function* openNext(tool: Tool, given: Given): Co<OpenImage | null> {
  const { backingName, backingFormat } = given
  if (backingName === null || backingName === '') return null
  try {
    const filename = combinePaths(given.filename, backingName)
    return yield* tool.open({ filename, format: backingFormat, cache: given.sourceCache, forceShare: given.forceShare })
  } catch (error) {
    return tool.failWith(error, `Could not open new backing file '${backingName}': `)
  }
}

function* changeName(tool: Tool, overlay: BlockNode, given: Given): Co<void> {
  const { backingName, backingFormat } = given
  const name = backingName === '' ? null : backingName
  const failed = (why: string): never => tool.fail(`Could not change the backing file to '${backingName ?? ''}': ${why}`)
  if (name !== null && backingFormat === null) failed('backing format must be specified')
  const errno = yield* overlay.driver.changeBackingFile(name, name === null ? null : backingFormat)
  if (errno === ENOSPC) failed('No space left in the file header')
  if (errno !== OK) failed(strerror(errno))
}

function parse(tool: Tool, args: readonly string[]): Given {
  const writeback = { direct: false, noFlush: false, writethrough: false }
  const given: Given = {
    ...{ filename: '', format: null, isOptions: false, backingName: null, backingFormat: null, isUnsafe: false },
    ...{ isCompressed: false, forceShare: false, isProgress: false, isQuiet: false, cache: writeback, sourceCache: writeback },
  }
  let cache = 'writeback'
  let sourceCache = 'writeback'
  const operands = parseOptions(tool, REBASE, args, 'b:cF:f:t:T:upqU', LONG, (key, value) => {
    if (key === 'f') given.format = value
    if (key === 'F') given.backingFormat = value
    if (key === 'b') given.backingName = value
    if (key === 'u') given.isUnsafe = true
    if (key === 'c') given.isCompressed = true
    if (key === 'U') given.forceShare = true
    if (key === 'p') given.isProgress = true
    if (key === 'q') given.isQuiet = true
    if (key === 't') cache = value
    if (key === 'T') sourceCache = value
    if (key === 'image-opts') given.isOptions = true
  })
  if (operands.length !== 1) usageError(tool, 'rebase', 'Expecting one image file name')
  if (!given.isUnsafe && given.backingName === null) {
    usageError(tool, 'rebase', 'Must specify backing file (-b) or use unsafe mode (-u)')
  }
  given.filename = operands[0]!
  given.cache = cacheArgument(tool, cache)
  given.sourceCache = cacheArgument(tool, sourceCache, 'source cache')
  return given
}

function* run(tool: Tool, args: readonly string[]): Co<number> {
  const given = parse(tool, args)
  const progress = new Progress(tool, given.isProgress && !given.isQuiet)
  progress.set(0)
  const { filename, format, isOptions, forceShare, isUnsafe } = given
  const overlay = yield* tool.demandImage({
    ...{ filename, format, isOptions, forceShare, isWritable: true, noBacking: isUnsafe, cache: given.cache },
  })
  const { backingFormat } = given
  if (backingFormat !== null && findDriver(backingFormat) === null) tool.fail(`Invalid format name: '${backingFormat}'`)
  if (given.isCompressed && overlay.node.driver.name !== 'qcow2') tool.fail('Compression not supported for this file format')
  if (!isUnsafe) {
    const old = yield* openOld(tool, overlay.node, given)
    const next = yield* openNext(tool, given)
    if (overlay.node.driver.supportsBacking) yield* new SafeRebase(tool, { overlay, old, next }, given, progress).run()
    for (const image of [next, old]) if (image !== null) yield* tool.close(image)
  }
  yield* changeName(tool, overlay.node, given)
  const errno = yield* tool.close(overlay)
  if (errno !== OK) throw new BlockError(`Could not flush the image: ${strerror(errno)}`, { errno })
  progress.set(100)
  progress.end()
  return 0
}

export const REBASE: ImgCommand = {
  name: 'rebase',
  summary: 'Gives an image another one below it.',
  usage:
    '[-f FMT | --image-opts] [-t CACHE] [-b BACKING_FILE [-F BACKING_FMT]] [-T SRC_CACHE]\n' +
    '        [-u] [-c] [-U] [-p] [-q] [--object OBJDEF] FILE',
  run,
}
