/**
 * npm run softfloat: every floating-point instruction of F and D on many operands, held against exact rationals that are
 * rounded by definition, or (`--peer`) against what qemu-riscv64 computes; or (`--speed`) what an operation costs. The n-th
 * case of a seed is always the same.
 *
 * What never may: an operation that was not tried and counts as right; a peer absent without a word.
 */
import { Command } from 'commander'
import { OperandSource } from '../impl/machine/softfloat/testing_operands'
import {
  type Case,
  differenceText,
  firstMismatch,
  given,
  nextCase,
  OPERATIONS,
  type Operation,
} from '../impl/machine/softfloat/testing_operations'
import { counted, grouped } from '../reports/text'
import { EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, parseOrExitCode, runProgram, type Streams, wholeNumber } from './cli'
import { turnLoop, whileCleanedUp, whileInterruptible } from './interrupt'
import { SoftfloatPeer } from './softfloat_peer'
import { type SpeedRow, speedOf, speedText } from './softfloat_speed'

const EXIT_DIFFERS = 1
const CHUNK_CASES = 5000

interface Arguments {
  count: number
  seed: number
  peer?: boolean
  speed?: boolean
  json?: boolean
}

/** Cases tried, and the first that differs. */
export interface SweepRow {
  operation: string
  cases: number
  difference: string | null
}

type Check = (operation: Operation, source: OperandSource, count: number) => string | undefined

/** Checks against the definition, or against the peer, whose answers come for a chunk of cases at once. */
function checkOf(peer: SoftfloatPeer | null): Check {
  if (peer === null) return firstMismatch
  return (operation, source, count) => {
    const cases: Case[] = Array.from({ length: count }, () => nextCase(operation, source))
    const answers = peer.answers(operation, cases)
    for (const [at, one] of cases.entries()) {
      const is = given(operation, one, 0)
      const expected = answers[at]!
      if (is.bits !== expected.bits || is.flags !== expected.flags) return differenceText(operation, one, is, expected)
    }
    return undefined
  }
}

async function sweep(operations: Operation[], options: Arguments, check: Check, streams: Streams, stop: AbortSignal) {
  const rows: SweepRow[] = []
  for (const operation of operations) {
    const source = new OperandSource(options.seed)
    let cases = 0
    let difference: string | null = null
    while (cases < options.count && difference === null && !stop.aborted) {
      const count = Math.min(CHUNK_CASES, options.count - cases)
      difference = check(operation, source, count) ?? null
      cases += count
      await turnLoop()
    }
    rows.push({ operation: operation.name, cases, difference })
    if (stop.aborted) break
    if (options.json !== true)
      streams.err.write(`${operation.name.padEnd(10)} ${grouped(cases)}${difference ? ' DIFFERS' : ''}\n`)
  }
  return rows
}

function sweepText(rows: SweepRow[], wasInterrupted: boolean): string {
  const cases = rows.reduce((sum, row) => sum + row.cases, 0)
  const differences = rows.flatMap(({ difference }) => (difference === null ? [] : [`  ${difference}`]))
  const head = `${counted(rows.length, 'operation')}, ${counted(cases, 'case')}, ${counted(differences.length, 'difference')}`
  return [`${head}${wasInterrupted ? ', interrupted' : ''}`, ...differences, ''].join('\n')
}

/** The options, as --help and docs/reference.md show them. */
export function definition(): Command {
  return new Command('softfloat')
    .description('Holds the floating-point instructions against exact arithmetic, or against qemu-riscv64.')
    .argument('[operations...]', 'mnemonics, as fadd.d (default: all)')
    .option('--count <cases>', 'cases an operation', wholeNumber(1, 1e9), 200_000)
    .option('--seed <number>', 'which cases', wholeNumber(0, 2 ** 31), 1)
    .option('--peer', 'compare with qemu-riscv64; needs it and riscv64-linux-gnu-gcc')
    .option('--speed', 'measure instead of comparing')
    .option('--json', 'print the result as one JSON object')
}

async function compareAll(operations: Operation[], options: Arguments, streams: Streams): Promise<number> {
  return await whileCleanedUp(async () => {
    const peer = options.peer === true ? SoftfloatPeer.build(operations) : null
    try {
      return await whileInterruptible(async (stop) => {
        const rows = await sweep(operations, options, checkOf(peer), streams, stop)
        const differs = rows.some(({ difference }) => difference !== null)
        const exitCode = stop.aborted ? EXIT_INTERRUPTED : differs ? EXIT_DIFFERS : EXIT_OK
        streams.out.write(options.json === true ? `${JSON.stringify({ rows, exitCode })}\n` : sweepText(rows, stop.aborted))
        return exitCode
      })
    } finally {
      peer?.remove()
    }
  })
}

export async function main(args: readonly string[], streams: Streams): Promise<number> {
  const command = definition()
  const exitCode = parseOrExitCode(command, args, streams)
  if (exitCode !== null) return exitCode
  const names = OPERATIONS.map(({ name }) => name)
  const unknown = command.args.find((name) => !names.includes(name))
  if (unknown !== undefined) {
    streams.err.write(`softfloat: there is no operation '${unknown}'; there are: ${names.join(', ')}\n`)
    return EXIT_USAGE
  }
  const chosen = OPERATIONS.filter(({ name }) => command.args.length === 0 || command.args.includes(name))
  const options = command.opts<Arguments>()
  if (options.speed !== true) return await compareAll(chosen, options, streams)
  const rows: SpeedRow[] = []
  for (const operation of chosen) {
    rows.push(speedOf(operation, options.seed))
    await turnLoop()
  }
  streams.out.write(options.json === true ? `${JSON.stringify({ rows })}\n` : speedText(rows))
  return EXIT_OK
}

if (require.main === module) runProgram('softfloat', main)
