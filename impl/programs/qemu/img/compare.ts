/**
 * qemu-img compare: exit codes 0 same, 1 different, 2 cannot be opened, 3 status unknown, 4 cannot be read.
 */
import { type BlockStatus, isZero, StatusFlag } from '../../../block'
import { assert, type Co, OK, strerror } from '../../../co'
import type { OpenImage, Tool } from '../tool'
import { ToolExit } from '../tool'
import { cacheArgument, type ImgCommand, longOptions, parseOptions, usageError } from './command'
import { Progress } from './progress'

const LONG = longOptions(
  'a-format=f:',
  'b-format=F:',
  'image-opts',
  'strict=s',
  'cache=T:',
  'force-share=U',
  'progress=p',
  'quiet=q',
)
const READ_MAX_BYTES = 2 * 2 ** 20
const SECTOR_BYTES = 512
const EXIT_DIFFERENT = 1
const EXIT_OPEN = 2
const EXIT_STATUS = 3
const EXIT_READ = 4

interface Side extends OpenImage {
  filename: string
  lengthBytes: number
}

class Comparison {
  private readonly tool: Tool
  private readonly sides: readonly [Side, Side]
  private readonly isStrict: boolean
  private readonly isQuiet: boolean
  private readonly progress: Progress
  private readonly buffers: readonly [Uint8Array, Uint8Array]

  constructor(tool: Tool, sides: readonly [Side, Side], given: { isStrict: boolean; isQuiet: boolean; isProgress: boolean }) {
    this.tool = tool
    this.sides = sides
    this.isStrict = given.isStrict
    this.isQuiet = given.isQuiet
    this.progress = new Progress(tool, given.isProgress && !given.isQuiet, 2)
    this.buffers = [tool.files.allocateBuffer(READ_MAX_BYTES), tool.files.allocateBuffer(READ_MAX_BYTES)]
  }

  private say(text: string): void {
    if (!this.isQuiet) this.tool.print(`${text}\n`)
  }

  *run(): Co<number> {
    const [first, second] = this.sides
    this.progress.set(0)
    const shorterBytes = Math.min(first.lengthBytes, second.lengthBytes)
    const longerBytes = Math.max(first.lengthBytes, second.lengthBytes)
    if (this.isStrict && shorterBytes !== longerBytes) {
      this.say('Strict mode: Image size mismatch!')
      return this.finish(EXIT_DIFFERENT)
    }
    for (let at = 0; at < shorterBytes; ) {
      const step = yield* this.step(at, shorterBytes - at)
      if (step === null) return this.finish(EXIT_DIFFERENT)
      at += step
      this.progress.set((at / longerBytes) * 100)
    }
    if (shorterBytes !== longerBytes && !(yield* this.compareEnd(shorterBytes, longerBytes))) return this.finish(EXIT_DIFFERENT)
    this.say('Images are identical.')
    return this.finish(0)
  }

  private finish(code: number): number {
    this.progress.end()
    return code
  }

  /** Compares the start of a range; how far, or null: they differ. */
  private *step(atBytes: number, restBytes: number): Co<number | null> {
    const [first, second] = this.sides
    const one = yield* this.status(first, atBytes, restBytes)
    const two = yield* this.status(second, atBytes, restBytes)
    let lengthBytes = Math.min(one.bytes, two.bytes)
    assert(lengthBytes > 0, 'compare-progress')
    if (this.isStrict && one.flags !== two.flags) {
      this.say(`Strict mode: Offset ${atBytes} block status mismatch!`)
      return null
    }
    if ((one.flags & two.flags & StatusFlag.Zero) !== 0) return lengthBytes
    const hasFirst = (one.flags & StatusFlag.Allocated) !== 0
    const hasSecond = (two.flags & StatusFlag.Allocated) !== 0
    if (!hasFirst && !hasSecond) return lengthBytes
    lengthBytes = Math.min(lengthBytes, READ_MAX_BYTES)
    const differenceBytes =
      hasFirst && hasSecond
        ? yield* this.differenceAt(atBytes, lengthBytes)
        : yield* this.dataAt(hasFirst ? 0 : 1, atBytes, lengthBytes)
    if (differenceBytes === null) return lengthBytes
    this.say(`Content mismatch at offset ${differenceBytes}!`)
    return null
  }

