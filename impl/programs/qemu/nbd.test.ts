/** The program qemu-nbd as its users start it. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const MIB = 1024 * 1024
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'qemu-nbd-'))
const at = (name: string): string => path.join(folder, name)
/** Called under QEMU's names. */
const NBD = at('qemu-nbd')
const IO = at('qemu-io')
for (const name of [NBD, IO]) fs.symlinkSync(path.resolve(__dirname, '../../../bin/mirrorsim.cjs'), name)
const children: ChildProcess[] = []
test.after(() => {
  for (const child of children) child.kill('SIGKILL')
  fs.rmSync(folder, { recursive: true, force: true })
})

fs.writeFileSync(at('disk'), Buffer.alloc(MIB, 'disk'))
const SOCKET = at('socket')
const URI = `nbd+unix:///?socket=${SOCKET}`

function nbd(...args: string[]): { code: number | null; text: string } {
  const { status, stdout, stderr } = spawnSync(NBD, args, { encoding: 'utf8', cwd: folder })
  return { code: status, text: stdout + stderr }
}
const io = (...args: string[]): string => execFileSync(IO, args, { encoding: 'utf8' })
const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 10))

/** Serves in the foreground until `ended`. */
async function serving(...args: string[]): Promise<{ child: ChildProcess; ended: Promise<number | null> }> {
  fs.rmSync(SOCKET, { force: true })
  const child = spawn(NBD, ['-k', SOCKET, ...args], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] })
  children.push(child)
  const ended = new Promise<number | null>((resolve) => child.on('exit', (code) => resolve(code)))
  while (!fs.existsSync(SOCKET)) {
    assert.is(child.exitCode, null)
    await pause()
  }
  return { child, ended }
}

test('an image is served until its last client has gone', async () => {
  const { ended } = await serving('-f', 'raw', 'disk')
  const text = io('-f', 'raw', '-c', 'write -P 7 4096 512', '-c', 'read -P 7 4096 512', URI)
  assert.match(text, /wrote 512\/512 bytes at offset 4096/)
  assert.is(await ended, 0)
  assert.is(fs.readFileSync(at('disk'))[4096], 7)
  assert.is(fs.existsSync(SOCKET), false)
})

test('with -t it stays, until a signal comes', async () => {
  const { child, ended } = await serving('-t', '-r', '-x', 'name', '-D', 'words', '-o', '512', '-f', 'raw', 'disk')
  const { code, text } = nbd('-L', '-k', SOCKET)
  assert.is(code, 0)
  assert.equal(text.split('\n'), [
    'exports available: 1',
    " export: 'name'",
    '  description: words',
    `  size:  ${MIB - 512}`,
    '  flags: 0x48f ( readonly flush fua df cache )',
    '  min block: 1',
    '  opt block: 4096',
    '  max block: 33554432',
    '  transaction size: 64-bit',
    '  available meta contexts: 1',
    '   base:allocation',
    '',
  ])
  child.kill('SIGTERM')
  assert.is(await ended, 0)
})

test('--fork leaves a server in the background, which the pid file names', async () => {
  const { code, text } = nbd('--fork', '--pid-file', at('pid'), '-t', '-k', SOCKET, '-f', 'raw', 'disk')
  assert.is(text, '')
  assert.is(code, 0)
  const pid = Number(fs.readFileSync(at('pid'), 'utf8'))
  try {
    assert.match(io('-r', '-f', 'raw', '-c', 'length', URI), /1 MiB/)
  } finally {
    process.kill(pid, 'SIGTERM')
  }
  while (fs.existsSync(SOCKET)) await pause()
})

test('--fork tells of failures as the program itself does', () => {
  assert.equal(nbd('--fork', '-k', '/no/such/socket', '-f', 'raw', 'disk'), {
    code: 1,
    text: 'qemu-nbd: Failed to bind socket to /no/such/socket: No such file or directory\n',
  })
})

test('what makes no sense is refused in QEMU’s words', () => {
  for (const [args, text] of [
    [[], "Invalid number of arguments\nTry `qemu-nbd --help' for more information."],
    [['-e', 'x', 'disk'], "Invalid shared device number 'x'"],
    [['-k', 'relative', 'disk'], 'socket path must be absolute'],
    [['-n', '--cache=none', 'disk'], '-n and --cache can only be specified once'],
    [['--cache=foo', 'disk'], "Invalid cache mode `foo'"],
    [['-L', 'disk'], 'List mode is incompatible with a file name'],
    [['-L', '-x', 'a'], 'List mode is incompatible with per-device settings'],
    [['--image-opts', '-f', 'raw', 'disk'], '--image-opts and -f are mutually exclusive'],
    [['-f', 'raw', 'missing'], "Failed to blk_new_open 'missing': Could not open 'missing': No such file or directory"],
    [['-f', 'raw', '-o', '2M', 'disk'], "Invalid offset '2M'"],
    [['-f', 'raw', '-o', '', 'disk'], "Invalid offset ''"],
    [['-f', 'raw', '-o', '2097152', 'disk'], 'Offset (2097152) cannot be greater than size of the containing file (1048576)'],
    [['-f', 'raw', '-o', '0x200000', 'disk'], 'Offset (2097152) cannot be greater than size of the containing file (1048576)'],
    [['-f', 'raw', '-B', 'b', 'disk'], "Bitmap 'b' is not found"],
    [['-f', 'raw', '--tls-creds', 'x', 'disk'], "Failed to get TLS creds: No TLS credentials with id 'x'"],
    [['-c', '/dev/nbd0', 'disk'], 'Kernel /dev/nbdN support not available'],
  ] as const) {
    assert.equal(nbd(...args), { code: 1, text: `qemu-nbd: ${text}\n` }, args.join(' '))
  }
})

test.run()
