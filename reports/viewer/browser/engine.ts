/** What the simulator takes from Node's engine, for browsers: put in by the bundler wherever it is used. */
import { Buffer } from 'buffer'

type Bytes = Uint8Array

/** By Node's rules: -1, 0 or 1. */
function compareBytes(one: Bytes, from: number, end: number, other: Bytes, otherFrom: number, otherEnd: number): -1 | 0 | 1 {
  const count = Math.min(end - from, otherEnd - otherFrom)
  for (let index = 0; index < count; index++) {
    const difference = one[from + index]! - other[otherFrom + index]!
    if (difference !== 0) return difference < 0 ? -1 : 1
  }
  const longerBy = end - from - (otherEnd - otherFrom)
  return longerBy === 0 ? 0 : longerBy < 0 ? -1 : 1
}

// The package's own ones copy both sides whole before they look at the first byte; checkers compare parts of disks all the time.
Buffer.compare = (one: Bytes, other: Bytes) => compareBytes(one, 0, one.length, other, 0, other.length)
Buffer.prototype.compare = function (
  this: Buffer,
  target: Bytes,
  targetStart = 0,
  targetEnd = target.length,
  sourceStart = 0,
  sourceEnd = this.length,
): -1 | 0 | 1 {
  return compareBytes(this, sourceStart, sourceEnd, target, targetStart, targetEnd)
}

export { Buffer }
/** The tripwires put theirs here; nobody else looks. */
export const process: object = {}
