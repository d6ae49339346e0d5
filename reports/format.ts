/**
 * The report: one JSON file that is the whole reproduction of a failure. It holds the plan, so it replays without the
 * generator that made it; the seed is a label.
 *
 * Reading trusts nothing: a file that is not a whole report of this version gives one line that says where and why, and
 * never an exception. Writing is atomic: whoever finds the file finds all of it, even after a crash.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import type { OwnFault } from '../sim/faults'
import type { Plan } from '../sim/plan'
import { EXIT_CODES, type Failure, type FailureClass, type TraceRecord, type WorldResult } from '../sim/verdict'

export const REPORT_FORMAT = 'mirrorsim-report'
export const REPORT_VERSION = 1
/** Reports are small; whatever is larger is something else. */
const REPORT_BYTES_MAX = 64 * 1024 * 1024
const READ_BYTES = 64 * 1024

/** The file. */
export interface Report {
  /** Tells a report from other files. */
  format: typeof REPORT_FORMAT
  /** Of this format; a program reads one version. */
  version: typeof REPORT_VERSION
  /** What was found. */
  failure: Failure
  /** Where it came from; nothing here is needed to run the plan. */
  label: {
    /** Of which the plan was made. */
    seed: string
    /** Which the generator was asked for. */
    profile: string
    /** Of the repository, or `unknown`; ends in `+` if files had been changed. */
    revision: string
    /** Version of Node. */
    node: string
    /** The command line that found the failure. */
    command: string
  }
  /** The world. */
  plan: Plan
  /** Present: no world, but a lifecycle on real programs of somebody else; `options` are those of the driver. */
  against?: {
    /** What was run. */
    program: string
    /** By name. */
    options: Record<string, string | number>
    /** Repetitions of the plan as it is here, and how many of them failed: real time is not the same twice. */
    attempts: number
    /** How many of them failed. */
    failed: number
  }
  /** Decisions that differ from what the plan's seed gives, by key; absent: none. */
  decisions?: Record<string, number>
  /** What happened until the failure. */
  trace: {
    /** Until the failure. */
    events: number
    /** Virtual time of the failure. */
    timeNs: number
    /** The rolling hash over all events, 8 hexadecimal digits. */
    hash: string
    /** The rolling hash at each 64th event. */
    checkpoints: string[]
    /** The last events before the failure. */
    last: TraceRecord[]
  }
}

/** A report, or one line that says where and why it is none. */
export type Reading = { ok: true; report: Report } | { ok: false; reason: string }

/** What of a world's result a report holds. */
export type Outcome = Pick<WorldResult, 'failure' | 'events' | 'timeNs' | 'hash' | 'checkpoints' | 'trace'>

/** The report of a world that failed. Throws an error if it did not. */
export function makeReport(
  plan: Plan,
  { failure, events, timeNs, hash, checkpoints, trace }: Outcome,
  label: Omit<Report['label'], 'node'>,
  decisions?: Readonly<Record<string, number>>,
): Report {
  if (failure === null) throw new Error('only a world that failed has a report')
  return {
    format: REPORT_FORMAT,
    version: REPORT_VERSION,
    failure,
    label: { ...label, node: process.versions.node },
    plan,
    ...(decisions === undefined ? {} : { decisions: { ...decisions } }),
    trace: { events, timeNs, hash, checkpoints: [...checkpoints], last: [...trace] },
  }
}

/** JSON in which each operation of the plan and each event has a line of its own, so that two reports can be compared. */
export function formatReport(report: Report): string {
  const oneLine = (value: unknown): string => JSON.stringify(value)
  const list = (values: readonly unknown[], indent: string): string =>
    values.length === 0 ? '[]' : `[\n${values.map((value) => `${indent}  ${oneLine(value)}`).join(',\n')}\n${indent}]`
  const body = (fields: object, indent: string): string => {
    const entries = Object.entries(fields).filter(([, value]) => value !== undefined)
    const lines = entries.map(([name, value]) => {
      const isList = Array.isArray(value) && typeof value[0] === 'object'
      const text =
        name === 'plan' || name === 'trace' ? body(value, `${indent}  `) : isList ? list(value, `${indent}  `) : oneLine(value)
      return `${indent}  ${oneLine(name)}: ${text}`
    })
    return `{\n${lines.join(',\n')}\n${indent}}`
  }
  return `${body(report, '')}\n`
}

/**
 * Makes a folder and those above it. Throws the system's error where that cannot be. Not by `recursive`: where a file
 * system refuses new folders with ENOENT, as /proc does, that never ends.
 */
