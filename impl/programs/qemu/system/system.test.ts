/** The program qemu-system-* as its users start it. */
import { type ChildProcess, type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as net from 'node:net'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'qemu-system-'))
const SYSTEM = path.join(folder, 'qemu-system-x86_64')
fs.symlinkSync(path.resolve(__dirname, '../../../../bin/mirrorsim.cjs'), SYSTEM)
fs.writeFileSync(path.join(folder, 'disk'), Buffer.alloc(65536, 'disk'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))

const BASE = ['-nodefaults', '-display', 'none', '-accel', 'qtest']

function system(args: readonly string[], input = ''): SpawnSyncReturns<string> {
  return spawnSync(SYSTEM, args, { encoding: 'utf8', cwd: folder, input, timeout: 60_000 })
}

test('what scripts ask first is answered without a machine', () => {
  for (const [args, pattern] of [
    [['-machine', 'help'], /^pc {19}.*\(alias of pc-i440fx-11\.0\)\npc-i440fx-11\.0 .*\(default\)$/m],
    [[...BASE, '-M', 'none', '-device', 'help'], /^name "virtio-blk-pci", bus PCI, alias "virtio-blk"$/m],
    [['-drive', 'format=help'], /^Supported formats:( \S+)* qcow2( \S+)*\nSupported formats \(read-only\): /],
    [['-accel', 'help'], /\nqtest\n$/],
    [['--version'], /^QEMU emulator version 11\.0\.0 /],
    [['--help'], /^usage: qemu-system-x86_64 \[options\] \[disk_image\]\n/],
  ] as const) {
    const { status, stdout, stderr } = system(args)
    assert.is(stderr, '')
    assert.is(status, 0, args.join(' '))
    assert.match(stdout, pattern)
  }
})

