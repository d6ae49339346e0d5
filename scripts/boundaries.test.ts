// The import rules of .dependency-cruiser.cjs hold, and the checker would notice if one were broken.
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const root = path.resolve(__dirname, '..')
const rooms = ['impl', 'model', 'sim', 'properties', 'scenarios', 'reports', 'library', 'commands']

function cruise(cwd: string): { status: number | null; output: string } {
  const cli = path.join(root, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs')
  const result = spawnSync(process.execPath, [cli, '--config', '.dependency-cruiser.cjs', ...rooms], {
    cwd,
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' },
  })
  return { status: result.status, output: result.stdout + result.stderr }
}

/** One forbidden import per room. */
const PLANTED: ReadonlyArray<readonly [file: string, source: string]> = [
  ['impl/co/planted_violation.ts', "export { BlockError } from '../block/error'\n"],
  ['impl/block/planted_violation.ts', "export * from 'node:fs'\n"],
  ['model/planted_violation.ts', "export { assert } from '../impl/co'\n"],
  ['sim/planted_violation.ts', "export * from 'node:fs'\n"],
  ['properties/planted_violation.ts', "export { assert } from '../impl/co'\n"],
  ['scenarios/planted_violation.ts', "export { assert } from '../impl/co'\n"],
  ['reports/planted_violation.ts', "export { assert } from '../impl/co'\n"],
  ['library/planted_violation.ts', "export * from '../impl/block'\n"],
]

test('no room imports what it may not', () => {
  const { status, output } = cruise(root)
  assert.is(status, 0, output)
})

test('a forbidden import planted in each room is found', () => {
  const copy = fs.mkdtempSync(path.join(os.tmpdir(), 'boundaries-'))
  try {
    for (const entry of [...rooms, 'tsconfig.json', '.dependency-cruiser.cjs', 'package.json']) {
      fs.cpSync(path.join(root, entry), path.join(copy, entry), {
        recursive: true,
        filter: (file) => !file.includes('reports/out'),
      })
    }
    fs.symlinkSync(path.join(root, 'node_modules'), path.join(copy, 'node_modules'))
    for (const [file, source] of PLANTED) fs.writeFileSync(path.join(copy, file), source)
    const { status, output } = cruise(copy)
    assert.is.not(status, 0)
    for (const [file] of PLANTED) assert.ok(output.includes(`-boundary: ${file}`), `${file} is not in:\n${output}`)
  } finally {
    fs.rmSync(copy, { recursive: true, force: true })
  }
})

test.run()
