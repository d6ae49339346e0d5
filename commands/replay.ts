/**
 * npm run replay -- FILE: runs the world of a report again and says one of five things about it (reports/verdict.ts), with
 * the failure in words. Works on the plan alone: neither the seed nor today's generator matters.
 */
import { Command } from 'commander'
import { checkExactness, hangResult, type Runner, runOrCatch } from '../properties/campaign'
import { type Report, readReport, writeReport } from '../reports/format'
import { counted, eventText, failureText, plainStyle, type Style } from '../reports/text'
import { type Judgement, judgeReplay, judgeStale } from '../reports/verdict'
import type { Plan } from '../sim/plan'
import type { WorldResult } from '../sim/verdict'
import { EXIT_CODES_HELP, parseOrExitCode, runProgram, type Streams } from './cli'
import { HANG_SECONDS } from './fleet'
import { finishesWithin } from './guard'
import { whileInterruptible } from './interrupt'
import type { Output } from './progress'

const VERDICTS_HELP = `
Prints one of:
  reproduced                  the same failure after the same events
  reproduced-different-trace  the same failure after other events: the code has moved on
  fixed                       no failure any more; exit code 0
  other-failure               another failure
  stale                       the report cannot be read; exit code 2
`

interface ReplayOptions {
  json?: boolean
  trace?: boolean
  shrink?: boolean
}

export interface ReplayContext {
  out: Output
  /** For what goes wrong beside the result. Absent: nobody hears of it. */
  err?: Output
  subject: () => Runner
  style?: Style
  hangSeconds?: number
  /** For shrinking: what a world decides, by key. Absent: decisions are left as they are. */
  decisionsOf?: (plan: Plan, decisions?: Readonly<Record<string, number>>) => Record<string, number>
  /** Ends the shrinking with what it has. Absent: nobody does. */
  stop?: AbortSignal
}

const NEVER = new AbortController().signal

/** Replays one file and prints the outcome; gives the exit code. */
export async function replay(file: string, options: ReplayOptions, context: ReplayContext): Promise<number> {
  const { out, subject, style = plainStyle, hangSeconds = HANG_SECONDS } = context
  const reading = readReport(file)
  if (!reading.ok) return printJudgement(judgeStale(reading.reason), null, options, out, style)
  const { report } = reading
  const runner = subject()
  const result = runReport(report, withDecisions(runner, report.decisions), options.trace === true, hangSeconds)
  const again = reportOf(report, report.plan, result)
  if (options.trace === true && options.json !== true) for (const record of result.trace) out.write(`${eventText(record)}\n`)
  const exitCode = printJudgement(judgeReplay(report, result), again, options, out, style)
  if (options.shrink === true && again !== null) {
    const text = await shrinkReport(file, again, result, { ...context, stop: context.stop ?? NEVER }, runner)
    if (options.json !== true) out.write(`\n${text}`)
  }
  return exitCode
}

/** Worlds between two looks at signals: some 20 ms. */
const SHRINK_STRETCH = 16

/** Writes the smallest world that fails in the same way beside the report; gives its text. Ctrl-C keeps the best so far. */
async function shrinkReport(
  file: string,
  report: Report,
  result: WorldResult,
  context: ReplayContext & { stop: AbortSignal },
  subject: Runner,
): Promise<string> {
  const { decisionsOf, stop } = context
  const { Shrinker }: typeof import('../properties/shrink') = require('../properties/shrink')
  const shrinker = new Shrinker(report.plan, report.decisions, result, {
    run: (plan, decisions) => runOrCatch(withDecisions(subject, decisions), plan, 'last'),
    ...(decisionsOf === undefined ? {} : { decisionsOf }),
  })
  let isOver = false
  while (!isOver && !stop.aborted) {
    for (let count = 0; count < SHRINK_STRETCH && !isOver; count++) isOver = !shrinker.step()
    await new Promise((resolve) => setImmediate(resolve))
  }
  const { best } = shrinker
  const { decisions: _, ...rest } = report
  const small = reportOf(rest, best.plan, best.result)
  if (small === null) throw new Error('the shrinker gave a world that does not fail')
  if (best.decisions !== undefined) small.decisions = { ...best.decisions }
  const smallFile = file.replace(/([.]json)?$/, '.small.json')
  const shown = isWritten(smallFile, small, context.err) ? smallFile : null
  const how = `${best.isMinimal ? 'nothing can be left out' : 'not minimal yet'} after ${counted(best.runs, 'world')}`
  return `${failureText(small, shown)}\nshrunk: ${how}\n`
}