  private *status({ node, filename }: Side, atBytes: number, restBytes: number): Co<BlockStatus> {
    const status = yield* node.blockStatusAbove(null, 'want-zero', atBytes, restBytes)
    if (status.errno === OK) return status
    this.tool.complain(`Sector allocation test failed for ${filename}`)
    throw new ToolExit(EXIT_STATUS)
  }

  private *read(index: 0 | 1, atBytes: number, lengthBytes: number): Co<Uint8Array> {
    const buffer = this.buffers[index].subarray(0, lengthBytes)
    const { backend, filename } = this.sides[index]
    const errno = yield* backend.pread(atBytes, buffer)
    if (errno === OK) return buffer
    this.tool.complain(`Error while reading offset ${atBytes} of ${filename}: ${strerror(errno)}`)
    throw new ToolExit(EXIT_READ)
  }

  private *differenceAt(atBytes: number, lengthBytes: number): Co<number | null> {
    const first = yield* this.read(0, atBytes, lengthBytes)
    const second = yield* this.read(1, atBytes, lengthBytes)
    if (Buffer.compare(first, second) === 0) return null
    return atBytes + sectorOf(firstIndex(lengthBytes, (index) => first[index] !== second[index]))
  }

  /** Where an image has something else than zeroes. */
  private *dataAt(index: 0 | 1, atBytes: number, lengthBytes: number): Co<number | null> {
    const buffer = yield* this.read(index, atBytes, lengthBytes)
    return isZero(buffer) ? null : atBytes + sectorOf(firstIndex(lengthBytes, (at) => buffer[at] !== 0))
  }

  /** Whether what the longer image has more reads zero. */
  private *compareEnd(fromBytes: number, endBytes: number): Co<boolean> {
    const index = this.sides[0].lengthBytes === endBytes ? 0 : 1
    this.say('Warning: Image size mismatch!')
    for (let at = fromBytes; at < endBytes; ) {
      const status = yield* this.status(this.sides[index], at, endBytes - at)
      let lengthBytes = status.bytes
      const isData = (status.flags & StatusFlag.Allocated) !== 0 && (status.flags & StatusFlag.Zero) === 0
      if (isData) {
        lengthBytes = Math.min(lengthBytes, READ_MAX_BYTES)
        const differenceBytes = yield* this.dataAt(index, at, lengthBytes)
        if (differenceBytes !== null) {
          this.say(`Content mismatch at offset ${differenceBytes}!`)
          return false
        }
      }
      at += lengthBytes
      this.progress.set((at / endBytes) * 100)
    }
    return true
  }
}

/** What differs is told by its sector. */
function sectorOf(bytes: number): number {
  return bytes - (bytes % SECTOR_BYTES)
}

function firstIndex(length: number, isFound: (index: number) => boolean): number {
  for (let index = 0; index < length; index++) if (isFound(index)) return index
  return length
}

function* run(tool: Tool, args: readonly string[]): Co<number> {
  const formats: Array<string | null> = [null, null]
  const given = { isStrict: false, isQuiet: false, isProgress: false }
  let isOptions = false
  let forceShare = false
  let cache = 'writeback'
  const operands = parseOptions(tool, COMPARE, args, 'f:F:T:pqsU', LONG, (key, value) => {
    if (key === 'f') formats[0] = value
    if (key === 'F') formats[1] = value
    if (key === 'T') cache = value
    if (key === 'p') given.isProgress = true
    if (key === 'q') given.isQuiet = true
    if (key === 's') given.isStrict = true
    if (key === 'U') forceShare = true
    if (key === 'image-opts') isOptions = true
  })
  if (operands.length !== 2) usageError(tool, 'compare', 'Expecting two image file names')
  const mode = cacheArgument(tool, cache, 'source cache', EXIT_OPEN)
  const sides: Side[] = []
  for (const [index, filename] of operands.entries()) {
    const format = formats[index] ?? null
    const image = yield* tool.demandImage({ filename, format, isOptions, forceShare, cache: mode }, EXIT_OPEN)
    sides.push({ ...image, filename, lengthBytes: image.backend.lengthBytes })
  }
  const code = yield* new Comparison(tool, [sides[0]!, sides[1]!], given).run()
  for (const side of sides) yield* tool.close(side)
  return code
}

export const COMPARE: ImgCommand = {
  name: 'compare',
  summary: 'Compares what two images hold.',
  usage: '[--image-opts | [-f FMT] [-F FMT]] [-s] [-T CACHE] [-U] [-p] [-q]\n        [--object OBJDEF] FILE1 FILE2',
  run,
}
