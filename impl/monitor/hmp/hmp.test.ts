import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { createImage, parseQemuOpts } from '../../blockdev'
import { type Co, makeLabel } from '../../co'
import { streamPair } from '../../co/stream_pair'
import { addDrive } from '../machine/drives'
import { answersOf, type MachineBench, machineBench, request } from '../testing'
import { HumanSession } from './session'

/** A machine with a drive `d` of 1 MiB. */
function benchWithDrive(): MachineBench {
  const bench = machineBench()
  bench.run(createImage(bench.context, { filename: 'd.qcow2', format: 'qcow2', sizeBytes: 1048576, announce: () => {} }))
  const { id, options } = parseQemuOpts('if=none,id=d,file=d.qcow2,node-name=disk', null)
  bench.run(addDrive(bench.machine, id, options, 'none', () => {}))
  return bench
}

/** What each line prints. */
function printed(bench: MachineBench, ...lines: string[]): unknown[] {
  const requests = lines.map((line) => request('human-monitor-command', { 'command-line': line }))
  return answersOf(bench, ...requests).map(({ return: value }) => value)
}

test('lines that do not fit are told as QEMU tells them', () => {
  const hint = (name: string): string => `Try "help ${name}" for more information\r\n`
  const cases: Array<[string, string]> = [
    ['', ''],
    ['foo', "unknown command: 'foo'\r\n"],
    ['info foo', "unknown command: 'info foo'\r\n"],
    ['drive_del', `drive_del: block device name expected\r\n${hint('drive_del')}`],
    ['drive_add', `drive_add: string expected\r\n${hint('drive_add')}`],
    ['stop now', `stop|s: extraneous characters at the end of line\r\n${hint('stop')}`],
    ['qemu-io -x d "length"', `qemu-io: extraneous characters at the end of line\r\n${hint('qemu-io')}`],
    ['qemu-io d "length', `qemu-io: string expected\r\n${hint('qemu-io')}`],
    ['block_resize d x', `invalid size\r\n${hint('block_resize')}`],
    ['screendump x', "Error: 'screendump' is not supported\r\n"],
    ['help q', 'quit|q  -- quit the emulator\r\n'],
  ]
  const bench = benchWithDrive()
  assert.equal(
    printed(bench, ...cases.map(([line]) => line)),
    cases.map(([, text]) => text),
  )
})

test('words that are none are told where the program prints', () => {
  const bench = benchWithDrive()
  printed(bench, 'qemu-io d "length', 'qemu-io d "\\x"')
  assert.equal(bench.said, ['unterminated string\n', "unsupported escape code: '\\x'\n"])
})

test('qemu-io works on drives, devices and nodes, and prints where the program prints', () => {
  const bench = benchWithDrive()
  answersOf(bench, request('device_add', { driver: 'virtio-blk', id: 'vb', drive: 'd' }))
  assert.equal(
    printed(
      bench,
      'qemu-io d "write -q -P 1 0 64k"',
      'qemu-io -d vb/virtio-backend "read -P 1 0 64k"',
      'qemu-io disk "length"',
      'qemu-io none "length"',
      'qemu-io -d none "length"',
      'qemu-io d "foo"',
    ),
    ['', '', '', "Error: Cannot find device='' nor node-name='none'\r\n", "Error: Device 'none' not found\r\n", ''],
  )
  const said = bench.said.join('')
  assert.match(said, 'read 65536/65536 bytes at offset 0')
  assert.match(said, '1 MiB')
  assert.match(said, 'command "foo" not found')
})

test('only asynchronous requests are counted', () => {
  const bench = benchWithDrive()
  printed(
    bench,
    'qemu-io d "write -q 0 64k"',
    'qemu-io d "aio_write -q 0 64k"',
    'qemu-io d "aio_read -q 0 512"',
    'qemu-io d aio_flush',
  )
  printed(bench, 'qemu-io d "aio_write -i 0 512"')
  const [answer] = answersOf(bench, request('query-blockstats'))
  const [{ stats }] = answer!['return'] as [{ stats: Record<string, number> }]
  assert.is(stats['wr_bytes'], 65536)
  assert.is(stats['rd_operations'], 1)
  assert.is(stats['invalid_wr_operations'], 1)
  // The clock of the machine stands still: every request is said to take a millisecond.
  assert.is(stats['wr_total_time_ns'], 1_000_000)
})

test('info tells of drives, nodes, jobs and the machine', () => {
  const bench = benchWithDrive()
  assert.equal(printed(bench, 'info block', 'info block -n d', 'info block-jobs', 'info status', 'info snapshots'), [
    'd (disk): d.qcow2 (qcow2)\r\n    Removable device: not locked, tray closed\r\n    Cache mode:       writeback\r\n',
    '',
    'No active jobs\r\n',
    'VM status: paused (prelaunch)\r\n',
    'There is no snapshot available.\r\n',
  ])
})