export function makeFolder(folder: string): void {
  const missing: string[] = []
  for (let at = path.resolve(folder); !fs.existsSync(at); at = path.dirname(at)) missing.push(at)
  for (const each of missing.reverse()) {
    try {
      fs.mkdirSync(each)
    } catch (error) {
      // Another process may make the same ones.
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
  }
}

/**
 * Writes a report so that the file appears whole or not at all, and stays after a crash. Creates the folder. Throws the
 * system's error where that cannot be.
 */
export function writeReport(file: string, report: Report): void {
  const folder = path.dirname(file)
  makeFolder(folder)
  const partial = `${file}.tmp`
  try {
    const descriptor = fs.openSync(partial, 'w')
    try {
      fs.writeFileSync(descriptor, formatReport(report))
      fs.fsyncSync(descriptor)
    } finally {
      fs.closeSync(descriptor)
    }
    fs.renameSync(partial, file)
  } catch (error) {
    fs.rmSync(partial, { force: true })
    throw error
  }
  const folderDescriptor = fs.openSync(folder, 'r')
  try {
    fs.fsyncSync(folderDescriptor)
  } finally {
    fs.closeSync(folderDescriptor)
  }
}

/** The name of a report's file: what failed, and where it came from. */
export function reportFileName(key: string, seed: string): string {
  const plain = (text: string): string => text.replace(/[^A-Za-z0-9._-]+/g, '-')
  return `${plain(key)}--${plain(seed)}.json`
}

/** The text of a file, which may be a device without an end; null if it is longer than `bytesMax`. */
function readBounded(file: string, bytesMax: number): string | null {
  const pieces: Buffer[] = []
  let lengthBytes = 0
  const descriptor = fs.openSync(file, 'r')
  try {
    while (lengthBytes <= bytesMax) {
      const piece = Buffer.allocUnsafe(READ_BYTES)
      const count = fs.readSync(descriptor, piece)
      if (count === 0) return Buffer.concat(pieces).toString('utf8')
      pieces.push(piece.subarray(0, count))
      lengthBytes += count
    }
  } finally {
    fs.closeSync(descriptor)
  }
  return null
}

/** Reads a report from a file. `own`: faults that are brought along when it runs. */
export function readReport(file: string, own: readonly OwnFault[] = []): Reading {
  let text: string | null
  try {
    text = readBounded(file, REPORT_BYTES_MAX)
  } catch (error) {
    return { ok: false, reason: `${file}: cannot be read: ${(error as NodeJS.ErrnoException).code ?? error}` }
  }
  if (text === null) return { ok: false, reason: `${file}: more than ${REPORT_BYTES_MAX} bytes are too many for a report` }
  const reading = parseReport(text, own)
  return reading.ok ? reading : { ok: false, reason: `${file}: ${reading.reason}` }
}

/** Reads a report from text; every field is checked, unknown ones are refused. */
export function parseReport(text: string, own: readonly OwnFault[] = []): Reading {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    return { ok: false, reason: `not JSON: ${(error as Error).message.replace(/[\s\p{Cc}]+/gu, ' ')}` }
  }
  const { format, version } = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>
  if (format !== REPORT_FORMAT) return { ok: false, reason: `not a report: "format" is not "${REPORT_FORMAT}"` }
  if (version !== REPORT_VERSION) {
    return { ok: false, reason: `a report of version ${JSON.stringify(version)}; this program reads version ${REPORT_VERSION}` }
  }
  return checkFields(value, own)
}

/** The schema library and the plan's checker are loaded here: writing reports needs neither. */
function checkFields(value: unknown, own: readonly OwnFault[]): Reading {
  const v: typeof import('valibot') = require('valibot')
  const { checkPlan }: typeof import('../sim/plan_check') = require('../sim/plan_check')
  const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
  const record = v.strictObject({ step: count, timeNs: count, lane: v.string(), text: v.string() })
  const failure = v.strictObject({
    class: v.picklist(Object.keys(EXIT_CODES) as FailureClass[]),
    key: v.pipe(v.string(), v.minLength(1)),
    text: v.string(),
    disk: v.exactOptional(v.picklist(['source', 'destination', 'guest'])),
    offsetBytes: v.exactOptional(count),
    lengthBytes: v.exactOptional(count),
    chunkIndex: v.exactOptional(count),
    operationId: v.exactOptional(v.string()),
    expected: v.exactOptional(v.string()),
    actual: v.exactOptional(v.string()),
    details: v.exactOptional(v.array(v.string())),
    step: count,
    timeNs: count,
  })
  const hash = v.pipe(v.string(), v.regex(/^[0-9a-f]{8}$/, 'not 8 hex digits'))
  const schema = v.strictObject({
    format: v.literal(REPORT_FORMAT),
    version: v.literal(REPORT_VERSION),
    failure,
    label: v.strictObject({ seed: v.string(), profile: v.string(), revision: v.string(), node: v.string(), command: v.string() }),
    plan: v.custom<Plan>((plan) => typeof plan === 'object' && plan !== null, 'not a plan'),
    decisions: v.exactOptional(v.record(v.string(), count)),
    against: v.exactOptional(
      v.strictObject({
        program: v.string(),
        options: v.record(v.string(), v.union([v.string(), count])),
        attempts: count,
        failed: count,
      }),
    ),
    trace: v.strictObject({ events: count, timeNs: count, hash, checkpoints: v.array(hash), last: v.array(record) }),
  })
  const parsed = v.safeParse(schema, value, { abortEarly: true })
  if (!parsed.success) {
    const issue = parsed.issues[0]
    return { ok: false, reason: `${v.getDotPath(issue) ?? 'report'}: ${issue.message.replace(/\s+/g, ' ')}` }
  }
  const reason = checkPlan(parsed.output.plan, own)
  return reason === null ? { ok: true, report: parsed.output } : { ok: false, reason }
}
