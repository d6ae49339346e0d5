/** The program qemu-storage-daemon as its users start it. */
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as net from 'node:net'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'qemu-storage-daemon-'))
const DAEMON = path.join(folder, 'qemu-storage-daemon')
fs.symlinkSync(path.resolve(__dirname, '../../../bin/mirrorsim.cjs'), DAEMON)
fs.writeFileSync(path.join(folder, 'disk'), Buffer.alloc(65536, 'disk'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))

function daemon(args: readonly string[], input = ''): SpawnSyncReturns<string> {
  return spawnSync(DAEMON, args, { encoding: 'utf8', cwd: folder, input, timeout: 60_000 })
}

test('a conversation over its own input and output', () => {
  const requests = ['qmp_capabilities', 'query-named-block-nodes', 'quit'].map((execute) => JSON.stringify({ execute }))
  const blockdev = 'driver=file,node-name=node,filename=disk'
  const { status, stdout, stderr } = daemon(
    ['--chardev', 'stdio,id=c', '--monitor', 'c', '--blockdev', blockdev],
    requests.join('\n'),
  )
  assert.is(stderr, '')
  assert.is(status, 0)
  const answers = stdout.trim().split(/\r?\n/)
  assert.match(answers[0]!, /^\{"QMP": /)
  assert.is(answers[1], '{"return": {}}')
  assert.match(answers[2]!, /"node-name": "node"/)
})

test('what is wrong, or not there, ends it with one line', () => {
  for (const [args, text] of [
    [['disk'], 'disk: Unexpected argument'],
    [['--monitor', 'c'], '--monitor c: chardev "c" not found'],
    [['--chardev', 'socket,id=c,path=s,server=on,telnet=on'], /: chardev: 'telnet=on' is not supported$/],
    [['--chardev', 'socket,id=c,path=s,reconnect=1'], /: chardev: 'reconnect=1' is not supported$/],
    [['--chardev', 'stdio,id=c,logfile=log'], /: chardev: 'logfile=log' is not supported$/],
    [['--chardev', 'stdio,id=c,tea=1'], /: Invalid parameter 'tea'$/],
    [['--pidfile', 'no/pid'], /^cannot create PID file: Could not create 'no.pid': No such file or directory$/],
  ] as const) {
    const { status, stdout, stderr } = daemon(args)
    assert.is(status, 1, args.join(' '))
    assert.is(stdout, '')
    assert.ok(stderr.startsWith('qemu-storage-daemon: ') && stderr.trimEnd().split('\n').length === 1, stderr)
    const said = stderr.trimEnd().slice('qemu-storage-daemon: '.length)
    if (typeof text === 'string') assert.is(said, text)
    else assert.match(said, text)
  }
})

test('options that ask for nothing special are taken', () => {
  const { status, stderr } = daemon(
    ['--chardev', 'socket,id=c,path=s,server=on,wait=off,telnet=off,nodelay=on', '--chardev', 'stdio,id=d', '--monitor', 'd'],
    '{"execute":"qmp_capabilities"}{"execute":"quit"}',
  )
  assert.is(stderr, '')
  assert.is(status, 0)
})

test('garbage of a client ends nothing, and a signal leaves neither sockets nor the PID file', async () => {
  const at = (name: string): string => path.join(folder, name)
  const child = spawn(
    DAEMON,
    ['--chardev', 'socket,id=c,path=qmp,server=on,wait=off', '--monitor', 'c', '--nbd-server', 'addr.type=unix,addr.path=nbd']
      .concat(['--blockdev', 'driver=file,node-name=node,filename=disk', '--export', 'nbd,id=e,node-name=node'])
      .concat(['--pidfile', 'pid']),
    { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] },
  )
  const ended = new Promise<number | null>((resolve) => child.on('exit', resolve))
  while (!fs.existsSync(at('pid'))) {
    assert.is(child.exitCode, null)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  for (const name of ['qmp', 'nbd']) {
    const socket = net.connect(at(name))
    socket.on('error', () => {})
    await new Promise((resolve) => socket.once('data', resolve))
    socket.write(Buffer.alloc(100_000, 0xa5))
    socket.end()
    socket.resume()
    await new Promise((resolve) => socket.once('close', resolve))
    assert.is(child.exitCode, null)
  }
  child.kill('SIGTERM')
  assert.is(await ended, 0)
  for (const name of ['qmp', 'nbd', 'pid']) assert.is(fs.existsSync(at(name)), false, name)
  assert.equal(fs.readFileSync(at('disk')), Buffer.alloc(65536, 'disk'))
})

test.run()
