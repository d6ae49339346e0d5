/**
 * Numbers as qemu-io reads and prints them: offsets and lengths with a unit behind them, pattern bytes, amounts of data with
 * three places, elapsed time.
 */
import { assert } from '../co'

/** The longest request, and the longest vector of them. */
export const LENGTH_MAX_BYTES = 0x7fffffff - 511

const INT64_END = 2n ** 63n
const UNITS = 'bkmgtpe'

/** A number that could not be read: why, in qemu-io's words. */
export class QuantityError extends Error {}

/**
 * Reads `64k`, `1.5M`, `0x200`. Throws QuantityError. Numbers above 2^53 are rounded: nothing so long can be asked for.
 */
export function parseQuantity(text: string): number {
  const match = /^[ \t]*\+?(?:(0[xX][0-9a-fA-F]+)|([0-9]+)(\.[0-9]*)?|(\.[0-9]+))([bkmgtpeBKMGTPE])?$/.exec(text)
  if (match === null) throw notNumeric(text)
  const [, hexadecimal, whole = '0', tail = '', bare, unit = 'b'] = match
  const shift = BigInt(UNITS.indexOf(unit.toLowerCase()) * 10)
  // `0x1b` ends in a digit; a fraction of a byte is none.
  if (hexadecimal !== undefined && match[5] !== undefined && shift === 0n) throw notNumeric(text)
  const digits = (bare ?? tail).slice(1).replace(/0+$/, '').slice(0, 18)
  if (digits !== '' && (shift === 0n || hexadecimal !== undefined)) throw notNumeric(text)
  let bytes = BigInt(hexadecimal ?? whole) << shift
  if (digits !== '') {
    const scale = 10n ** BigInt(digits.length)
    bytes += ((BigInt(digits) << shift) * 2n + scale) / (2n * scale)
  }
  if (bytes >= INT64_END) throw new QuantityError(`Parsing error: argument too large -- ${text}`)
  return Number(bytes)
}

function notNumeric(text: string): QuantityError {
  return new QuantityError(`Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- ${text}`)
}

/** A byte to fill buffers with. Throws QuantityError. */
export function parsePattern(text: string): number {
  const match = /^[ \t]*([+-]?)(0[xX][0-9a-fA-F]+|[0-9]+)$/.exec(text)
  const digits = match === null ? '' : match[2]!
  const isOctal = /^0[0-9]+$/.test(digits)
  const value = isOctal ? (/^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number.NaN) : Number(digits || Number.NaN)
  if (Number.isNaN(value) || value > 255 || (match![1] === '-' && value !== 0)) {
    throw new QuantityError(`${text} is not a valid pattern byte`)
  }
  return value
}

const AMOUNTS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB']

/** `64 KiB`, `1.500 MiB`, `512 bytes`: three places, none of them if all are zero. */
export function amountText(bytes: number): string {
  assert(!(bytes < 0), 'amount-not-negative', () => String(bytes))
  if (!Number.isFinite(bytes)) return 'inf EiB'
  let power = 0
  while (power < AMOUNTS.length - 1 && bytes >= 1024 ** (power + 1)) power++
  const value = bytes / 1024 ** power
  const text = power === 0 ? value.toFixed(6) : threePlaces(value)
  const cut = text.indexOf('.000')
  return `${cut < 0 ? text : text.slice(0, cut)} ${AMOUNTS[power]}`
}

/** As C rounds: a value in the middle between two goes to the even one. */
function threePlaces(value: number): string {
  const scaled = value * 1000
  const floor = Math.floor(scaled)
  const isTie = scaled - floor === 0.5
  return isTie ? ((floor + (floor % 2)) / 1000).toFixed(3) : value.toFixed(3)
}

/** `00.00 sec`, or with minutes and hours from a minute on; `isFixed`: always with all parts. */
export function elapsedText(elapsedNs: number, isFixed: boolean): string {
  const hundredths = Math.floor(elapsedNs / 1e7)
  const two = (value: number): string => String(value).padStart(2, '0')
  const seconds = Math.floor(hundredths / 100)
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60] as const
  const fraction = two(hundredths % 100)
  if (isFixed || seconds >= 60) return `${parts[0]}:${two(parts[1])}:${two(parts[2])}.${fraction}`
  return `${two(parts[2])}.${fraction} sec`
}
