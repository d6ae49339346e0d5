/**
 * What a node does with requests that have been admitted: padding of reads, splitting at the driver's limits, detection
 * of zeroes, zeroes as data where the driver has no better way, Fua as a flush. Whatever can be handed on as it is, is
 * handed on as the inner generator, without a frame of its own.
 *
 * What may fail: the driver, as an errno; the rest of the request is not started then.
 * What never may: a driver that sees a request which is unaligned or longer than its limits.
 */
import { assert, type Co, EINVAL, ENOMEM, ENOTSUP, type Errno, OK } from '../co'
import { REQUEST_MAX_BYTES, RequestFlag } from './flags'
import { flushNode } from './io_flush'
import { alignDown, alignmentRest, isAligned } from './io_range'
import type { BlockNode } from './node'
import { isZero, ZERO_PIECE_BYTES, zeroBytes } from './zero_detect'

/** Hands a read inside the node to the driver: padded, split, or as it is. */
export function submitRead(node: BlockNode, offsetBytes: number, buffer: Uint8Array): Co<Errno> {
  const { requestAlignmentBytes, maxTransferBytes } = node.limits
  if (!isAligned(offsetBytes, buffer.length, requestAlignmentBytes)) return readPadded(node, offsetBytes, buffer)
  if (buffer.length > (maxTransferBytes || REQUEST_MAX_BYTES)) return readPieces(node, offsetBytes, buffer)
  return node.driver.pread(offsetBytes, buffer, 0)
}

function* readPadded(node: BlockNode, offsetBytes: number, buffer: Uint8Array): Co<Errno> {
  const alignmentBytes = node.limits.requestAlignmentBytes
  const startBytes = alignDown(offsetBytes, alignmentBytes)
  const endBytes = offsetBytes + buffer.length
  const bounce = node.graph.bounceBuffer(node, startBytes, endBytes + alignmentRest(endBytes, alignmentBytes) - startBytes, false)
  if (bounce === null) return ENOMEM
  assert(isAligned(startBytes, bounce.length, alignmentBytes), 'padding-aligned')
  const errno = yield* submitRead(node, startBytes, bounce)
  if (errno === OK) buffer.set(bounce.subarray(offsetBytes - startBytes, endBytes - startBytes))
  return errno
}

function* readPieces(node: BlockNode, offsetBytes: number, buffer: Uint8Array): Co<Errno> {
  const pieceBytes = pieceLimit(node)
  for (let at = 0; at < buffer.length; at += pieceBytes) {
    const errno = yield* node.driver.pread(offsetBytes + at, buffer.subarray(at, at + pieceBytes), 0)
    if (errno !== OK) return errno
  }
  return OK
}

/** The longest aligned transfer. */
function pieceLimit(node: BlockNode): number {
  const pieceBytes = alignDown(node.limits.maxTransferBytes || REQUEST_MAX_BYTES, node.limits.requestAlignmentBytes)
  assert(pieceBytes > 0, 'transfer-holds-a-block', () => node.name)
  return pieceBytes
}

/** Hands an aligned write to the driver: as zeroes, split, with a flush after it, or as it is. */
export function submitWrite(node: BlockNode, offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
  const detectZeroes = node.options.detectZeroes
  if (detectZeroes !== 'off' && isZero(buffer)) {
    return submitZeroes(node, offsetBytes, buffer.length, detectZeroes === 'unmap' ? flags | RequestFlag.MayUnmap : flags)
  }
  return submitData(node, offsetBytes, buffer, flags)
}

/** `submitWrite` for what must be written as data. */
export function submitData(node: BlockNode, offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
  const driver = node.driver
  if ((flags & RequestFlag.Compressed & ~driver.supportedWriteFlags) !== 0) return notSupported()
  // A cluster is compressed as a whole, whatever the storage below takes at once.
  if ((flags & RequestFlag.Compressed) !== 0) return driver.pwrite(offsetBytes, buffer, flags & driver.supportedWriteFlags)
  if (buffer.length > (node.limits.maxTransferBytes || REQUEST_MAX_BYTES)) return writePieces(node, offsetBytes, buffer, flags)
  if ((flags & RequestFlag.Fua & ~driver.supportedWriteFlags) !== 0) return writeThenFlush(node, offsetBytes, buffer, flags)
  return driver.pwrite(offsetBytes, buffer, flags & driver.supportedWriteFlags)
}

function* notSupported(): Co<Errno> {
  return ENOTSUP
}

function* writeThenFlush(node: BlockNode, offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
  const errno = yield* submitData(node, offsetBytes, buffer, flags & ~RequestFlag.Fua)
  return errno === OK ? yield* flushWritten(node) : errno
}

/** A flush that covers a write which has reached the driver but has not been counted yet. */
export function flushWritten(node: BlockNode): Co<Errno> {
  node.writeGeneration++
  return flushNode(node)
}

