import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockError } from '../../block'
import { createImage, parseQemuOpts } from '../../blockdev'
import { makeLabel } from '../../co'
import { answersOf, type MachineBench, machineBench, refusalsOf, request, toldBy } from '../testing'
import { addDrive } from './drives'

/** A machine with a SCSI bus and a node for a disk on it. */
function benchWithBus(): MachineBench {
  const bench = machineBench()
  const added = refusalsOf(
    bench,
    request('device_add', { driver: 'virtio-scsi', id: 'scsi0' }),
    request('blockdev-add', { driver: 'null-co', 'node-name': 'disk', size: 1048576 }),
  )
  assert.equal(added, [undefined, undefined])
  return bench
}

/** Gives the error, or '' when the drive is there. */
function drive(bench: MachineBench, description: string): string {
  const { id, options } = parseQemuOpts(description, 'file')
  return bench.run(
    (function* () {
      try {
        yield* addDrive(bench.machine, id, options, 'none', () => {})
        return ''
      } catch (error) {
        if (!(error instanceof BlockError)) throw error
        return error.message
      }
    })(),
  )
}

const eventsOf = (messages: Array<Record<string, unknown>>): unknown[] =>
  messages.filter((message) => 'event' in message).map(({ event, data }) => (data === undefined ? event : [event, data]))

test('a machine stops and goes on, and tells each change once', () => {
  const bench = machineBench()
  bench.machine.runState.resume()
  const told = toldBy(
    bench,
    ...['stop', 'stop', 'query-status', 'cont', 'cont', 'query-status'].map((name) => request(name)),
    request('system_reset'),
    request('system_powerdown'),
  )
  assert.equal(eventsOf(told), ['STOP', 'RESUME', ['RESET', { guest: false, reason: 'host-qmp-system-reset' }], 'POWERDOWN'])
  const statuses = told.filter(({ return: value }) => value !== undefined && 'status' in (value as object))
  assert.equal(
    statuses.map(({ return: value }) => value),
    [
      { status: 'paused', running: false },
      { status: 'running', running: true },
    ],
  )
})

test('a device holds its node as a disk: others may not write, and it is in use', () => {
  const bench = benchWithBus()
  const [added, other, deleted, told] = answersOf(
    bench,
    request('device_add', { driver: 'scsi-hd', id: 'hd', drive: 'disk' }),
    request('device_add', { driver: 'virtio-blk', id: 'vb', drive: 'disk' }),
    request('blockdev-del', { 'node-name': 'disk' }),
    request('query-block'),
  )
  assert.equal(added, { return: {} })
  assert.is(
    (other!['error'] as { desc: string }).desc,
    "Permission conflict on node 'disk': permissions 'write' are both required by block device 'hd' (uses node 'disk' as " +
      "'root' child) and unshared by block device '/machine/peripheral/vb/virtio-backend' (uses node 'disk' as 'root' child).",
  )
  assert.is((deleted!['error'] as { desc: string }).desc, 'Node disk is in use')
  const [info] = told!['return'] as Array<Record<string, unknown>>
  assert.is(info!['qdev'], 'hd')
  assert.is(info!['device'], '')
  assert.is(info!['io-status'], 'ok')
  assert.is(info!['removable'], false)
})

test('with share-rw others may write', () => {
  const bench = benchWithBus()
  assert.equal(
    refusalsOf(
      bench,
      request('device_add', { driver: 'scsi-hd', id: 'a', drive: 'disk', 'share-rw': true }),
      request('device_add', { driver: 'scsi-hd', id: 'b', drive: 'disk', 'share-rw': true }),
    ),
    [undefined, undefined],
  )
})

