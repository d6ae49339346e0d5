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

/** What lines of the human monitor print. */
function human(args: readonly string[], ...lines: string[]): { status: number | null; stderr: string; answers: unknown[] } {
  const requests = [
    { execute: 'qmp_capabilities' },
    ...lines.map((line) => ({ execute: 'human-monitor-command', arguments: { 'command-line': line } })),
    { execute: 'quit' },
  ].map((request) => JSON.stringify(request))
  const { status, stdout, stderr } = system([...BASE, '-qmp', 'stdio', ...args], requests.join('\n'))
  const answers = stdout
    .split(/\r?\n/)
    .filter((line) => line.startsWith('{"return"') || line.startsWith('{"error"'))
    .map((line) => (JSON.parse(line) as { return?: unknown }).return)
  return { status, stderr, answers: answers.slice(1, -1) }
}

test('with -snapshot an image stays as it is until it is committed, and nothing is left behind', () => {
  const image = path.join(folder, 'kept')
  fs.writeFileSync(image, Buffer.alloc(65536, 'kept'))
  const drive = ['-drive', 'if=none,id=d,file=kept,format=raw']
  const write = 'qemu-io d "write -q -P 5 0 4k"'
  const environment = process.env['TMPDIR']
  process.env['TMPDIR'] = fs.mkdtempSync(path.join(folder, 'layers-'))
  try {
    for (const args of [
      ['-snapshot', ...drive],
      [drive[0]!, `${drive[1]},snapshot=on`],
    ]) {
      const { status, stderr, answers } = human(args, write, 'qemu-io d "read -q -P 5 0 4k"')
      assert.equal([status, stderr, answers], [0, '', ['', '']])
      assert.equal(fs.readFileSync(image), Buffer.alloc(65536, 'kept'))
    }
    human(['-snapshot', ...drive], write, 'commit d')
    assert.is(fs.readFileSync(image)[4095], 5)
    assert.equal(fs.readdirSync(process.env['TMPDIR']), [])
    human(['-snapshot', drive[0]!, `${drive[1]},snapshot=off`], 'qemu-io d "write -q -P 6 0 4k"')
    assert.is(fs.readFileSync(image)[4095], 6)
  } finally {
    if (environment === undefined) delete process.env['TMPDIR']
    else process.env['TMPDIR'] = environment
  }
})

test('what a drive with copy-on-read=on reads is in its image afterwards', () => {
  for (const args of [
    ['create', '-q', '-f', 'raw', 'base', '128k'],
    ['create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'raw', 'top'],
  ]) {
    const { status } = spawnSync(process.execPath, [fs.realpathSync(SYSTEM), 'img', ...args], { cwd: folder })
    assert.is(status, 0)
  }
  fs.writeFileSync(path.join(folder, 'base'), Buffer.alloc(131072, 7))
  const allocated = (text: unknown): number => Number(/^(\d+)\/131072 bytes allocated/.exec(String(text))?.[1])
  const drive = 'if=none,id=d,file=top,format=qcow2'
  const { stderr } = human(['-drive', `${drive},copy-on-read=on`], 'qemu-io d "read -q -P 7 0 64k"')
  assert.is(stderr, '')
  const { stdout } = spawnSync(process.execPath, [fs.realpathSync(SYSTEM), 'io', '-c', 'alloc 0 128k', 'top'], {
    cwd: folder,
    encoding: 'utf8',
  })
  assert.is(allocated(stdout), 65536, stdout)
})

test('-set and -global change options that stand elsewhere', () => {
  const drive = ['-drive', 'if=none,id=d,file=disk']
  const named = human([...drive, '-set', 'drive.d.node-name=seven', '-set', 'drive.d.format=raw'], 'info block d')
  assert.is(named.stderr, '')
  assert.match(String(named.answers[0]), /^d \(seven\): disk \(raw\)/)
  const device = ['-drive', 'if=none,id=d,file=disk,format=raw', '-device', 'virtio-blk-pci,drive=d,id=v']
  for (const [args, text] of [
    [['-set', 'foo'], `-set foo: can't parse: "foo"`],
    [['-set', 'a.b.c=d'], "-set a.b.c=d: There is no option group 'a'"],
    [[...drive, '-set', 'drive.x.format=raw'], '-set drive.x.format=raw: there is no drive "x" defined'],
    [['-set', 'drive.d.format=raw', ...drive], '-set drive.d.format=raw: there is no drive "d" defined'],
    [['-global', 'driver=scsi-hd'], "-global driver=scsi-hd: options 'driver', 'property', and 'value' are required"],
    [
      ['-global', 'virtio-blk-pci.nope=1', ...device],
      "-device virtio-blk-pci,drive=d,id=v: can't apply global virtio-blk-pci.nope=1: Property 'virtio-blk-pci.nope' not found",
    ],
  ] as const) {
    const { status, stderr } = system([...BASE, ...args])
    assert.equal([status, stderr], [1, `qemu-system-x86_64: ${text}\n`])
  }
  const stopping = human(['-global', 'virtio-blk-pci.share-rw=on', ...device], 'qemu-io d "length"')
  assert.is(stopping.stderr, '')
  assert.is(human(['-global', 'foo.bar=1']).stderr, 'qemu-system-x86_64: warning: global foo.bar has invalid class name\n')
})

test.run()