test('drives are added and deleted', () => {
  const bench = benchWithDrive()
  assert.equal(
    printed(
      bench,
      'drive_add 0 if=none,id=e,driver=null-co,size=64k',
      'drive_add 0 if=none,id=e,driver=null-co',
      'drive_add 0 if=ide,driver=null-co',
      'drive_add -n 0 driver=null-co',
      'drive_del e',
      'drive_del e',
    ),
    [
      'OK\r\n',
      "Duplicate ID 'e' for drive\r\n",
      "Can't hot-add drive to type 1\r\n",
      "'node-name' needs to be specified\r\n",
      '',
      "Device 'e' not found\r\n",
    ],
  )
})

test('commit writes a layer to the one below and empties it', () => {
  const bench = machineBench()
  const image = (filename: string, backing = {}) =>
    bench.run(createImage(bench.context, { filename, format: 'qcow2', sizeBytes: 65536, ...backing, announce: () => {} }))
  image('base')
  image('top', { backingFilename: 'base', backingFormat: 'qcow2' })
  const { id, options } = parseQemuOpts('if=none,id=d,file=top', null)
  bench.run(addDrive(bench.machine, id, options, 'none', () => {}))
  answersOf(bench, request('device_add', { driver: 'virtio-blk', id: 'vb', drive: 'd' }))
  assert.equal(printed(bench, 'qemu-io d "write -q -P 7 0 512"', 'commit d', 'commit none', 'qemu-io d "map"'), [
    '',
    '',
    "Device 'none' not found\r\n",
    '',
  ])
  assert.match(bench.said.join(''), '64 KiB (0x10000) bytes not allocated at offset 0 bytes')
  printed(bench, 'qemu-io d "read -P 7 0 512"')
  assert.not.match(bench.said.join(''), 'verification failed')
  assert.is(bench.graph.lookup('d').backing!.node.options.readOnly, true)
})

test('the machine is saved, loaded and forgotten in its disks', () => {
  const bench = benchWithDrive()
  bench.machine.runState.resume()
  const lines = ['qemu-io d "write -q -P 1 0 512"', 'savevm s', 'qemu-io d "write -q -P 2 0 512"', 'loadvm s']
  assert.equal(printed(bench, ...lines, 'qemu-io d "read -P 1 0 512"'), ['', '', '', '', ''])
  assert.not.match(bench.said.join(''), 'verification failed')
  assert.ok(bench.machine.runState.isRunning)
  assert.equal(printed(bench, 'delvm s', 'loadvm s'), ['', "Error: Snapshot 's' does not exist in one or more devices\r\n"])
})

/** What a terminal gets that types `input`. */
function typed(bench: MachineBench, input: string): string {
  const { near, far } = streamPair(bench.kernel, 'terminal')
  const received: Uint8Array[] = []
  function* talk(): Co<string> {
    bench.kernel.spawn(new HumanSession(bench.dispatcher, far).run(), makeLabel('session'))
    yield* near.write(new TextEncoder().encode(input))
    yield* near.endWrite()
    const buffer = new Uint8Array(4096)
    for (;;) {
      const count = yield* near.read(buffer)
      if (count <= 0) break
      received.push(buffer.slice(0, count))
    }
    return Buffer.concat(received).toString()
  }
  return bench.run(talk())
}

const BANNER = "QEMU 11.0.0 monitor - type 'help' for more information\r\n(qemu) "

test('every letter is echoed as a terminal needs it', () => {
  assert.is(
    typed(benchWithDrive(), 'foo\n'),
    `${BANNER}f\u001b[K\u001b[Dfo\u001b[K\u001b[D\u001b[Dfoo\u001b[K\r\nunknown command: 'foo'\r\n(qemu) `,
  )
  assert.is(typed(benchWithDrive(), '\n'), `${BANNER}\r\n(qemu) `)
})

test('a line can be edited, and called back', () => {
  const text = typed(benchWithDrive(), 'fop\u007fo\u001b[D\u001b[Ds\n\u001b[A\n')
  assert.is(text.split("unknown command: 'fsoo'").length, 3, JSON.stringify(text))
})

test('snapshots of the machine are also those of nodes that nothing stands on', () => {
  const bench = machineBench('none')
  const none = 'no block device can store vmstate for snapshot'
  assert.equal(printed(bench, 'info snapshots', 'savevm s', 'delvm s'), [`${none}\r\n`, `Error: ${none}\r\n`, ''])
  bench.run(createImage(bench.context, { filename: 'd.qcow2', format: 'qcow2', sizeBytes: 65536, announce: () => {} }))
  const file = { driver: 'file', filename: 'd.qcow2' }
  answersOf(bench, request('blockdev-add', { driver: 'qcow2', 'node-name': 'd', file }))
  assert.equal(printed(bench, 'savevm s', 'loadvm t'), ['', "Error: Snapshot 't' does not exist in one or more devices\r\n"])
  assert.equal(
    bench.graph
      .findNode('d')!
      .driver.snapshots()!
      .map(({ name }) => name),
    ['s'],
  )
  answersOf(bench, request('blockdev-add', { ...file, filename: 'd2', 'node-name': 'r' }))
  assert.equal(printed(bench, 'delvm s'), [''])
  assert.equal(bench.graph.findNode('d')!.driver.snapshots(), [])
})

test.run()