test('wrong devices are refused in the words of QEMU, and leave nothing behind', () => {
  const bench = benchWithBus()
  const cases: Array<[Record<string, unknown>, string]> = [
    [{ id: 'x' }, "Parameter 'driver' is missing"],
    [{ driver: 'foo' }, "'foo' is not a valid device model name"],
    [{ driver: 'virtio-blk', drive: 'none' }, "Property 'virtio-blk-device.drive' can't find value 'none'"],
    [{ driver: 'virtio-blk' }, 'drive property not set'],
    [{ driver: 'scsi-hd', drive: 'disk', id: '1x' }, "Parameter 'id' expects an identifier"],
    [{ driver: 'scsi-hd', drive: 'disk', id: 'scsi0' }, "Duplicate device ID 'scsi0'"],
    [{ driver: 'scsi-hd', drive: 'disk', bus: 'nobus' }, "Bus 'nobus' not found"],
    [{ driver: 'scsi-hd', drive: 'disk', bus: 'pci.0' }, "Device 'scsi-hd' can't go on PCI bus"],
    [{ driver: 'scsi-hd', drive: 'disk', foo: 1 }, "Property 'scsi-hd.foo' not found"],
    [{ driver: 'scsi-hd', drive: 'disk', werror: 'foo' }, "Parameter 'werror' does not accept value 'foo'"],
    [{ driver: 'virtio-blk-device', drive: 'disk' }, "No 'virtio-bus' bus found for device 'virtio-blk-device'"],
    [{ driver: 'floppy' }, "Bus 'floppy-bus.0' does not support hotplugging"],
    [{ driver: 'virtio-scsi', iothread: 'none' }, "Device 'none' not found"],
  ]
  assert.equal(
    refusalsOf(bench, ...cases.map(([args]) => request('device_add', args))),
    cases.map(([, text]) => text),
  )
  assert.is(bench.machine.backends.size, 0)
  assert.is(bench.machine.devices.length, 1)
})

test('the empty machine has no bus for any device', () => {
  assert.equal(refusalsOf(machineBench('none'), request('device_add', { driver: 'virtio-blk', drive: 'disk' })), [
    "No 'PCI' bus found for device 'virtio-blk-pci'",
  ])
})

test('a SCSI disk goes at once; what sits on PCI goes when the machine is reset', () => {
  const bench = benchWithBus()
  const events: unknown[] = []
  bench.environment.events.listen((event) => {
    const data = event.get('data')
    events.push([event.get('event'), data instanceof Map ? Object.fromEntries(data) : data])
  })
  // Each in a conversation of its own: events of the end follow the answer.
  const refused = [
    request('device_add', { driver: 'scsi-hd', id: 'hd', drive: 'disk' }),
    request('device_del', { id: 'hd' }),
    request('device_add', { driver: 'virtio-blk', id: 'vb', drive: 'disk' }),
    request('device_del', { id: 'vb' }),
    request('device_del', { id: 'vb' }),
    request('system_reset'),
    request('device_del', { id: 'vb' }),
  ].flatMap((each) => refusalsOf(bench, each))
  bench.run(bench.kernel.sleepNs(0))
  assert.equal(events, [
    ['DEVICE_DELETED', { device: 'hd', path: '/machine/peripheral/hd' }],
    ['RESET', { guest: false, reason: 'host-qmp-system-reset' }],
    ['DEVICE_DELETED', { path: '/machine/peripheral/vb/virtio-backend' }],
    ['DEVICE_DELETED', { device: 'vb', path: '/machine/peripheral/vb' }],
  ])
  assert.equal(refused, [
    ...[undefined, undefined, undefined, undefined, 'Device vb is already in the process of unplug'],
    ...[undefined, "Device 'vb' not found"],
  ])
  assert.is(bench.machine.backends.size, 0)
  assert.is(bench.graph.lookup('disk').parents.size, 0)
})

test('a controller takes its disks along', () => {
  const bench = benchWithBus()
  answersOf(
    bench,
    request('device_add', { driver: 'scsi-hd', id: 'hd', drive: 'disk' }),
    request('device_del', { id: 'scsi0' }),
    request('system_reset'),
  )
  assert.is(bench.machine.devices.length, 0)
  assert.is(bench.machine.backends.size, 0)
})

