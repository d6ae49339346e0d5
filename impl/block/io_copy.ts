/**
 * Copying a range from one node to the same place of another without moving it through this program, where both nodes'
 * drivers know how: files of one file system, for which the system has a call. To the nodes it is a read and a write.
 *
 * What may fail: ENOTSUP where the drivers cannot do it, or not for this range; otherwise the errno of the system, which
 * does not tell on which side it went wrong. Whoever wants to know reads and writes instead: nothing is known of the range.
 * What never may: a copy that overtakes a request which excludes it on either side.
 */
import { assert, type Co, EIO, ENOMEDIUM, ENOTSUP, type Errno, OK } from '../co'
import { checkChange, checkQuiesced, finishChange } from './io'
import { isAligned, isInside } from './io_range'
import type { BlockChild, BlockNode } from './node'

/** True if copies from `source` to `target` are worth asking for. */
export function copiesRanges(source: BlockNode, target: BlockNode): boolean {
  return source !== target && target.options.detectZeroes === 'off' && target.driver.copiesFrom(source.driver)
}

/** Copies [offsetBytes, offsetBytes + lengthBytes), not empty. Needs Write on `target`. */
export function* copyThrough(source: BlockChild, target: BlockChild, offsetBytes: number, lengthBytes: number): Co<Errno> {
  assert(lengthBytes > 0, 'copy-not-empty')
  yield* enterGate(source)
  yield* enterGate(target)
  const errno = checkCopy(source, target, offsetBytes, lengthBytes)
  const result = errno === OK ? yield* copyTracked(source.node, target.node, offsetBytes, lengthBytes) : errno
  source.gate?.leave()
  target.gate?.leave()
  return result
}

function* enterGate({ gate }: BlockChild): Co<void> {
  if (gate === null) return
  if (gate.isShut()) yield* gate.waitOpen()
  gate.inFlight++
}

function checkCopy(source: BlockChild, target: BlockChild, offsetBytes: number, lengthBytes: number): Errno {
  const errno = checkChange(target, offsetBytes, lengthBytes, 0)
  if (errno !== OK) return errno
  if (!source.isAttached) return ENOMEDIUM
  if (!isInside(offsetBytes, lengthBytes, source.node.lengthBytes)) return EIO
  checkQuiesced(source)
  const { limits: from } = source.node
  const { limits: to } = target.node
  const alignmentBytes = Math.max(from.requestAlignmentBytes, to.requestAlignmentBytes)
  const isPossible = copiesRanges(source.node, target.node) && isAligned(offsetBytes, lengthBytes, alignmentBytes)
  return isPossible ? OK : ENOTSUP
}

/** The read is tracked while the write waits: whoever waits for it does so on the source alone, so there is no circle. */
function* copyTracked(source: BlockNode, target: BlockNode, offsetBytes: number, lengthBytes: number): Co<Errno> {
  assert(source !== target, 'copy-between-nodes')
  source.enter()
  const reading = source.requests.begin(offsetBytes, lengthBytes)
  if (source.requests.hasSerialising) yield* source.requests.waitForConflicts(reading)
  target.enter()
  const writing = target.requests.begin(offsetBytes, lengthBytes)
  if (target.requests.hasSerialising) yield* target.requests.waitForConflicts(writing)
  const errno = yield* target.driver.copyFrom(source.driver, offsetBytes, lengthBytes)
  finishChange(target, offsetBytes, lengthBytes)
  target.requests.end(writing)
  target.leave()
  source.requests.end(reading)
  source.leave()
  return errno
}
