/** Amounts as qemu-img prints them: three significant digits, `1 MiB`, `388 KiB`, `1.5 GiB`. */
import { assert } from '../../co'

const UNITS = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei']

export function sizeText(bytes: number): string {
  assert(bytes >= 0, 'size-not-negative', () => String(bytes))
  // A value that three digits would show as 1024 or nearly so is one of the next unit.
  let power = 0
  while (power < UNITS.length - 1 && (bytes * 1.024) / 1024 ** power >= 1024) power++
  const value = bytes / 1024 ** power
  return `${threeDigits(value)} ${UNITS[power]}B`
}

/** As C prints `%0.3g`. */
function threeDigits(value: number): string {
  if (value === 0) return '0'
  const text = value.toPrecision(3)
  if (text.includes('e')) {
    const [digits, power] = text.split('e') as [string, string]
    const sign = power[0]!
    return `${digits.replace(/\.?0+$/, '')}e${sign}${power.slice(1).padStart(2, '0')}`
  }
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text
}