/** Whether the report could be written; says why not. */
function isWritten(file: string, report: Report, err: Output | undefined): boolean {
  try {
    writeReport(file, report)
    return true
  } catch (error) {
    err?.write(`replay: ${file} cannot be written: ${(error as NodeJS.ErrnoException).code ?? error}\n`)
    return false
  }
}

/** The report with what its world does now; null if the world does not fail. */
function reportOf(report: Report, plan: Plan, result: WorldResult): Report | null {
  const { failure, events, timeNs, hash, checkpoints, trace } = result
  return failure === null ? null : { ...report, plan, failure, trace: { events, timeNs, hash, checkpoints, last: trace } }
}

/** Every world of the runner gets the report's decisions. */
function withDecisions(runner: Runner, decisions: Report['decisions']): Runner {
  return decisions === undefined ? runner : { run: (plan, trace) => runner.run(plan, trace, decisions) }
}

/** A report about two runs that differ takes two runs; one about a hang takes a guard. */
function runReport(report: Report, subject: Runner, wholeTrace: boolean, hangSeconds: number): WorldResult {
  let result: WorldResult | undefined
  const finished = finishesWithin(hangSeconds * 1000, () => {
    result = runOrCatch(subject, report.plan, wholeTrace ? 'all' : 'last')
    if (report.failure.class === 'nondeterminism') result = checkExactness(subject, report.plan, result)
  })
  if (finished && result !== undefined) return result
  return hangResult(hangSeconds)
}

function printJudgement(judgement: Judgement, again: Report | null, options: ReplayOptions, out: Output, style: Style): number {
  if (options.json === true) {
    out.write(`${JSON.stringify({ ...judgement, failure: again?.failure ?? null })}\n`)
    return judgement.exitCode
  }
  if (again !== null) out.write(`${failureText(again, null, style)}\n`)
  out.write(`${style.bold(judgement.text)}\n`)
  return judgement.exitCode
}

/** The options, as --help and docs/reference.md show them. */
export function definition(): Command {
  return new Command('replay')
    .description('Runs the world of a report again and says whether it still fails.')
    .argument('<file>', 'a report')
    .option('--json', 'print the outcome as one JSON object')
    .option('--trace', 'print all events, not only the last ones')
    .option('--shrink', 'look for the smallest world that fails in the same way; writes FILE.small.json')
    .addHelpText('after', VERDICTS_HELP + EXIT_CODES_HELP)
    .allowExcessArguments(false)
}

export async function main(args: readonly string[], streams: Streams): Promise<number> {
  const command = definition()
  const exitCode = parseOrExitCode(command, args, streams)
  if (exitCode !== null) return exitCode
  const subject = (): Runner => {
    const { subjectOf }: typeof import('./subject') = require('./subject')
    return subjectOf('default')
  }
  const decisionsOf: ReplayContext['decisionsOf'] = (plan, decisions) => {
    const real: typeof import('./subject') = require('./subject')
    return real.decisionsOf(plan, decisions)
  }
  const style: Style = streams.out.isTTY === true ? require('picocolors') : plainStyle
  return whileInterruptible((stop) =>
    replay(command.args[0]!, command.opts<ReplayOptions>(), { ...streams, subject, style, decisionsOf, stop }),
  )
}

if (require.main === module) runProgram('replay', main)
