/**
 * A failure for a person who has not seen the code: what broke in words, where, what was expected, the last events in
 * fixed columns and the command that shows it again. At most TEXT_LINES_MAX lines of at most COLUMNS_MAX characters.
 */
import { faultOf } from '../sim/faults'
import type { FaultPlan } from '../sim/plan'
import type { TraceRecord } from '../sim/verdict'
import type { Report } from './format'

export const TEXT_LINES_MAX = 40
export const COLUMNS_MAX = 130
const DETAILS_MAX = 8
/** Each takes the line of an event. */
const FAULTS_MAX = 3
const EVENTS_MAX = 14

/** Words that a terminal may emphasise; `plainStyle` leaves them as they are. */
export interface Style {
  bold(text: string): string
  red(text: string): string
  dim(text: string): string
}
export const plainStyle: Style = { bold: (text) => text, red: (text) => text, dim: (text) => text }

/** `file` is where the report lies, for the command; null leaves the command out. */
export function failureText(report: Report, file: string | null, style: Style = plainStyle): string {
  const { failure, label, plan, trace } = report
  const lines = [style.red(style.bold(clip(`${failure.class}: ${failure.key}`))), clip(`  ${failure.text}`), '']
  const fact = (name: string, value: string | undefined): void => {
    if (value !== undefined) lines.push(clip(`  ${name.padEnd(11)}${value}`))
  }
  fact('disk', failure.disk)
  if (failure.offsetBytes !== undefined) fact('offset', rangeText(failure.offsetBytes, failure.lengthBytes))
  fact('chunk', failure.chunkIndex?.toString())
  fact('operation', failure.operationId === undefined ? undefined : operationText(report, failure.operationId))
  fact('expected', failure.expected)
  fact('actual', failure.actual)
  fact('when', `event ${failure.step} of ${trace.events}, ${timeText(failure.timeNs)} of virtual time`)
  fact('world', `seed ${label.seed}, ${worldText(plan)}`)
  const faults = plan.faults.slice(0, FAULTS_MAX).map(faultText)
  for (const text of faults) fact('fault', text)
  fact('code', `revision ${label.revision}, node ${label.node}`)
  pushList(lines, failure.details ?? [], DETAILS_MAX, (line) => clip(`  ${line}`))
  if (trace.last.length > 0) {
    lines.push('', style.dim(eventColumns('event', 'time', 'who', 'what')))
    for (const record of trace.last.slice(faults.length - EVENTS_MAX)) lines.push(eventText(record))
  }
  if (file !== null) lines.push('', `  ${style.bold(`npm run replay -- ${file}`)}`)
  return `${lines.join('\n')}\n`
}

/** One event in fixed columns. */
export function eventText(record: TraceRecord): string {
  return clip(eventColumns(`#${record.step}`, timeText(record.timeNs), record.lane, record.text))
}

function eventColumns(step: string, time: string, lane: string, text: string): string {
  return `  ${step.padStart(7)} ${time.padStart(13)}  ${lane.padEnd(12)} ${text}`
}

/** Virtual time in microseconds with all its digits: `12.345 us`. */
export function timeText(timeNs: number): string {
  const fraction = timeNs % 1000
  return `${(timeNs - fraction) / 1000}.${String(fraction).padStart(3, '0')} us`
}

function rangeText(offsetBytes: number, lengthBytes: number | undefined): string {
  const place = `${offsetBytes} (0x${offsetBytes.toString(16)})`
  if (lengthBytes === undefined) return place
  const endBytes = offsetBytes + lengthBytes
  return `${place}, ${lengthBytes} bytes, sectors [${Math.floor(offsetBytes / 512)}, ${Math.ceil(endBytes / 512)})`
}

function operationText(report: Report, id: string): string {
  const { guest, control, faults } = report.plan
  const operation = guest.find((other) => other.id === id)
  if (operation !== undefined) {
    const { kind, offsetBytes, lengthBytes, lane } = operation
    return `${id}: guest ${kind} of ${lengthBytes} bytes at ${offsetBytes}, lane ${lane}`
  }
  const fault = faults.find((one) => one.id === id)
  if (fault !== undefined) return faultText(fault)
  const order = control.find((one) => one.id === id)
  return order === undefined ? id : `${id}: ${order.kind}`
}

function faultText(fault: FaultPlan): string {
  const { name, about } = faultOf(fault)
  return `${fault.id}: ${name} at a ${fault.operation} of the ${fault.disk}: ${about}`
}

function worldText({ guest, control, faults, mirror, source, profile }: Report['plan']): string {
  const counts = `${counted(guest.length, 'guest operation')}, ${counted(control.length, 'control')}, ${counted(faults.length, 'fault')}`
  return `${profile}, ${mirror.copyMode}, sync ${mirror.sync}, ${source.lengthBytes} bytes, ${counts}`
}

/** `1 fault`, `2 faults`, `1,234 faults`. */
export function counted(count: number, noun: string): string {
  return `${grouped(count)} ${noun}${count === 1 ? '' : 's'}`
}

/** 12345 → 12,345, in every locale. */
export function grouped(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',')
}

function pushList(lines: string[], list: readonly string[], max: number, format: (line: string) => string): void {
  if (list.length === 0) return
  lines.push('')
  for (const line of list.slice(0, max)) lines.push(format(line))
  if (list.length > max) lines.push(format(`and ${list.length - max} more`))
}

function clip(line: string): string {
  const flat = line.replace(/\s*\n\s*/g, ' ')
  return flat.length <= COLUMNS_MAX ? flat : `${flat.slice(0, COLUMNS_MAX - 1)}…`
}
