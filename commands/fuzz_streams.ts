/**
 * npm run fuzz:streams -- [--cases N] [--from SEED]: conversations of NBD that go wrong, for as long as wanted; see
 * impl/nbd/fuzz. Prints the cases that fail, each with its number, which makes it again.
 *
 * Exit codes: 0 no case failed, 1 some did, 2 wrong arguments.
 */
import { parseArgs } from 'node:util'
import { fuzzClient, fuzzServer } from '../impl/nbd/fuzz/testing'

const TARGETS = [
  ['nbd-server', fuzzServer],
  ['nbd-client', fuzzClient],
] as const
const FAILURES_MAX = 20
const CASES = '20000'

function wholeNumber(text: string, name: string): number {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value >= 0) return value
  console.error(`fuzz:streams: --${name} wants a number, not '${text}'`)
  process.exit(2)
}

function readArguments(): { cases: string; from: string } {
  try {
    const options = { cases: { type: 'string', default: CASES }, from: { type: 'string', default: '0' } } as const
    return parseArgs({ options }).values
  } catch (error) {
    console.error(`fuzz:streams: ${(error as Error).message}`)
    process.exit(2)
  }
}

function main(): number {
  const given = readArguments()
  const cases = wholeNumber(given.cases, 'cases')
  const from = wholeNumber(given.from, 'from')
  let failures = 0
  for (let seed = from; seed < from + cases && failures < FAILURES_MAX; seed++) {
    for (const [name, run] of TARGETS) {
      try {
        run(seed)
      } catch (error) {
        failures++
        console.log(`${name} ${seed}: ${(error as Error).stack ?? error}`)
      }
    }
  }
  console.log(`${TARGETS.length * cases} cases from ${from} on, ${failures} failed`)
  return failures === 0 ? 0 : 1
}

process.exitCode = main()
