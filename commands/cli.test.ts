import { spawnSync } from 'node:child_process'
import * as path from 'node:path'
import { Command } from 'commander'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EXIT_CODES } from '../sim/verdict'
import * as bench from './bench'
import { parseOrExitCode, seconds, UsageError, wholeNumber } from './cli'
import * as fuzz from './fuzz'
import * as fuzzStreams from './fuzz_streams'
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
  ['bench', bench.main, ['--only', 'qcow2', '--rows', 'tea'], /--rows tea: no row/],
  ['bench', bench.main, ['--only', 'qcow2', '--cluster-size', '1000'], /power of two/],
  ['bench', bench.main, ['--only', 'qcow2', '--cluster-size', '512', '--extended-l2'], /at least 16384/],
  ['fuzz:streams', fuzzStreams.main, ['--cases', ''], /--cases <count>.*whole number from 1/],
  ['fuzz:streams', fuzzStreams.main, ['--cases', '1e3'], /'1e3'/],
  ['fuzz:streams', fuzzStreams.main, ['--from', '9007199254740991'], /whole number from 0/],
  ['fuzz:streams', fuzzStreams.main, ['all'], /too many arguments/],
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

test('files that cannot be made are a matter of usage', async () => {
  for (const folder of ['/dev/null', '/dev/null/x', '/proc/no-such-folder']) {
    try {
      await run(fuzz.main, ['--runs', '1', '--out', folder])
      assert.unreachable(folder)
    } catch (error) {
      assert.instance(error, UsageError)
      assert.match((error as Error).message, /^--out .*: E[A-Z]+: give a folder where reports can be written$/)
    }
  }
  try {
    await run(bench.main, ['--only', 'qcow2', '--directory', '/no/such/folder'])
    assert.unreachable('a folder that is not there')
  } catch (error) {
    assert.instance(error, UsageError)
    assert.match((error as Error).message, /^--directory .no.such.folder: ENOENT: /)
  }
})

/** Runs a piece of a program in a process of its own: how it ends when it throws, or when its output is lost. */
function runAlone(main: string, shell = ''): { status: number | null; out: string; err: string } {
  const code = `require('./commands/cli').runProgram('x', async (args, streams) => { ${main} })`
  const [root, loader] = [path.resolve(__dirname, '..'), path.resolve(__dirname, '../scripts/tsreg.cjs')]
  const command = `set -o pipefail; "$0" -r "$1" -e "$2" ${shell}`
  const { status, stdout, stderr } = spawnSync('bash', ['-c', command, process.execPath, loader, code], {
    cwd: root,
    encoding: 'utf8',
  })
  return { status, out: stdout, err: stderr }
}

test('whatever is thrown, a program ends with its own exit code', () => {
  assert.equal(runAlone("throw new (require('./commands/cli').UsageError)('--out: no')"), {
    status: 2,
    out: '',
    err: 'x: --out: no\n',
  })
  const noText = runAlone('throw Object.create(null)')
  assert.is(noText.status, 16)
  assert.is(noText.err, 'x: the harness is broken: a value without a text form\n')
  assert.match(runAlone("throw new Error('why')").err, /^x: the harness is broken: Error: why\n/)
})

test('lost output makes no failure a success and no stack trace', () => {
  const many = "for (let i = 0; i < 9; i++) { streams.out.write('a'.repeat(99999)); await new Promise((r) => setTimeout(r, 2)) }"
  for (const exitCode of [0, 10]) {
    assert.equal(runAlone(`${many}; return ${exitCode}`, '| true'), { status: exitCode, out: '', err: '' })
    const full = runAlone(`${many}; return ${exitCode}`, '> /dev/full')
    assert.equal(full, {
      status: exitCode === 0 ? 16 : 10,
      out: '',
      err: 'x: standard output: ENOSPC: the result is not printed\n',
    })
    const late = runAlone(`streams.out.write('a'); return ${exitCode}`, '> /dev/full')
    assert.is(late.status, exitCode === 0 ? 16 : 10)
  }
})

test.run()
