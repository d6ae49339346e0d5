/** Sizes and times as people write and read them. */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
const SUFFIXES = 'KMGTP'

/** `512`, `64K`, `1.5G`: bytes, by powers of 1024. null if it is no such thing, or no whole number below 2^53. */
export function parseSize(text: string): number | null {
  const match = /^(\d{1,16})(?:[.](\d{1,9}))?([KMGTP]?)(?:i?B)?$/i.exec(text)
  if (match === null) return null
  const [, whole, fraction = '', suffix = ''] = match
  const unitBytes = 1024 ** (suffix === '' ? 0 : SUFFIXES.indexOf(suffix.toUpperCase()) + 1)
  const bytes = Number(`${whole}.${fraction}`) * unitBytes
  return Number.isSafeInteger(bytes) ? bytes : null
}

/** `1.5 GiB`; three digits at least where there are that many. */
export function sizeText(bytes: number): string {
  let unit = 0
  let value = bytes
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024
    unit++
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2
  return `${value.toFixed(digits)} ${UNITS[unit]}`
}

/** `4 s`, `2 min 5 s`, `1 h 2 min`. */
export function durationText(seconds: number): string {
  const whole = Math.ceil(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}