test('media come and go through a tray', () => {
  const bench = benchWithBus()
  const told = toldBy(
    bench,
    request('device_add', { driver: 'scsi-cd', id: 'cd' }),
    request('blockdev-add', { driver: 'null-co', 'node-name': 'medium', size: 4096, 'read-only': true }),
    request('blockdev-insert-medium', { id: 'cd', 'node-name': 'medium' }),
    request('blockdev-open-tray', { id: 'cd' }),
    request('blockdev-open-tray', { id: 'cd' }),
    request('blockdev-insert-medium', { id: 'cd', 'node-name': 'medium' }),
    request('blockdev-insert-medium', { id: 'cd', 'node-name': 'medium' }),
    request('blockdev-close-tray', { id: 'cd' }),
    request('blockdev-remove-medium', { id: 'cd' }),
    request('eject', { id: 'cd' }),
    request('eject', {}),
    request('eject', { id: 'scsi0' }),
    request('eject', { device: 'cd' }),
  )
  assert.equal(eventsOf(told), [
    ['DEVICE_TRAY_MOVED', { device: '', 'tray-open': true, id: 'cd' }],
    ['DEVICE_TRAY_MOVED', { device: '', 'tray-open': false, id: 'cd' }],
    ['DEVICE_TRAY_MOVED', { device: '', 'tray-open': true, id: 'cd' }],
  ])
  const errors = told.flatMap(({ error }) => (error === undefined ? [] : [(error as { desc: string }).desc]))
  assert.equal(errors, [
    'Tray of the device is not open',
    "Node 'medium' is already in use",
    "Tray of device 'cd' is not open",
    "Need exactly one of 'device' and 'id'",
    'Device does not have a block device backend',
    "Device 'cd' not found",
  ])
})

test('a hard disk keeps its medium', () => {
  const bench = benchWithBus()
  assert.equal(
    refusalsOf(
      bench,
      request('device_add', { driver: 'scsi-hd', id: 'hd', drive: 'disk' }),
      request('eject', { id: 'hd' }),
      request('blockdev-open-tray', { id: 'hd' }),
      request('blockdev-remove-medium', { id: 'hd' }),
      request('blockdev-add', { driver: 'null-co', 'node-name': 'other', size: 4096 }),
      request('blockdev-insert-medium', { id: 'hd', 'node-name': 'other' }),
    ),
    [
      ...[undefined, "Device 'hd' is not removable", "Device 'hd' is not removable", "Device 'hd' is not removable"],
      ...[undefined, 'Device is not removable'],
    ],
  )
})

const LIMITS = { bps: 0, bps_rd: 0, bps_wr: 0, iops: 0, iops_rd: 0, iops_wr: 0 }

test('limits are set, told and taken away; nothing moves before the clock does', () => {
  const bench = benchWithBus()
  const [, , told, wrong] = answersOf(
    bench,
    request('device_add', { driver: 'scsi-hd', id: 'hd', drive: 'disk' }),
    request('block_set_io_throttle', { id: 'hd', ...LIMITS, iops: 10, iops_max: 20 }),
    request('query-block'),
    request('block_set_io_throttle', { id: 'hd', ...LIMITS, iops: 10, iops_rd: 10 }),
  )
  const [info] = told!['return'] as Array<Record<string, Record<string, unknown>>>
  const { iops, iops_max, iops_max_length, group } = info!['inserted']!
  assert.equal([iops, iops_max, iops_max_length, group], [10, 20, 1, 'hd'])
  assert.is(
    (wrong!['error'] as { desc: string }).desc,
    'bps/iops/max total values and read/write values cannot be used at the same time',
  )
  const { backend } = [...bench.machine.backends.values()][0]!
  let done = 0
  function* many() {
    for (let index = 0; index < 40; index++) {
      yield* backend.pread(0, new Uint8Array(512))
      done++
    }
  }
  bench.kernel.spawn(many(), makeLabel('reads'))
  bench.run(bench.kernel.sleepNs(1e9))
  const atStart = done
  assert.ok(atStart < 40, String(atStart))
  for (let seconds = 1; seconds <= 4; seconds++) {
    bench.stepped.moveTo(seconds * 1e9)
    bench.run(bench.kernel.sleepNs(1e9))
  }
  assert.ok(done > atStart)
  assert.equal(refusalsOf(bench, request('block_set_io_throttle', { id: 'hd', ...LIMITS })), [undefined])
  bench.run(bench.kernel.sleepNs(1e9))
  assert.is(done, 40)
})

