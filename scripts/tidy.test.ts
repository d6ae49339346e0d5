import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { FILE_LINES_MAX, FUNCTION_LINES_MAX, tidy } from './tidy'

const root = path.resolve(__dirname, '..')

test('the tree keeps its rules', () => {
  const listed = spawnSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.ts'], {
    cwd: root,
    encoding: 'utf8',
  })
  const files = listed.stdout.split('\n').filter((file) => file !== '' && fs.existsSync(path.join(root, file)))
  assert.ok(files.length > 20, 'the list of files is read')
  const found = files.flatMap((file) => tidy(file, fs.readFileSync(path.join(root, file), 'utf8')))
  assert.equal(found, [])
})

const HEAD = '/** A contract. */\n'
const cases: ReadonlyArray<readonly [name: string, file: string, source: string, expected: RegExp]> = [
  ['a file that is too long', 'sim/a.ts', HEAD + 'const a = 1\n'.repeat(FILE_LINES_MAX), /601 lines/],
  [
    'a function that is too long',
    'reports/a.ts',
    `${HEAD}function f() {\n${'  f()\n'.repeat(FUNCTION_LINES_MAX)}}\n`,
    /f has 72 lines/,
  ],
  ['a file without a contract', 'sim/a.ts', 'const a = 1\n'.repeat(30), /no contract/],
  ['the real clock in a world', 'sim/a.ts', `${HEAD}export const now = Date.now()\n`, /Date is banned/],
  ['real randomness in impl', 'impl/block/a.ts', `${HEAD}export const r = Math.random()\n`, /Math.random is banned/],
  ['a promise in impl', 'impl/jobs/a.ts', `${HEAD}export const p = Promise.resolve()\n`, /Promise is banned/],
  ['await in the model', 'model/a.ts', `${HEAD}export async function f(x: number) { await x }\n`, /await is banned/],
  [
    'code that assumes and never checks',
    'impl/block/a.ts',
    HEAD + 'export function f(a: number) {\n  if (a)\n    return 1\n\n\n\n\n  return 2\n}\n'.repeat(4),
    /0 assertions in 4/,
  ],
  ['a text that nothing is compared with', 'sim/a.test.ts', "assert.throws(() => f(), 'refused')\n", /throws compares no text/],
  ['a left-over mark', 'reports/a.ts', `${HEAD}// TO${'DO'} later\n`, /left-over/],
]
for (const [name, file, source, expected] of cases) {
  test(`finds ${name}`, () => assert.match(tidy(file, source).join('\n'), expected))
}

test('allows the clock in the room that owns the machine', () => {
  assert.equal(tidy('impl/host/a.ts', `${HEAD}export const now = Date.now()\n`), [])
})

test.run()
