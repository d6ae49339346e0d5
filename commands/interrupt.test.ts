import { spawn } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { makeScratch, removeScratch } from './interrupt'

/** A command with a child that never ends, in a scratch folder; says where the folder is when both are there. */
const COMMAND = `
  const { spawn } = require('node:child_process')
  const { killedWithUs, makeScratch, whileCleanedUp } = require(${JSON.stringify(path.join(__dirname, 'interrupt.ts'))})
  whileCleanedUp(async () => {
    const folder = makeScratch(require('node:os').tmpdir(), 'mirrorsim-interrupt-')
    require('node:fs').writeFileSync(folder + '/file', 'x')
    const never = "process.stdout.write(process.argv[1]); setInterval(() => {}, 1000)"
    killedWithUs(spawn(process.execPath, ['-e', never, folder], { stdio: ['ignore', 'inherit', 'inherit'] }))
    await new Promise(() => {})
  })
`

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`${signal} ends the children, removes the folders and exits with 130`, async () => {
    const args = ['-r', path.resolve(__dirname, '../scripts/tsreg.cjs'), '-e', COMMAND]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    const folder = await new Promise<string>((resolve) => child.stdout.once('data', (bytes) => resolve(String(bytes))))
    assert.is(fs.readFileSync(path.join(folder, 'file'), 'utf8'), 'x')
    child.kill(signal)
    // The grandchild holds the pipe too: it closes when both are gone.
    const code = await new Promise((resolve) => child.once('close', resolve))
    assert.is(code, 130)
    assert.not(fs.existsSync(folder))
  })
}

test('a scratch folder goes with all that is in it', () => {
  const folder = makeScratch(os.tmpdir(), 'mirrorsim-interrupt-')
  fs.mkdirSync(path.join(folder, 'deep/er'), { recursive: true })
  removeScratch(folder)
  assert.not(fs.existsSync(folder))
})

test.run()