function* writePieces(node: BlockNode, offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
  const pieceBytes = pieceLimit(node)
  for (let at = 0; at < buffer.length; at += pieceBytes) {
    // One flush after the last piece makes all of them durable; a driver's own Fua covers its piece alone.
    const isLast = at + pieceBytes >= buffer.length
    const isFlushed = (node.driver.supportedWriteFlags & RequestFlag.Fua) === 0
    const pieceFlags = isFlushed && !isLast ? flags & ~RequestFlag.Fua : flags
    const errno = yield* submitData(node, offsetBytes + at, buffer.subarray(at, at + pieceBytes), pieceFlags)
    if (errno !== OK) return errno
  }
  return OK
}

/**
 * Zeroes an aligned range: the driver's own way first, in pieces whose bulk is aligned to what it likes best, with the
 * misaligned head and tail apart; then zero buffers for the pieces that the driver refuses, unless NoFallback.
 */
export function* submitZeroes(node: BlockNode, offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
  const { driver, limits } = node
  // A driver that hands requests on must be able to hand this on too, or data would be written below it.
  if ((flags & RequestFlag.NoFallback & ~driver.supportedZeroFlags) !== 0 && !driver.isProtocol) return ENOTSUP
  const unitBytes = Math.max(limits.pwriteZeroesAlignmentBytes, limits.requestAlignmentBytes)
  const maxBytes = limits.maxPwriteZeroesBytes || REQUEST_MAX_BYTES
  const limitBytes = longestPiece(maxBytes, unitBytes, limits.requestAlignmentBytes)
  const fallbackBytes = Math.min(pieceLimit(node), ZERO_PIECE_BYTES)
  const driverFlags = flags & driver.supportedZeroFlags
  const dataFlags = flags & ~(RequestFlag.NoFallback | RequestFlag.MayUnmap | RequestFlag.Fua)
  const endBytes = offsetBytes + lengthBytes
  let mustFlush = (flags & RequestFlag.Fua & ~driver.supportedZeroFlags) !== 0
  for (let at = offsetBytes; at < endBytes; ) {
    let pieceBytes = Math.min(pieceTo(at, endBytes, unitBytes), limitBytes)
    let errno = yield* driver.pwriteZeroes(at, pieceBytes, driverFlags)
    if (errno === ENOTSUP && (flags & RequestFlag.NoFallback) === 0) {
      pieceBytes = Math.min(pieceBytes, fallbackBytes)
      mustFlush ||= (flags & RequestFlag.Fua) !== 0
      errno = yield* submitData(node, at, zeroBytes(pieceBytes), dataFlags)
    }
    if (errno !== OK) return errno
    at += pieceBytes
    assert(at <= endBytes, 'zero-piece-inside')
  }
  return mustFlush ? yield* flushWritten(node) : OK
}

/**
 * Hands a discard to the driver in pieces whose bulk is aligned to what it likes best. Refused misaligned pieces are
 * skipped, and ENOTSUP counts as done: a discard is advice.
 */
export function* submitDiscard(node: BlockNode, offsetBytes: number, lengthBytes: number): Co<Errno> {
  const { driver, limits } = node
  const unitBytes = Math.max(limits.pdiscardAlignmentBytes, limits.requestAlignmentBytes)
  const maxBytes = limits.maxPdiscardBytes || REQUEST_MAX_BYTES
  const limitBytes = longestPiece(maxBytes, unitBytes, limits.requestAlignmentBytes)
  const endBytes = offsetBytes + lengthBytes
  assert(isAligned(offsetBytes, lengthBytes, limits.requestAlignmentBytes), 'discard-aligned')
  for (let at = offsetBytes; at < endBytes; ) {
    const pieceBytes = Math.min(pieceTo(at, endBytes, unitBytes), limitBytes)
    const errno = yield* driver.pdiscard(at, pieceBytes)
    const isMisaligned = at % unitBytes !== 0 || pieceBytes % unitBytes !== 0
    if (errno !== OK && errno !== ENOTSUP && !(errno === EINVAL && isMisaligned)) return errno
    at += pieceBytes
  }
  return OK
}

/** Whole units, unless no unit fits: two children of a node may differ in what they like. */
function longestPiece(maxBytes: number, unitBytes: number, alignmentBytes: number): number {
  const wholeBytes = maxBytes - (maxBytes % unitBytes)
  return wholeBytes > 0 ? wholeBytes : Math.max(alignDown(maxBytes, alignmentBytes), alignmentBytes)
}

/** Length of the next piece of [at, end): up to the next multiple of the unit, the whole units after it, or the rest. */
function pieceTo(atBytes: number, endBytes: number, unitBytes: number): number {
  const over = atBytes % unitBytes
  if (over !== 0) return Math.min(unitBytes - over, endBytes - atBytes)
  const lengthBytes = endBytes - atBytes
  return lengthBytes > unitBytes ? lengthBytes - (lengthBytes % unitBytes) : lengthBytes
}
