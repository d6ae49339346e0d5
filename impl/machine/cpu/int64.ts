/**
 * 64-bit integers as two 32-bit halves, without BigInt: what one JavaScript operator does not do. A result goes into
 * `result` ([0] low, [1] high), which the next call overwrites. Nothing here fails; division follows RISC-V (by zero: all
 * ones and the dividend; overflow: the dividend and zero).
 */
export const result = new Int32Array(2)

/** Unsigned order of two halves. */
export const below = (a: number, b: number): boolean => a >>> 0 < b >>> 0
export const lessUnsigned = (aLow: number, aHigh: number, bLow: number, bHigh: number): boolean =>
  aHigh === bHigh ? aLow >>> 0 < bLow >>> 0 : aHigh >>> 0 < bHigh >>> 0
export const lessSigned = (aLow: number, aHigh: number, bLow: number, bHigh: number): boolean =>
  aHigh === bHigh ? aLow >>> 0 < bLow >>> 0 : aHigh < bHigh

/** The high half of a sum whose low half is known. */
export const carryHigh = (aLow: number, aHigh: number, bHigh: number, sumLow: number): number =>
  (aHigh + bHigh + (sumLow >>> 0 < aLow >>> 0 ? 1 : 0)) | 0

function set(low: number, high: number): void {
  result[0] = low
  result[1] = high
}

/** The value of two halves taken as unsigned; exact below 2^53. */
export const toNumber = (low: number, high: number): number => (high >>> 0) * 0x1_0000_0000 + (low >>> 0)
export const highOf = (value: number): number => Math.floor(value / 0x1_0000_0000) | 0

export function shiftLeft(low: number, high: number, count: number): void {
  if (count === 0) set(low, high)
  else if (count < 32) set(low << count, (high << count) | (low >>> (32 - count)))
  else set(0, low << (count - 32))
}

export function shiftRight(low: number, high: number, count: number): void {
  if (count === 0) set(low, high)
  else if (count < 32) set((low >>> count) | (high << (32 - count)), high >>> count)
  else set(high >>> (count - 32), 0)
}

export function shiftRightSigned(low: number, high: number, count: number): void {
  if (count === 0) set(low, high)
  else if (count < 32) set((low >>> count) | (high << (32 - count)), high >> count)
  else set(high >> (count - 32), high >> 31)
}

export function rotateRight(low: number, high: number, count: number): void {
  const a = count < 32 ? low : high
  const b = count < 32 ? high : low
  const rest = count & 31
  if (rest === 0) set(a, b)
  else set((a >>> rest) | (b << (32 - rest)), (b >>> rest) | (a << (32 - rest)))
}

/** The high half of the 64-bit product of two unsigned halves. */
export function multiplyHigh32(a: number, b: number): number {
  const aLow = a & 0xffff
  const aHigh = a >>> 16
  const bLow = b & 0xffff
  const bHigh = b >>> 16
  const low = aLow * bLow
  const cross = aHigh * bLow + (low >>> 16)
  const middle = aLow * bHigh + (cross & 0xffff)
  // Neither sum exceeds 32 bits.
  return (aHigh * bHigh + (cross >>> 16) + (middle >>> 16)) | 0
}

export function multiply(aLow: number, aHigh: number, bLow: number, bHigh: number): void {
  set(Math.imul(aLow, bLow), (multiplyHigh32(aLow, bLow) + Math.imul(aLow, bHigh) + Math.imul(aHigh, bLow)) | 0)
}

/** The upper 64 of the 128 bits of an unsigned product. */
export function multiplyHighUnsigned(aLow: number, aHigh: number, bLow: number, bHigh: number): void {
  const first = multiplyHigh32(aLow, bLow) >>> 0
  const second = first + (Math.imul(aLow, bHigh) >>> 0) + (Math.imul(aHigh, bLow) >>> 0)
  const third =
    Math.floor(second / 0x1_0000_0000) +
    (multiplyHigh32(aLow, bHigh) >>> 0) +
    (multiplyHigh32(aHigh, bLow) >>> 0) +
    (Math.imul(aHigh, bHigh) >>> 0)
  set(third | 0, (Math.floor(third / 0x1_0000_0000) + multiplyHigh32(aHigh, bHigh)) | 0)
}

function subtractFromResult(low: number, high: number): void {
  const oldLow = result[0]!
  set((oldLow - low) | 0, (result[1]! - high - (below(oldLow, low) ? 1 : 0)) | 0)
}

export function multiplyHighSigned(aLow: number, aHigh: number, bLow: number, bHigh: number): void {
  multiplyHighUnsigned(aLow, aHigh, bLow, bHigh)
  if (aHigh < 0) subtractFromResult(bLow, bHigh)
  if (bHigh < 0) subtractFromResult(aLow, aHigh)
}

