/** What a request did and how fast, and a dump of bytes: as qemu-io prints them. */
import { assert } from '../co'
import { amountText, elapsedText } from './quantity'
import type { IoHost } from './session'

export interface RequestReport {
  /** `wrote`, `read`, `discard`. */
  verb: string
  offsetBytes: number
  /** What was asked for. */
  countBytes: number
  /** What was done. */
  totalBytes: number
  elapsedNs: number
  /** One line of numbers for programs. */
  isTerse: boolean
}

export function printReport(host: IoHost, report: RequestReport): void {
  const { verb, offsetBytes, countBytes, totalBytes, elapsedNs, isTerse } = report
  assert(elapsedNs >= 0, 'report-elapsed')
  const perSecond = (amount: number): number => (amount === 0 ? 0 : (amount * 1e9) / elapsedNs)
  const elapsed = elapsedText(elapsedNs, isTerse)
  if (isTerse) {
    host.out(`${totalBytes},1,${elapsed},${decimals(perSecond(totalBytes), 3)},${decimals(perSecond(1), 3)}\n`)
    return
  }
  host.out(`${verb} ${totalBytes}/${countBytes} bytes at offset ${offsetBytes}\n`)
  const rates = `${amountText(perSecond(totalBytes))}/sec and ${decimals(perSecond(1), 4)} ops/sec`
  host.out(`${amountText(totalBytes)}, 1 ops; ${elapsed} (${rates})\n`)
}

function decimals(value: number, places: number): string {
  return Number.isFinite(value) ? value.toFixed(places) : 'inf'
}

const ROW_BYTES = 16

/** Sixteen bytes a line, with letters and digits beside them. */
export function dumpText(bytes: Uint8Array, offsetBytes: number): string {
  const lines: string[] = []
  for (let at = 0; at < bytes.length; at += ROW_BYTES) {
    const row = bytes.subarray(at, at + ROW_BYTES)
    let digits = ''
    let letters = ''
    for (const byte of row) {
      digits += `${byte.toString(16).padStart(2, '0')} `
      const letter = String.fromCharCode(byte)
      letters += /[0-9A-Za-z]/.test(letter) ? letter : '.'
    }
    lines.push(`${(offsetBytes + at).toString(16).padStart(8, '0')}:  ${digits} ${letters}\n`)
  }
  return lines.join('')
}
