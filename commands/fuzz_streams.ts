/**
 * npm run fuzz:streams -- [--cases N] [--from SEED]: conversations of NBD and QMP that go wrong, for as long as wanted; see
 * impl/nbd/fuzz and impl/monitor/fuzz. Prints the cases that fail, each with its number, which makes it again.
 *
 * Exit codes: 0 no case failed, 1 some did, 2 wrong arguments.
 */
import { Command } from 'commander'
import { fuzzMonitor } from '../impl/monitor/fuzz/testing'
import { fuzzClient, fuzzServer } from '../impl/nbd/fuzz/testing'
import { thrownText } from '../impl/programs/defect'
import { EXIT_OK, parseOrExitCode, runProgram, type Streams, wholeNumber } from './cli'

const TARGETS = [
  ['nbd-server', fuzzServer],
  ['nbd-client', fuzzClient],
  ['monitor', fuzzMonitor],
] as const
const FAILURES_MAX = 20
const CASES = 20_000
const SEED_MAX = 2 ** 31
const EXIT_FAILED = 1

/** The options, as --help and docs/reference.md show them. */
export function definition(): Command {
  return new Command('fuzz:streams')
    .usage('[options]')
    .description('Spoils conversations of NBD and QMP, and sends them to servers, clients and monitors.')
    .option('--cases <count>', 'conversations for each of them', wholeNumber(1, SEED_MAX), CASES)
    .option('--from <seed>', 'number of the first conversation', wholeNumber(0, SEED_MAX), 0)
    .addHelpText('after', `\nExit codes: 0 no case failed, 1 some did (it ends after ${FAILURES_MAX}), 2 usage\n`)
    .allowExcessArguments(false)
}

export async function main(args: readonly string[], streams: Streams): Promise<number> {
  const command = definition()
  const exitCode = parseOrExitCode(command, args, streams)
  if (exitCode !== null) return exitCode
  const { cases, from } = command.opts<{ cases: number; from: number }>()
  let failures = 0
  let seed = from
  for (; seed < from + cases && failures < FAILURES_MAX; seed++) {
    for (const [name, run] of TARGETS) {
      try {
        run(seed)
      } catch (error) {
        failures++
        streams.out.write(`${name} ${seed}: ${thrownText(error)}\n`)
      }
    }
  }
  streams.out.write(`${TARGETS.length * (seed - from)} cases from ${from} on, ${failures} failed\n`)
  return failures === 0 ? EXIT_OK : EXIT_FAILED
}

if (require.main === module) runProgram('fuzz:streams', main)
