/** qemu-img bench: sequential requests, a number of them at a time, and how long all take. */
import { type BlockBackend, RequestFlag } from '../../../block'
import { parseNumber } from '../../../blockdev'
import { type Co, type Errno, OK, strerror, WaitQueue } from '../../../co'
import type { CacheMode, Tool } from '../tool'
import { parseCacheMode } from '../tool'
import { type ImgCommand, longOptions, parseOptions, sizeArgument, usageError } from './command'

const LONG = longOptions(
  'format=f:',
  'image-opts',
  'count=c:',
  'depth=d:',
  'offset=o:',
  'buffer-size=s:',
  'step-size=S:',
  'write=w',
  'pattern:',
  'flush-interval:',
  'no-drain',
  'aio=i:',
  'native=n',
  'cache=t:',
  'force-share=U',
  'quiet=q',
)
const INT_MAX = 2n ** 31n - 1n

interface Given {
  filename: string
  format: string | null
  isOptions: boolean
  forceShare: boolean
  isQuiet: boolean
  count: number
  depth: number
  offsetBytes: number
  bufferBytes: number
  stepBytes: number
  isWrite: boolean
  pattern: number
  flushInterval: number
  drainsOnFlush: boolean
  aio: string
  cache: CacheMode
}

class Bench {
  private readonly tool: Tool
  private readonly given: Given
  private readonly disk: BlockBackend
  private readonly changed: WaitQueue
  private readonly lengthBytes: number
  private left: number
  private inFlight = 0
  private errno: Errno = OK
  private atBytes: number

  constructor(tool: Tool, given: Given, disk: BlockBackend) {
    this.tool = tool
    this.given = given
    this.disk = disk
    this.changed = new WaitQueue(tool.kernel)
    this.left = given.count
    this.atBytes = given.offsetBytes
    this.lengthBytes = disk.lengthBytes
  }

  /** The first error, or OK. */
  *run(): Co<Errno> {
    const { depth, flushInterval, drainsOnFlush } = this.given
    while ((this.left > 0 && this.errno === OK) || this.inFlight > 0) {
      while (this.left > 0 && this.errno === OK && this.inFlight < depth) {
        const flushes = flushInterval > 0 && this.left % flushInterval === 0 && this.left < this.given.count
        if (flushes && drainsOnFlush && this.inFlight > 0) break
        if (flushes) this.start(this.disk.flush())
        this.start(this.request())
        this.left--
      }
      if (this.inFlight > 0) yield* this.changed.wait({ describe: () => 'waits for requests' })
    }
    return this.errno
  }

  private request(): Co<Errno> {
    const { bufferBytes, stepBytes, isWrite, pattern, cache } = this.given
    const at = this.atBytes
    this.atBytes += stepBytes
    if (this.atBytes + bufferBytes > this.lengthBytes)
      this.atBytes = this.lengthBytes < this.given.bufferBytes ? 0 : this.atBytes % this.lengthBytes
    const buffer = new Uint8Array(bufferBytes).fill(pattern)
    const flags = cache.writethrough ? RequestFlag.Fua : RequestFlag.None
    return isWrite ? this.disk.pwrite(at, buffer, flags) : this.disk.pread(at, buffer)
  }

  private start(request: Co<Errno>): void {
    this.inFlight++
    this.tool.kernel.spawn(this.follow(request))
  }
  private *follow(request: Co<Errno>): Co<void> {
    const errno = yield* request
    if (errno !== OK && this.errno === OK) this.errno = errno
    this.inFlight--
    this.changed.wakeAll()
  }
}

function countArgument(tool: Tool, text: string, what: string, max = 2 ** 31 - 1): number {
  const count = parseNumber(text)
  if (count === null || count < 0 || count > max) return tool.fail(`Invalid ${what} specified`)
  return count
}

