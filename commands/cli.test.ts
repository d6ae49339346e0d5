import { Command } from 'commander'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EXIT_CODES } from '../sim/verdict'
import * as bench from './bench'
import { parseOrExitCode, seconds, wholeNumber } from './cli'
import * as fuzz from './fuzz'
import * as mutants from './mutants'
import * as replay from './replay'
import { recorder } from './testing'

type Main = (typeof fuzz)['main']

async function run(main: Main, args: readonly string[]): Promise<{ exitCode: number; out: string; err: string }> {
  const out = recorder()
  const err = recorder()
  return { exitCode: await main(args, { out, err }), out: out.text(), err: err.text() }
}

const bad: ReadonlyArray<readonly [name: string, main: Main, args: string[], message: RegExp]> = [
  ['fuzz', fuzz.main, ['--runs', '0'], /--runs <count>.*'0'.*whole number from 1/],
  ['fuzz', fuzz.main, ['--runs', '1e3'], /'1e3'/],
  ['fuzz', fuzz.main, ['--time', '-1'], /'-1'.*positive number of seconds/],
  ['fuzz', fuzz.main, ['--seed'], /--seed <text>.*argument missing/],
  ['fuzz', fuzz.main, ['--replay-share', '101'], /from 0 to 100/],
  ['fuzz', fuzz.main, ['--run', '5'], /unknown option '--run'/],
  ['fuzz', fuzz.main, ['everything'], /too many arguments/],
  ['fuzz', fuzz.main, ['--profile', 'nope', '--runs', '1'], /no profile 'nope'; there are: .*default/],
  ['replay', replay.main, [], /missing required argument 'file'/],
  ['replay', replay.main, ['a', 'b'], /too many arguments/],
  ['mutants', mutants.main, ['no-such-bug'], /no mutant 'no-such-bug'/],
  ['bench', bench.main, ['--only', 'tea'], /Allowed choices are worlds, copy/],
]
for (const [name, main, args, message] of bad) {
  test(`${name} ${args.join(' ')}: one clear line and exit 2`, async () => {
    const { exitCode, out, err } = await run(main, args)
    assert.is(exitCode, 2)
    assert.is(out, '')
    assert.match(err, message)
    assert.ok(err.startsWith(`${name}: `) && err.trimEnd().split('\n').length === 1, err)
  })
}

test('--help of the commands that run worlds names every exit code', async () => {
  for (const main of [fuzz.main, replay.main]) {
    const { exitCode, out } = await run(main, ['--help'])
    assert.is(exitCode, 0)
    for (const [name, code] of Object.entries(EXIT_CODES)) assert.ok(out.includes(`${code} ${name}`), name)
  }
})

test('numbers are read as a whole or refused', () => {
  assert.is(wholeNumber(0, 10)('10'), 10)
  for (const text of ['', ' 1', '11', '1.0', '0x1', '-0', 'one']) assert.throws(() => wholeNumber(0, 10)(text))
  assert.is(seconds('0.5'), 0.5)
  for (const text of ['', '0', '1s', '.5', 'NaN', '1e9']) assert.throws(() => seconds(text))
})

test('what a program does not expect is not taken for a bad option', () => {
  const command = new Command('x').option('--n <n>', 'n', () => {
    throw new TypeError('a bug')
  })
  assert.throws(() => parseOrExitCode(command, ['--n', '1']), /a bug/)
})

test.run()
