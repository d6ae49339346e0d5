/**
 * Integers wider than 32 bits as words of 32 bits. Every function is total. A "jamming" shift to the right keeps a 1 in the
 * lowest bit if any bit that fell off was 1: an odd result then means "strictly between the even neighbours", which is all
 * that rounding at a coarser place needs to know.
 */

/** The upper 32 bits of the 64-bit product of two unsigned words, as a signed word. */
export function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff
  const aHigh = a >>> 16
  const bLow = b & 0xffff
  const bHigh = b >>> 16
  // (2^16 - 1)^2 + (2^16 - 1) < 2^32: neither of the middle sums wraps.
  const middle = (Math.imul(aHigh, bLow) + (Math.imul(aLow, bLow) >>> 16)) >>> 0
  const cross = (Math.imul(aLow, bHigh) + (middle & 0xffff)) >>> 0
  return (Math.imul(aHigh, bHigh) + (middle >>> 16) + (cross >>> 16)) | 0
}

const TWO_32 = 4294967296

/** The 128-bit product of two unsigned 64-bit numbers into four words, the highest first. */
export function multiply64(into: Int32Array, aHigh: number, aLow: number, bHigh: number, bLow: number): void {
  // Sums of three or four words stay below 2^34, which a number holds exactly.
  let sum = (multiplyHigh(aLow, bLow) >>> 0) + (Math.imul(aHigh, bLow) >>> 0) + (Math.imul(aLow, bHigh) >>> 0)
  into[3] = Math.imul(aLow, bLow)
  into[2] = sum
  sum =
    Math.floor(sum / TWO_32) +
    (multiplyHigh(aHigh, bLow) >>> 0) +
    (multiplyHigh(aLow, bHigh) >>> 0) +
    (Math.imul(aHigh, bHigh) >>> 0)
  into[1] = sum
  into[0] = multiplyHigh(aHigh, bHigh) + Math.floor(sum / TWO_32)
}

/** Shifts four words (the highest first) to the right, jamming. Any count from 0 up. */
export function shiftRightJam128(words: Int32Array, bits: number): void {
  let lost = 0
  let rest = bits < 128 ? bits : 128
  for (; rest >= 32; rest -= 32) {
    lost |= words[3]!
    words[3] = words[2]!
    words[2] = words[1]!
    words[1] = words[0]!
    words[0] = 0
  }
  if (rest > 0) {
    const left = 32 - rest
    lost |= words[3]! << left
    words[3] = (words[3]! >>> rest) | (words[2]! << left)
    words[2] = (words[2]! >>> rest) | (words[1]! << left)
    words[1] = (words[1]! >>> rest) | (words[0]! << left)
    words[0] = words[0]! >>> rest
  }
  if (lost !== 0) words[3]! |= 1
}

/** Shifts four words (the highest first), not all zero, to the left until the top bit is set; the number of places. */
export function normalise128(words: Int32Array): number {
  let bits = 0
  for (; words[0] === 0; bits += 32) {
    words[0] = words[1]!
    words[1] = words[2]!
    words[2] = words[3]!
    words[3] = 0
  }
  const left = Math.clz32(words[0]!)
  if (left > 0) {
    const right = 32 - left
    words[0] = (words[0]! << left) | (words[1]! >>> right)
    words[1] = (words[1]! << left) | (words[2]! >>> right)
    words[2] = (words[2]! << left) | (words[3]! >>> right)
    words[3] = words[3]! << left
  }
  return bits + left
}

/** a += b; whether it carried out of the 128 bits. */
export function add128(a: Int32Array, b: Int32Array): boolean {
  let carry = 0
  for (let at = 3; at >= 0; at--) {
    const sum = (a[at]! >>> 0) + (b[at]! >>> 0) + carry
    a[at] = sum
    carry = sum >= TWO_32 ? 1 : 0
  }
  return carry === 1
}

/** a -= b, for a >= b. */
export function subtract128(a: Int32Array, b: Int32Array): void {
  let borrow = 0
  for (let at = 3; at >= 0; at--) {
    const difference = (a[at]! >>> 0) - (b[at]! >>> 0) - borrow
    a[at] = difference
    borrow = difference < 0 ? 1 : 0
  }
}

/** Negative, zero or positive as a is less than, equal to or greater than b, both unsigned. */
export function compare128(a: Int32Array, b: Int32Array): number {
  for (let at = 0; at < 4; at++) if (a[at] !== b[at]) return a[at]! >>> 0 < b[at]! >>> 0 ? -1 : 1
  return 0
}