function take(tool: Tool, given: Given, key: string, value: string): void {
  if (key === 'f') given.format = value
  if (key === 'q') given.isQuiet = true
  if (key === 'U') given.forceShare = true
  if (key === 'w') given.isWrite = true
  if (key === 'image-opts') given.isOptions = true
  if (key === 'no-drain') given.drainsOnFlush = false
  if (key === 'c') given.count = countArgument(tool, value, 'request count')
  if (key === 'd') given.depth = countArgument(tool, value, 'queue depth')
  if (key === 'o') given.offsetBytes = sizeArgument(tool, 'offset', value)
  if (key === 's') given.bufferBytes = sizeArgument(tool, 'buffer size', value, 1n, INT_MAX)
  if (key === 'S') given.stepBytes = sizeArgument(tool, 'step_size', value, 1n, INT_MAX)
  if (key === 'pattern') given.pattern = countArgument(tool, value, 'pattern byte', 255)
  if (key === 'flush-interval') given.flushInterval = countArgument(tool, value, 'flush interval')
  if (key === 'n') given.aio = 'native'
  if (key === 'i') {
    if (value !== 'threads' && value !== 'native' && value !== 'io_uring') tool.fail(`Invalid aio option: ${value}`)
    given.aio = value
  }
  if (key === 't') given.cache = parseCacheMode(value) ?? tool.fail('Invalid cache mode')
}

function parse(tool: Tool, args: readonly string[]): Given {
  const given: Given = {
    ...{ filename: '', format: null, isOptions: false, forceShare: false, isQuiet: false, count: 75000, depth: 64 },
    ...{ offsetBytes: 0, bufferBytes: 4096, stepBytes: 0, isWrite: false, pattern: 0, flushInterval: 0, drainsOnFlush: true },
    ...{ aio: 'threads', cache: { direct: false, noFlush: false, writethrough: false } },
  }
  const operands = parseOptions(tool, BENCH, args, 'c:d:f:ni:o:qs:S:t:wU', LONG, (key, value) => take(tool, given, key, value))
  if (operands.length !== 1) usageError(tool, 'bench', 'Expecting one image file name')
  given.filename = operands[0]!
  if (!given.isWrite && given.flushInterval > 0) tool.fail('--flush-interval is only available in write tests')
  if (given.flushInterval > 0 && given.flushInterval < given.depth) tool.fail("Flush interval can't be smaller than depth")
  if (given.depth === 0) tool.fail('Invalid queue depth specified')
  if (given.stepBytes === 0) given.stepBytes = given.bufferBytes
  return given
}

function* run(tool: Tool, args: readonly string[]): Co<number> {
  const given = parse(tool, args)
  if (given.aio === 'native' && !given.cache.direct) {
    const text = 'aio=native was specified, but it requires cache.direct=on, which was not specified.'
    tool.fail(`Could not open '${given.filename}': ${text}`)
  }
  const { filename, format, isOptions, forceShare, cache } = given
  const image = yield* tool.demandImage({ filename, format, isOptions, forceShare, cache, isWritable: given.isWrite })
  const kind = given.isWrite ? 'write' : 'read'
  tool.print(
    `Sending ${given.count} ${kind} requests, ${given.bufferBytes} bytes each, ${given.depth} in parallel ` +
      `(starting at offset ${given.offsetBytes}, step size ${given.stepBytes})\n`,
  )
  if (given.flushInterval > 0) tool.print(`Sending flush every ${given.flushInterval} requests\n`)
  const startNs = process.hrtime.bigint()
  const errno = yield* new Bench(tool, given, image.backend).run()
  if (errno !== OK) return tool.fail(`Failed request: ${strerror(errno)}`)
  const seconds = Number(process.hrtime.bigint() - startNs) / 1e9
  tool.print(`Run completed in ${seconds.toFixed(3)} seconds.\n`)
  return yield* tool.closeWith(image, 0)
}

export const BENCH: ImgCommand = {
  name: 'bench',
  summary: 'Measures how fast requests to an image are.',
  usage:
    '[-f FMT | --image-opts] [-t CACHE] [-c COUNT] [-d DEPTH] [-s BUFFER_SIZE] [-o OFFSET] [-S STEP_SIZE]\n' +
    '        [-w [--pattern PATTERN] [--flush-interval INTERVAL [--no-drain]]] [-i AIO] [-n] [-U] [-q] FILE',
  run,
}
