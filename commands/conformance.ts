/**
 * npm run conformance: one set of plans as conversations with QEMU's storage daemon and with ours, compared by answers, events
 * and their order, progress, allocation and images. What differs has a reason in scenarios/conformance.json, which
 * docs/conformance.md shows; anything else makes the command fail, and so does a reason that is not needed any more.
 *
 * What never may: a pair that was not compared and counts as one that was; QEMU's programs absent without a word.
 */
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { Command } from 'commander'
import { Daemon } from './against/daemon'
import { type Capabilities, OwnPrograms, Programs } from './against/programs'
import { EXIT_OK, EXIT_USAGE, parseOrExitCode, runProgram, type Streams, wholeNumber } from './cli'
import { compareImages, compareLines, type Difference, imagesAfter } from './conformance/compare'
import { commonOf, converse } from './conformance/conversation'
import { documentOf } from './conformance/document'
import { type ConformancePlan, conformancePlans } from './conformance/plans'
import { Reasons, readReasons } from './conformance/reasons'
import { makeScratch, removeScratch, turnLoop, whileCleanedUp } from './interrupt'

const PAGE = path.join(__dirname, '../docs/conformance.md')
const EXIT_DIFFERS = 1
const TOLD_EVERY_MS = 5000
const PLANS_MAX = 10_000
/** Conversations are mostly waiting. */
const WORKERS = 4
/** Differences that are printed; all are counted. */
const SHOWN_MAX = 20
const SHOWN_CHARACTERS = 700

interface Arguments {
  runs?: number
  only?: string
  qemuBin?: string
  json?: boolean
  show?: boolean
  document?: boolean
}

interface Found extends Difference {
  readonly plan: string
}

export interface Conformance {
  version: string
  /** Conversations that were held with both and compared, and their lines. */
  pairs: number
  lines: number
  /** How often each reason was needed. */
  reasons: Record<string, number>
  unexplained: Found[]
  /** Listed reasons that nothing needs; looked for only where the whole set has run. */
  unused: string[]
}

/** One of the two, whose daemon is started anew when it is of no further use. */
class Side {
  private daemon: Daemon | null = null

  constructor(
    readonly programs: Programs,
    private readonly folder: string,
  ) {
    fs.mkdirSync(folder)
  }

  get images(): string {
    return path.join(this.folder, 'l')
  }

  async get(): Promise<Daemon> {
    this.daemon ??= await Daemon.start(this.programs, this.folder)
    return this.daemon
  }

  async end(): Promise<void> {
    const { daemon } = this
    this.daemon = null
    await daemon?.kill()
  }
}

/** One plan with both, side by side. */
async function pair(plan: ConformancePlan, sides: readonly [Side, Side], common: Capabilities): Promise<[Difference[], number]> {
  const told = await Promise.all(
    sides.map(async (side) => {
      const conversed = await converse(await side.get(), common, side.images, plan)
      if (conversed.isSpoilt) await side.end()
      return { conversed, states: await imagesAfter(conversed, plan, sides[1].programs) }
    }),
  )
  const [ours, theirs] = [told[0]!, told[1]!]
  const lines = compareLines(ours.conversed.lines, theirs.conversed.lines)
  const withCopy = ours.conversed.isCopy && theirs.conversed.isCopy
  return [[...lines, ...compareImages(ours.states, theirs.states, withCopy)], ours.conversed.lines.length]
}

/** `isWhole`: reasons that nothing needs are told. */
export async function conform(
  plans: readonly ConformancePlan[],
  isWhole: boolean,
  [ours, theirs]: readonly [Programs, Programs],
  folder: string,
  tell: (text: string) => void,
): Promise<Conformance> {
  const result: Conformance = { version: '', pairs: 0, lines: 0, reasons: {}, unexplained: [], unused: [] }
  const found = new Map<string, Difference[]>()
  const left = [...plans]
  let toldMs = performance.now()
  await Promise.all(
    Array.from({ length: Math.min(WORKERS, plans.length) }, async (_, index) => {
      const sides = [new Side(ours, path.join(folder, `o${index}`)), new Side(theirs, path.join(folder, `t${index}`))] as const
      try {
        const [mine, other] = [(await sides[0].get()).capabilities, (await sides[1].get()).capabilities]
        result.version = other.version
        for (let plan = left.shift(); plan !== undefined; plan = left.shift()) {
          const [differences, lines] = await pair(plan, sides, commonOf(mine, other))
          found.set(plan.name, differences)
          result.pairs++
          result.lines += lines
          await turnLoop()
          if (performance.now() - toldMs < TOLD_EVERY_MS) continue
          toldMs = performance.now()
          tell(`${result.pairs} of ${plans.length} plans`)
        }
      } finally {
        for (const side of sides) await side.end()
      }
    }),
  )
  const reasons = new Reasons(result.version, readReasons())
  for (const { name, shape } of plans) {
    for (const difference of found.get(name) ?? []) {
      if (reasons.explain(difference, shape) === null) result.unexplained.push({ plan: name, ...difference })
    }
  }
  result.reasons = reasons.counts()
  if (isWhole) result.unused = reasons.unused()
  return result
}

