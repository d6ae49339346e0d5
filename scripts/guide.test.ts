/** Every command of the guides is run as it stands there, in one shell and in order; each ends with the code that it says. */
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const root = path.resolve(__dirname, '..')
/** And how many commands each has, at least. */
const GUIDES = [
  ['docs/guide.md', 15],
  ['docs/campaign.md', 14],
] as const
const SCRATCH = path.join(root, 'reports/out/guide')
/** Some 20 s of work each, on a machine that may be busy. */
const TIMEOUT_MS = 600_000

interface Line {
  command: string
  exitCode: number
}

function commandsOf(text: string): Line[] {
  const blocks = [...text.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, body]) => body!)
  const lines = blocks.flatMap((body) => body.split('\n')).filter((line) => line.trim() !== '')
  return lines.map((line) => {
    const [, command, code] = /^(.*?)(?:\s+# exit code (\d+))?$/.exec(line)!
    return { command: command!, exitCode: Number(code ?? 0) }
  })
}

/** What went another way than it says; empty: nothing. */
function run(lines: readonly Line[]): string {
  const script = lines.map(
    ({ command, exitCode }, index) =>
      `${command}\ncode=$?; [ $code = ${exitCode} ] || { echo "command ${index + 1} ended with $code, not ${exitCode}"; exit 1; }`,
  )
  const { status, stdout, stderr } = spawnSync('bash', ['-c', script.join('\n')], {
    cwd: root,
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
  })
  return status === 0 ? '' : `${stdout.split('\n').slice(-4).join('\n')}${stderr.slice(-1000)}` || `ended with ${status}`
}

test.after(() => fs.rmSync(SCRATCH, { recursive: true, force: true }))

for (const [file, commandsMin] of GUIDES) {
  test(`the commands of ${file} do what it says`, () => {
    const guide = commandsOf(fs.readFileSync(path.join(root, file), 'utf8'))
    assert.ok(guide.length >= commandsMin, `${guide.length} commands`)
    fs.rmSync(SCRATCH, { recursive: true, force: true })
    assert.is(run(guide), '')
  })
}

test('a command that ends otherwise is noticed', () => {
  assert.match(run(commandsOf('```sh\ntrue\nfalse\n```\n')), /command 2 ended with 1, not 0/)
  assert.is(run(commandsOf('```sh\nfalse   # exit code 1\n```\n')), '')
})

test.run()
