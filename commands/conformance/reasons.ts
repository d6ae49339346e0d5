/**
 * Differences that are meant: `scenarios/conformance.json` holds each with its reason, the versions of QEMU that it is a difference to,
 * and what of a conversation it explains. `docs/conformance.md` is made from it.
 *
 * What never may: a reason that explains nothing any more and is still listed; one that explains what it does not name.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import type { Difference, Kind } from './compare'
import { DIMENSIONS, type Dimension, type Shape } from './dimensions'

export interface Reason {
  readonly name: string
  readonly reason: string
  /** First and last release, `7.2`; absent: any. */
  readonly from?: string
  readonly until?: string
  /** What it explains: kinds of lines, and what stands in them, as regular expressions. */
  readonly kinds: readonly Kind[]
  readonly asked?: string
  readonly at?: string
  readonly ours?: string
  readonly theirs?: string
  /** Of plans with these values alone. */
  readonly where?: { readonly [D in Dimension]?: ReadonlyArray<Shape[D]> }
}

export const REASONS_FILE = path.join(__dirname, '../../scenarios/conformance.json')

export function readReasons(): readonly Reason[] {
  return JSON.parse(fs.readFileSync(REASONS_FILE, 'utf8')) as readonly Reason[]
}

/** `7.2.22 (package)` as a number that can be compared. */
function releaseOf(version: string): number {
  const [major, minor] = version.split('.').map((part) => Number.parseInt(part, 10))
  return major! * 1000 + (minor ?? 0)
}

/** The reasons that hold for a version, and how often each was needed. */
export class Reasons {
  private readonly used = new Map<string, number>()
  private readonly held: readonly Reason[]

  constructor(version: string, reasons: readonly Reason[]) {
    const release = releaseOf(version)
    this.held = reasons.filter(
      ({ from, until }) =>
        (from === undefined || release >= releaseOf(from)) && (until === undefined || release <= releaseOf(until)),
    )
  }

  explain(difference: Difference, shape: Shape): string | null {
    const reason = this.held.find((each) => explains(each, difference, shape))
    if (reason === undefined) return null
    this.use(reason)
    return reason.name
  }

  /** Those that were not needed. */
  unused(): string[] {
    return this.held.filter(({ name }) => !this.used.has(name)).map(({ name }) => name)
  }

  counts(): Record<string, number> {
    return Object.fromEntries(this.used)
  }

  private use({ name }: Reason): void {
    this.used.set(name, (this.used.get(name) ?? 0) + 1)
  }
}

function explains({ kinds, asked, at, ours, theirs, where = {} }: Reason, difference: Difference, shape: Shape): boolean {
  const isWhere = Object.entries(where).every(([name, values]) =>
    (values as readonly string[]).includes(shape[name as Dimension]),
  )
  if (!isWhere || !kinds.includes(difference.kind)) return false
  const parts = [
    [asked, difference.asked],
    [at, difference.at],
    [ours, difference.ours],
    [theirs, difference.theirs],
  ] as const
  return parts.every(([pattern, text]) => pattern === undefined || new RegExp(pattern).test(text))
}

const REASON_CHARACTERS_LEAST = 20

/** What is wrong with the list itself, in words. */
export function faultsOf(reasons: readonly Reason[]): string[] {
  const faults: string[] = []
  const names = new Set<string>()
  for (const reason of reasons) {
    const { name, asked, at, ours, theirs, where = {} } = reason
    if (names.has(name)) faults.push(`${name}: listed twice`)
    names.add(name)
    if (reason.reason.length < REASON_CHARACTERS_LEAST) faults.push(`${name}: no reason`)
    const isNarrow = [asked, at, ours, theirs].some((pattern) => pattern !== undefined) || Object.keys(where).length > 0
    if (reason.kinds.length === 0 || !isNarrow) faults.push(`${name}: says nothing of what it explains`)
    for (const [dimension, values] of Object.entries(where)) {
      const known: readonly string[] = DIMENSIONS[dimension as Dimension] ?? []
      for (const value of values as readonly string[])
        if (!known.includes(value)) faults.push(`${name}: ${dimension} is never ${value}`)
    }
  }
  return faults
}