export function exitCodeOf({ unexplained, unused }: Conformance): number {
  return unexplained.length + unused.length === 0 ? EXIT_OK : EXIT_DIFFERS
}

function textOf({ version, pairs, lines, reasons, unexplained, unused }: Conformance): string {
  const out = [`conformance: ${pairs} plans beside QEMU ${version}, ${lines} lines compared`]
  for (const [name, count] of Object.entries(reasons)) out.push(`  ${count} × ${name}`)
  for (const { plan, kind, asked, at, ours, theirs } of unexplained.slice(0, SHOWN_MAX)) {
    out.push(`  DIFFERS in ${plan}: ${kind}: ${asked.slice(0, SHOWN_CHARACTERS)} ${at}`)
    out.push(`    ours:   ${ours.slice(0, SHOWN_CHARACTERS)}`, `    theirs: ${theirs.slice(0, SHOWN_CHARACTERS)}`)
  }
  for (const name of unused) out.push(`  NOT NEEDED: ${name}`)
  const verdict = unexplained.length === 0 ? '  nothing else differs' : `  ${unexplained.length} differences without a reason`
  return `${[...out, verdict].join('\n')}\n`
}

export function definition(): Command {
  return new Command('conformance')
    .description("Holds the same conversations with QEMU's storage daemon and with ours, and compares them.")
    .option('--runs <count>', 'the first plans of the set (default: all)', wholeNumber(1, PLANS_MAX))
    .option('--only <names>', 'plans by name, with commas between them')
    .option('--qemu-bin <folder>', "where QEMU's programs are (default: on the path)")
    .option('--show', 'print the plans and do nothing')
    .option('--document', 'write docs/conformance.md and do nothing else')
    .option('--json', 'print the result as one JSON object')
    .addHelpText('after', '\nExit codes: 0 the same, or not for a listed reason; 1 something else differs; 2 usage\n')
    .allowExcessArguments(false)
}

export async function main(args: readonly string[], streams: Streams): Promise<number> {
  const command = definition()
  const exitCode = parseOrExitCode(command, args, streams)
  if (exitCode !== null) return exitCode
  const { runs, only, qemuBin, json: isJson = false, show = false, document = false } = command.opts<Arguments>()
  const { out, err } = streams
  const names = only?.split(',')
  const all = conformancePlans()
  const strange = names?.find((name) => all.every((plan) => plan.name !== name))
  if (strange !== undefined) {
    err.write(`conformance: there is no plan '${strange}'; there are ${all[0]!.name} to ${all.at(-1)!.name}\n`)
    return EXIT_USAGE
  }
  if (document) {
    fs.writeFileSync(PAGE, documentOf(readReasons(), all.length))
    return EXIT_OK
  }
  const plans = all.slice(0, runs).filter(({ name }) => names?.includes(name) ?? true)
  if (show) {
    for (const { name, shape } of plans) out.write(`${JSON.stringify({ name, ...shape })}\n`)
    return EXIT_OK
  }
  const theirs = new Programs({ folder: qemuBin === undefined ? null : path.resolve(qemuBin), wrapper: [] })
  const missing = theirs.missing()
  if (missing !== null) {
    out.write(isJson ? `${JSON.stringify({ skipped: missing, pairs: 0 })}\n` : `conformance: skipped: ${missing}\n`)
    return EXIT_OK
  }
  const result = await whileCleanedUp(async () => {
    const folder = makeScratch(os.tmpdir(), 'mc')
    try {
      const tell = (text: string): unknown => err.write(`conformance: ${text}\n`)
      return await conform(plans, plans.length === all.length, [new OwnPrograms(), theirs], folder, tell)
    } finally {
      removeScratch(folder)
    }
  })
  const code = exitCodeOf(result)
  out.write(isJson ? `${JSON.stringify({ ...result, exitCode: code })}\n` : textOf(result))
  return code
}

if (require.main === module) runProgram('conformance', main)