/** The first factor signed, the second not. */
export function multiplyHighMixed(aLow: number, aHigh: number, bLow: number, bHigh: number): void {
  multiplyHighUnsigned(aLow, aHigh, bLow, bHigh)
  if (aHigh < 0) subtractFromResult(bLow, bHigh)
}

const remainder = new Int32Array(2)

/** Bit by bit: quotients of more than 53 bits are rare. */
function divideLong(aLow: number, aHigh: number, bLow: number, bHigh: number): void {
  let quotientLow = aLow
  let quotientHigh = aHigh
  let restLow = 0
  let restHigh = 0
  for (let step = 0; step < 64; step++) {
    const carried = restHigh >>> 31
    restHigh = (restHigh << 1) | (restLow >>> 31)
    restLow = (restLow << 1) | (quotientHigh >>> 31)
    quotientHigh = (quotientHigh << 1) | (quotientLow >>> 31)
    quotientLow <<= 1
    if (carried === 1 || !lessUnsigned(restLow, restHigh, bLow, bHigh)) {
      const oldLow = restLow
      restLow = (restLow - bLow) | 0
      restHigh = (restHigh - bHigh - (below(oldLow, bLow) ? 1 : 0)) | 0
      quotientLow |= 1
    }
  }
  set(quotientLow, quotientHigh)
  remainder[0] = restLow
  remainder[1] = restHigh
}

function divideBoth(aLow: number, aHigh: number, bLow: number, bHigh: number): void {
  if ((bLow | bHigh) === 0) {
    set(-1, -1)
    remainder[0] = aLow
    remainder[1] = aHigh
  } else if ((aHigh | bHigh) === 0) {
    set(((aLow >>> 0) / (bLow >>> 0)) | 0, 0)
    remainder[0] = (aLow >>> 0) % (bLow >>> 0)
    remainder[1] = 0
  } else if (aHigh >>> 21 === 0 && bHigh >>> 21 === 0) {
    // Both below 2^53: the remainder of doubles is exact, and so is the division of what it leaves.
    const dividend = toNumber(aLow, aHigh)
    const divisor = toNumber(bLow, bHigh)
    const rest = dividend % divisor
    const quotient = (dividend - rest) / divisor
    set(quotient | 0, highOf(quotient))
    remainder[0] = rest | 0
    remainder[1] = highOf(rest)
  } else {
    divideLong(aLow, aHigh, bLow, bHigh)
  }
}

export function divideUnsigned(aLow: number, aHigh: number, bLow: number, bHigh: number): void {
  divideBoth(aLow, aHigh, bLow, bHigh)
}

export function remainderUnsigned(aLow: number, aHigh: number, bLow: number, bHigh: number): void {
  divideBoth(aLow, aHigh, bLow, bHigh)
  set(remainder[0]!, remainder[1]!)
}

const negatedHigh = (low: number, high: number): number => (low === 0 ? -high : ~high) | 0

function divideMagnitudes(aLow: number, aHigh: number, bLow: number, bHigh: number): void {
  divideBoth(
    aHigh < 0 ? -aLow | 0 : aLow,
    aHigh < 0 ? negatedHigh(aLow, aHigh) : aHigh,
    bHigh < 0 ? -bLow | 0 : bLow,
    bHigh < 0 ? negatedHigh(bLow, bHigh) : bHigh,
  )
}

export function divideSigned(aLow: number, aHigh: number, bLow: number, bHigh: number): void {
  divideMagnitudes(aLow, aHigh, bLow, bHigh)
  const isZero = (bLow | bHigh) === 0
  if (!isZero && (aHigh ^ bHigh) < 0) set(-result[0]! | 0, negatedHigh(result[0]!, result[1]!))
}

export function remainderSigned(aLow: number, aHigh: number, bLow: number, bHigh: number): void {
  divideMagnitudes(aLow, aHigh, bLow, bHigh)
  const low = remainder[0]!
  const high = remainder[1]!
  if (aHigh < 0) set(-low | 0, negatedHigh(low, high))
  else set(low, high)
}

export function countOnes(word: number): number {
  const pairs = word - ((word >>> 1) & 0x55555555)
  const fours = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333)
  return Math.imul((fours + (fours >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}

/** Zeros below the lowest one; 32 where there is none. */
export const trailingZeros32 = (word: number): number => (word === 0 ? 32 : 31 - Math.clz32(word & -word))
export const reverseBytes32 = (word: number): number =>
  (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)

/** Each byte that is not zero becomes all ones. */
export function spreadBytes32(word: number): number {
  const low7 = ((word & 0x7f7f7f7f) + 0x7f7f7f7f) | word
  return Math.imul((low7 >>> 7) & 0x01010101, 0xff)
}
