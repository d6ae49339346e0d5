/** What commands that move data have in common: where, how much, how long it took. */
import { type BlockBackend, BlockError, RequestFlag } from '../block'
import { assert, type Co, EINVAL, EIO, type Errno, OK, strerror } from '../co'
import { LENGTH_MAX_BYTES, parseQuantity } from './quantity'
import { dumpText, printReport } from './report'
import { IoComplaint, type IoSession } from './session'

/** What buffers hold before something is read into them, and what is written without a pattern. */
export const READ_FILL = 0xab
export const WRITE_FILL = 0xcd
const SECTOR_BYTES = 512

/** The operand that is a length of one request. Throws QuantityError, IoComplaint. */
export function lengthOperand(text: string): number {
  const lengthBytes = parseQuantity(text)
  if (lengthBytes > LENGTH_MAX_BYTES) throw new IoComplaint(`length cannot exceed ${LENGTH_MAX_BYTES}, given ${text}`)
  return lengthBytes
}

/** The total of a vector of lengths. Throws QuantityError, IoComplaint. */
export function vectorOperands(texts: readonly string[]): number {
  let totalBytes = 0
  for (const text of texts) {
    const lengthBytes = parseQuantity(text)
    if (lengthBytes > LENGTH_MAX_BYTES) throw new IoComplaint(`Argument '${text}' exceeds maximum size ${LENGTH_MAX_BYTES}`)
    totalBytes += lengthBytes
    if (totalBytes > LENGTH_MAX_BYTES) {
      throw new IoComplaint(`The total number of bytes exceed the maximum size ${LENGTH_MAX_BYTES}`)
    }
  }
  return totalBytes
}

/** Throws IoComplaint. */
export function demandSectors(offsetBytes: number, lengthBytes: number | null): void {
  if (offsetBytes % SECTOR_BYTES !== 0) throw new IoComplaint(`${offsetBytes} is not a sector-aligned value for 'offset'`)
  if (lengthBytes !== null && lengthBytes % SECTOR_BYTES !== 0) {
    throw new IoComplaint(`${lengthBytes} is not a sector-aligned value for 'count'`)
  }
}

/** Offsets that cannot be on a disk are not passed on: numbers end to be exact there. */
export function* outOfReach(): Co<Errno> {
  return EIO
}
export function canBeOnDisk(offsetBytes: number, lengthBytes: number): boolean {
  assert(lengthBytes >= 0, 'io-length')
  return Number.isSafeInteger(offsetBytes + lengthBytes)
}

export function readRequest(disk: BlockBackend, offsetBytes: number, buffer: Uint8Array): Co<Errno> {
  return canBeOnDisk(offsetBytes, buffer.length) ? disk.pread(offsetBytes, buffer) : outOfReach()
}

/** A request that the disk's user counts; the others are not, as in QEMU. */
export function counted(session: IoSession, operation: 'read' | 'write', bytes: number, request: Co<Errno>): Co<Errno> {
  return session.disk.accounting?.watch(operation, bytes, request) ?? request
}

export interface WriteKind {
  isZero: boolean
  flags: number
}

export function writeRequest(disk: BlockBackend, offsetBytes: number, data: Uint8Array | number, flags: number): Co<Errno> {
  const lengthBytes = typeof data === 'number' ? data : data.length
  if (!canBeOnDisk(offsetBytes, lengthBytes)) return outOfReach()
  return typeof data === 'number' ? disk.pwriteZeroes(offsetBytes, data, flags) : disk.pwrite(offsetBytes, data, flags)
}

/** The letters that say how something is written. */
export function zeroFlags(given: ReadonlySet<string>): number {
  let flags: number = RequestFlag.None
  if (given.has('f')) flags |= RequestFlag.Fua
  if (given.has('n')) flags |= RequestFlag.NoFallback
  if (given.has('u')) flags |= RequestFlag.MayUnmap
  if (given.has('c')) flags |= RequestFlag.Compressed
  return flags
}

/** Where a pattern is looked for in what was read. */
export interface ExpectedPattern {
  byte: number
  startBytes: number
  lengthBytes: number
}

/** Compares, and says where the pattern was to be. */
export function verify(session: IoSession, offsetBytes: number, buffer: Uint8Array, pattern: ExpectedPattern): Errno {
  const { byte, startBytes, lengthBytes } = pattern
  assert(startBytes + lengthBytes <= buffer.length, 'pattern-inside-buffer')
  const isAsExpected = buffer.subarray(startBytes, startBytes + lengthBytes).every((value) => value === byte)
  if (isAsExpected) return OK
  session.host.out(`Pattern verification failed at offset ${offsetBytes + startBytes}, ${lengthBytes} bytes\n`)
  return EINVAL
}

export interface Finished {
  verb: string
  offsetBytes: number
  lengthBytes: number
  startNs: number
  endNs: number
  /** Letters: C terse, q nothing, v the bytes too. */
  given: ReadonlySet<string>
  buffer?: Uint8Array
}

/** The end of a successful request. */
export function tellResult(session: IoSession, finished: Finished): void {
  const { verb, offsetBytes, lengthBytes, startNs, endNs, given, buffer } = finished
  if (given.has('q')) return
  if (given.has('v') && buffer !== undefined) session.host.out(dumpText(buffer, offsetBytes))
  printReport(session.host, {
    verb,
    offsetBytes,
    countBytes: lengthBytes,
    totalBytes: lengthBytes,
    elapsedNs: Math.max(0, endNs - startNs),
    isTerse: given.has('C'),
  })
}

/** Prints `WHAT failed: why`. */
export function tellFailure(session: IoSession, what: string, errno: Errno): Errno {
  assert(errno !== OK, 'failure-has-errno')
  session.host.out(`${what} failed: ${strerror(errno)}\n`)
  return errno
}

/** The content of a file, over and over again. Throws BlockError after saying what is wrong with the file. */
export function* sourceBytes(session: IoSession, path: string, lengthBytes: number): Co<Uint8Array | null> {
  const { readFile } = session.host
  let content: Uint8Array
  try {
    if (readFile === undefined) throw new BlockError('no files can be read here')
    content = yield* readFile(path)
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
    session.host.err(`${path}: ${error.message}\n`)
    return null
  }
  if (content.length === 0) {
    session.host.err(`${path}: file is empty\n`)
    return null
  }
  const bytes = new Uint8Array(lengthBytes)
  for (let at = 0; at < lengthBytes; at += content.length) bytes.set(content.subarray(0, lengthBytes - at), at)
  return bytes
}
