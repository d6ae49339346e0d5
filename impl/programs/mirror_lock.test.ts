/** Our locks against those of QEMU's own programs, both ways; skipped where they are not installed. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { loadNative } from '../host/native'

const MIB = 1024 * 1024
const PROGRAM = path.resolve(__dirname, '../../bin/mirrorsim.cjs')
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mirror-lock-'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))

const at = (name: string): string => path.join(folder, name)
const isInstalled = (program: string): boolean => spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0
const hasPeers = loadNative() !== null && isInstalled('qemu-nbd') && isInstalled('qemu-io')
const peerTest = hasPeers ? test : test.skip

test.before.each(() => {
  for (const name of ['image', 'other']) fs.writeFileSync(at(name), Buffer.alloc(MIB, name))
  for (const name of ['copy', 'copy.partial']) fs.rmSync(at(name), { force: true })
})

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 10))

/** Ends a child and waits for it. */
function end(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve()
    child.on('close', () => resolve())
    child.kill('SIGTERM')
  })
}

/** Serves an image while `body` runs. */
async function whileServed(options: string[], file: string, body: () => void): Promise<void> {
  const socket = at('socket')
  const server = spawn('qemu-nbd', [...options, '-f', 'raw', '--persistent', '-k', socket, file], { stdio: 'ignore' })
  try {
    while (!fs.existsSync(socket) && server.exitCode === null) await pause()
    body()
  } finally {
    await end(server)
  }
}

function mirror(source: string, destination: string): { code: number | null; err: string } {
  const { status, stderr } = spawnSync(process.execPath, [PROGRAM, 'mirror', '-q', source, destination], { encoding: 'utf8' })
  return { code: status, err: stderr }
}

peerTest('an image that another program writes to is neither copied nor overwritten', async () => {
  await whileServed([], at('image'), () => {
    const from = mirror(at('image'), at('copy'))
    assert.is(from.code, 2)
    assert.match(from.err, /^mirrorsim: [^\n]+image: Failed to get shared "write" lock: [^\n]+\n$/)
    const onto = mirror(at('other'), at('image'))
    assert.is(onto.code, 2)
    assert.match(onto.err, /^mirrorsim: [^\n]+image: Failed to get shared "consistent read" lock: [^\n]+\n$/)
  })
  assert.equal(fs.readdirSync(folder).sort(), ['image', 'other'])
  assert.ok(fs.readFileSync(at('image')).equals(Buffer.alloc(MIB, 'image')))
})

peerTest('an image that another program only reads can be copied', async () => {
  await whileServed(['-r'], at('image'), () => {
    assert.equal(mirror(at('image'), at('copy')), { code: 0, err: '' })
  })
})

peerTest('other programs see that an image is being copied', async () => {
  const args = [PROGRAM, 'mirror', '-q', '--speed', '64K', at('image'), at('copy')]
  const copying = spawn(process.execPath, args, { stdio: 'ignore' })
  try {
    // What has been copied has been copied under locks.
    const hasBegun = (): boolean => (fs.statSync(at('copy.partial'), { throwIfNoEntry: false })?.blocks ?? 0) > 0
    while (!hasBegun() && copying.exitCode === null) await pause()
    const use = (file: string, ...command: string[]): string =>
      spawnSync('qemu-io', ['-f', 'raw', ...command, at(file)], { encoding: 'utf8' }).stderr
    assert.match(use('image', '-c', 'write 0 512'), /Failed to get "write" lock\nIs another process using the image/)
    assert.match(use('copy.partial', '-r', '-c', 'read 0 512'), /Failed to get "consistent read" lock/)
    assert.is(use('image', '-r', '-c', 'read 0 512'), '')
  } finally {
    await end(copying)
  }
})

test.run()