test('a drive is made as its options say', () => {
  const bench = machineBench()
  bench.run(createImage(bench.context, { filename: 'd.qcow2', format: 'qcow2', sizeBytes: 65536, announce: () => {} }))
  drive(bench, 'd.qcow2,if=none,id=d,node-name=top,cache=writethrough,iops=5,werror=stop')
  const [told] = answersOf(bench, request('query-block'))
  const [info] = told!['return'] as Array<Record<string, unknown>>
  const inserted = info!['inserted'] as Record<string, unknown>
  assert.is(info!['device'], 'd')
  assert.is(inserted['node-name'], 'top')
  assert.is(inserted['iops'], 5)
  assert.equal(inserted['cache'], { 'no-flush': false, direct: false, writeback: false })
})

test('wrong drives are refused in the words of QEMU, and leave nothing behind', () => {
  const bench = machineBench()
  bench.run(createImage(bench.context, { filename: 'd.qcow2', format: 'qcow2', sizeBytes: 65536, announce: () => {} }))
  drive(bench, 'd.qcow2,if=none,id=d')
  const backends = bench.machine.backends.size
  const nodes = bench.graph.nodes.size
  const cases: Array<[string, string]> = [
    ['if=none,id=d', "Duplicate ID 'd' for drive"],
    ['cache=foo', 'invalid cache option'],
    ['if=foo', "unsupported bus type 'foo'"],
    ['media=foo', "'foo' invalid media"],
    ['d.qcow2,aio=foo', 'invalid aio option'],
    ['d.qcow2,werror=foo', "'foo' invalid write error action"],
    ['d.qcow2,rerror=foo', "'foo' invalid read error action"],
    ['d.qcow2,detect-zeroes=foo', 'invalid parameter value: foo'],
    ['d.qcow2,format=foo', "Unknown driver 'foo'"],
    ['d.qcow2,foo=bar', "Block format 'qcow2' does not support the option 'foo'"],
    ['d.qcow2,readonly=foo', "Parameter 'read-only' expects 'on' or 'off'"],
    ['d.qcow2,index=foo', "Parameter 'index' expects a number"],
    ['d.qcow2,bps=10,bps_rd=5', 'bps/iops/max total values and read/write values cannot be used at the same time'],
    ['foo=bar', 'Must specify either driver or file'],
    ['d.qcow2,snapshot=on', 'there is no place for temporary layers'],
  ]
  for (const [description, text] of cases) assert.is(drive(bench, description), text, description)
  assert.is(bench.machine.backends.size, backends)
  assert.is(bench.graph.nodes.size, nodes)
})

test('devices are objects of the machine', () => {
  const bench = benchWithBus()
  const [, listed, drive, type, nothing] = answersOf(
    bench,
    request('device_add', { driver: 'scsi-hd', id: 'hd', drive: 'disk' }),
    request('qom-list', { path: '/machine/peripheral' }),
    request('qom-get', { path: '/machine/peripheral/hd', property: 'drive' }),
    request('qom-get', { path: 'hd', property: 'type' }),
    request('qom-get', { path: 'hd', property: 'foo' }),
  )
  assert.equal(listed!['return'], [
    { name: 'type', type: 'string' },
    { name: 'scsi0', type: 'child<virtio-scsi-pci>' },
    { name: 'hd', type: 'child<scsi-hd>' },
  ])
  assert.is(drive!['return'], 'disk')
  assert.is(type!['return'], 'scsi-hd')
  assert.is((nothing!['error'] as { desc: string }).desc, "Property 'scsi-hd.foo' not found")
})

test('a drive that is deleted under its device leaves the device without a medium', () => {
  const bench = machineBench()
  drive(bench, 'if=none,id=d,driver=null-co,node-name=disk,size=65536')
  const [, , told] = answersOf(
    bench,
    request('device_add', { driver: 'virtio-blk', id: 'vb', drive: 'd' }),
    request('human-monitor-command', { 'command-line': 'drive_del d' }),
    request('query-block'),
  )
  const [info] = told!['return'] as Array<Record<string, unknown>>
  assert.is(info!['device'], '')
  assert.is(info!['inserted'], undefined)
  assert.is(bench.graph.findNode('disk'), null)
})

test.run()