test('a conversation, and commands of qemu-io among it', () => {
  const requests = [
    { execute: 'qmp_capabilities' },
    { execute: 'human-monitor-command', arguments: { 'command-line': 'qemu-io drive0 "read -q -P 100 0 1"' } },
    { execute: 'query-block' },
    { execute: 'quit' },
  ].map((request) => JSON.stringify(request))
  const { status, stdout, stderr } = system(
    [...BASE, '-qmp', 'stdio', '-drive', 'if=virtio,file=disk,format=raw,id=drive0'],
    requests.join('\n'),
  )
  assert.is(stderr, '')
  assert.is(status, 0)
  const lines = stdout.trim().split(/\r?\n/)
  assert.match(lines[0]!, /^\{"QMP": /)
  assert.equal(lines.slice(1, 3), ['{"return": {}}', '{"return": ""}'])
  assert.match(lines[3]!, '"qdev": "/machine/peripheral-anon/device[0]/virtio-backend"')
  assert.match(lines[4]!, /"event": "SHUTDOWN", "data": \{"guest": false, "reason": "host-qmp-quit"\}/)
  assert.is(lines[5], '{"return": {}}')
  assert.is(lines.length, 6)
})

test('the human monitor on standard input', () => {
  const { status, stdout, stderr } = system([...BASE, '-monitor', 'stdio', '-S'], 'info status\nquit\n')
  assert.is(stderr, '')
  assert.is(status, 0)
  assert.ok(stdout.startsWith("QEMU 11.0.0 monitor - type 'help' for more information\r\n(qemu) i\u001b[K\u001b[Din\u001b[K"))
  assert.match(stdout, '\r\nVM status: paused (prelaunch)\r\n(qemu) ')
  assert.ok(stdout.endsWith('quit\u001b[K\r\n'))
})

test('what is wrong, or not there, ends it with one line', () => {
  for (const [args, text] of [
    [['-foo'], '-foo: invalid option'],
    [['-drive'], '-drive: requires an argument'],
    [['-kernel', 'x'], '-kernel x: not supported'],
    [['-accel', 'tcg'], '-accel tcg: invalid accelerator tcg'],
    [['-nodefaults'], "no processor is emulated: use '-accel qtest' or '-machine none'"],
    [[...BASE, '-drive', 'file=nope'], "-drive file=nope: Could not open 'nope': No such file or directory"],
    [[...BASE, 'nope'], "nope: Could not open 'nope': No such file or directory"],
    [
      [...BASE, '-drive', 'if=sd,file=disk,format=raw'],
      '-drive if=sd,file=disk,format=raw: machine type does not support if=sd,bus=0,unit=0',
    ],
    [[...BASE, '-device', 'virtio-blk'], '-device virtio-blk: drive property not set'],
    [
      ['-M', 'none', '-drive', 'if=virtio,file=disk,format=raw'],
      "-drive if=virtio,file=disk,format=raw: No 'PCI' bus found for device 'virtio-blk-pci'",
    ],
    [[...BASE, '-blockdev', 'foo'], "-blockdev foo: Parameter 'driver' does not accept value 'foo'"],
    [[...BASE, '-mon', 'chardev=x'], '-mon chardev=x: chardev "x" not found'],
    [[...BASE, '-display', 'gtk'], "-display gtk: Display 'gtk' is not available"],
    [[...BASE, '-pidfile', 'no/pid'], "cannot create PID file: Could not create 'no/pid': No such file or directory"],
    [['-M', 'none', '-qtest', 'stdio'], '-qtest stdio: the clock runs by itself: use -accel qtest'],
  ] as const) {
    const { status, stdout, stderr } = system(args)
    assert.is(status, 1, args.join(' '))
    assert.is(stdout, '')
    assert.is(stderr, `qemu-system-x86_64: ${text}\n`)
  }
})

test('other architectures have the empty machine at least', () => {
  const other = path.join(folder, 'qemu-system-s390x')
  fs.symlinkSync(SYSTEM, other)
  const run = (args: readonly string[]): SpawnSyncReturns<string> => spawnSync(other, args, { encoding: 'utf8', input: '' })
  assert.is(run(['-M', 'help']).stdout, 'Supported machines are:\nnone                 empty machine\n')
  assert.match(run([]).stderr, /^qemu-system-s390x: No machine specified, and there is no default\n/)
})

/** A client that asks a socket one line after the other. */
class LineClient {
  private readonly socket: net.Socket
  private text = ''
  constructor(file: string) {
    this.socket = net.connect(file)
    this.socket.setEncoding('utf8')
    this.socket.on('data', (chunk) => {
      this.text += String(chunk)
    })
  }
  send(line: string): void {
    this.socket.write(`${line}\n`)
  }
  /** The next line that `pattern` fits. */
  async expect(pattern: RegExp): Promise<string> {
    for (;;) {
      const end = this.text.indexOf('\n')
      if (end >= 0) {
        const line = this.text.slice(0, end)
        this.text = this.text.slice(end + 1)
        if (pattern.test(line)) return line
        continue
      }
      await new Promise((resolve) => this.socket.once('data', resolve))
    }
  }
  close(): void {
    this.socket.destroy()
  }
}

async function moveClock(child: ChildProcess, at: (name: string) => string): Promise<void> {
  while (!fs.existsSync(at('qtest')) || !fs.existsSync(at('qmp'))) {
    assert.is(child.exitCode, null)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  const qmp = new LineClient(at('qmp'))
  const qtest = new LineClient(at('qtest'))
  const call = async (execute: string, args: unknown = {}): Promise<string> => {
    qmp.send(JSON.stringify({ execute, arguments: args }))
    return await qmp.expect(/"return"/)
  }
  const counted = async (): Promise<number> => {
    const answer = JSON.parse(await call('query-blockstats')) as { return: Array<{ stats: { rd_operations: number } }> }
    return answer.return[0]!.stats.rd_operations
  }
  await call('qmp_capabilities')
  for (let index = 0; index < 5; index++) await call('human-monitor-command', { 'command-line': 'qemu-io d "aio_read -q 0 512"' })
  const before = await counted()
  assert.ok(before < 5, String(before))
  qtest.send('clock_step 60000000000')
  assert.is(await qtest.expect(/./), 'OK 60000000000')
  assert.is(await counted(), 5)
  qtest.send('readb 0')
  assert.is(await qtest.expect(/./), "FAIL Unknown command 'readb'")
  await call('quit')
  qmp.close()
  qtest.close()
}

test('limits hold until a test moves the clock', async () => {
  const at = (name: string): string => path.join(folder, name)
  const child = spawn(
    SYSTEM,
    [...BASE, '-qmp', 'unix:qmp,server=on,wait=off', '-qtest', 'unix:qtest,server=on,wait=off', '-qtest-log', 'none'].concat([
      '-drive',
      'if=none,id=d,driver=null-co,size=1M,iops=1',
      '-device',
      'virtio-blk,drive=d',
      '-pidfile',
      'pid',
    ]),
    { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const ended = new Promise<number | null>((resolve) => child.on('exit', resolve))
  try {
    await moveClock(child, at)
    assert.is(await ended, 0)
  } finally {
    child.kill('SIGKILL')
  }
  for (const name of ['qmp', 'qtest', 'pid']) assert.is(fs.existsSync(at(name)), false, name)
})

test.run()
