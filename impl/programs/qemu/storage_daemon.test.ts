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

/** A client of a monitor: what it reads, line by line. */
class Client {
  private text = ''
  constructor(readonly socket: net.Socket) {
    socket.on('data', (bytes) => {
      this.text += bytes
    })
    socket.on('error', () => {})
  }
  send(...requests: object[]): void {
    for (const request of requests) this.socket.write(JSON.stringify(request))
  }
  /** Waits for a line that matches, and gives it. */
  async line(pattern: RegExp): Promise<string> {
    for (let tries = 0; tries < 2000; tries++) {
      const found = this.text.split('\n').find((line) => pattern.test(line))
      if (found !== undefined) return found
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    throw new Error(`${pattern} does not come: ${this.text}`)
  }
}

test('in the background: it is there when its first process has ended, under the number in the PID file', async () => {
  const options = ['--chardev', 'socket,id=c,path=background,server=on,wait=off', '--monitor', 'c']
  const { status, stderr } = daemon([...options, '--pidfile', 'background.pid', '--daemonize'])
  assert.equal([status, stderr], [0, ''])
  const pid = Number(fs.readFileSync(path.join(folder, 'background.pid'), 'utf8'))
  const client = new Client(net.connect(path.join(folder, 'background')))
  await client.line(/QMP/)
  process.kill(pid, 0)
  client.send({ execute: 'qmp_capabilities' }, { execute: 'quit', id: 7 })
  await client.line(/"id": 7/)
  for (let tries = 0; fs.existsSync(path.join(folder, 'background.pid')); tries++) {
    assert.ok(tries < 1000, 'the PID file stays')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
})

test('in the background, what is wrong is still told by the first process', () => {
  const { status, stderr } = daemon(['--blockdev', 'driver=file,node-name=node,filename=nothing', '--daemonize'])
  assert.is(status, 1)
  assert.match(stderr, /Could not open 'nothing': No such file or directory/)
})

test('several monitors at once: unix, TCP and standard input, clients that come back, events for all', async () => {
  const chardevs = [
    'socket,id=a,path=several,server=on,wait=off',
    'socket,id=b,host=127.0.0.1,port=0,server=on,wait=off',
    'stdio,id=c',
  ]
  const args = chardevs.flatMap((text) => ['--chardev', text, '--monitor', text.replace(/.*id=(.).*/, '$1')])
  const nodes = ['--blockdev', 'null-co,node-name=n,size=1048576', '--blockdev', 'null-co,node-name=t,size=1048576']
  const child = spawn(DAEMON, [...args, ...nodes], { cwd: folder, stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = new Promise<number | null>((resolve) => child.on('exit', resolve))
  let printed = ''
  child.stdout.on('data', (bytes) => {
    printed += bytes
  })
  while (!fs.existsSync(path.join(folder, 'several'))) await new Promise((resolve) => setTimeout(resolve, 10))
  const first = new Client(net.connect(path.join(folder, 'several')))
  await first.line(/QMP/)
  first.socket.destroy()
  const again = new Client(net.connect(path.join(folder, 'several')))
  again.send({ execute: 'qmp_capabilities' }, { execute: 'query-chardev', id: 'c' })
  const chardev = await again.line(/"id": "c"/)
  const port = Number(/127\.0\.0\.1:(\d+)/.exec(chardev)?.[1])
  assert.ok(port > 0, chardev)
  const other = new Client(net.connect(port, '127.0.0.1'))
  other.send({ execute: 'qmp_capabilities', id: 'o' })
  await other.line(/"id": "o"/)
  child.stdin.write('{"execute":"qmp_capabilities"}')
  child.stdin.write('{"execute":"blockdev-mirror","arguments":{"job-id":"j","device":"n","target":"t","sync":"full"}}')
  for (const client of [again, other]) await client.line(/"BLOCK_JOB_READY"/)
  while (!printed.includes('"BLOCK_JOB_READY"')) await new Promise((resolve) => setTimeout(resolve, 10))
  other.send({ execute: 'quit' })
  assert.is(await ended, 0)
  assert.match(printed, /"BLOCK_JOB_CANCELLED"|"BLOCK_JOB_COMPLETED"/)
})

test.run()
