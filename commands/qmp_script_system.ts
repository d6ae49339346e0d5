/**
 * A conversation with a system program: its machine, devices, media, drives and human monitor. It is held with QEMU's program and
 * with ours in a folder that has the images `a.qcow2`, `c.qcow2` and `r.raw`; the machine has drives `drv` (of a.qcow2) and `drv2`
 * (of c.qcow2, its node is `nd2`), a SCSI bus with the disk `hd` (of nd2) and the drive `cd`, and is stopped.
 */
import type { Step } from './qmp_script'

const call = (execute: string, args?: Readonly<Record<string, unknown>>): string =>
  JSON.stringify(args === undefined ? { execute } : { execute, arguments: args })
const hmp = (line: string): string => call('human-monitor-command', { 'command-line': line })

/** The command line behind what each program needs for itself. */
export const SYSTEM_ARGUMENTS: readonly string[] = [
  ...['-nodefaults', '-display', 'none', '-net', 'none', '-S', '-qmp', 'stdio'],
  ...['-drive', 'if=none,file=a.qcow2,format=qcow2,id=drv'],
  ...['-drive', 'if=none,file=c.qcow2,format=qcow2,id=drv2,node-name=nd2,werror=stop'],
  ...['-device', 'virtio-scsi,id=scsi0', '-device', 'scsi-hd,drive=nd2,id=hd', '-device', 'scsi-cd,id=cd'],
]

const MACHINE: readonly Step[] = [
  call('query-status'),
  call('stop'),
  call('query-status'),
  call('query-name'),
  call('query-uuid'),
  call('query-target'),
  call('query-chardev'),
  call('query-iothreads'),
  call('query-block'),
  call('query-blockstats'),
  call('x-debug-query-block-graph'),
  call('system_powerdown'),
  hmp(''),
  hmp('foo'),
  hmp('info foo'),
  hmp('stop now'),
  hmp('info status'),
  hmp('info name'),
  hmp('info block'),
  hmp('info block drv'),
  hmp('info block nope'),
  hmp('info block -n'),
  hmp('info block-jobs'),
  hmp('info snapshots'),
]

const ADD = { driver: 'scsi-hd', drive: 'nope', id: 'x' }

const DEVICES: readonly Step[] = [
  call('blockdev-add', { driver: 'null-co', 'node-name': 'n0', size: 1048576 }),
  call('blockdev-add', { driver: 'null-co', 'node-name': 'n1', size: 1048576, 'read-only': true }),
  call('device_add', {}),
  call('device_add', { driver: 'foo' }),
  call('device_add', ADD),
  call('device_add', { ...ADD, drive: undefined }),
  call('device_add', { ...ADD, drive: 'drv2', bus: 'nobus' }),
  call('device_add', { ...ADD, drive: 'n0', foo: 1 }),
  call('device_add', { ...ADD, drive: 'n0', werror: 'foo' }),
  call('device_add', { ...ADD, drive: 'n0', id: '1x' }),
  call('device_add', { ...ADD, drive: 'n0', id: 'hd' }),
  call('device_add', { driver: 'floppy', id: 'fl' }),
  call('device_add', { driver: 'virtio-blk', id: 'vb' }),
  call('device_add', { driver: 'virtio-blk', id: 'vb', drive: 'nope' }),
  call('device_add', { driver: 'virtio-blk-device', id: 'vb', drive: 'n0' }),
  call('device_add', { driver: 'virtio-blk', id: 'vb', drive: 'n0' }),
  call('device_add', { driver: 'virtio-blk', id: 'vb2', drive: 'n0' }),
  call('device_add', { driver: 'scsi-hd', id: 'ro', drive: 'n1' }),
  call('device_add', { driver: 'scsi-hd', id: 'dr', drive: 'drv' }),
  call('device_add', { driver: 'scsi-hd', id: 'dr2', drive: 'drv' }),
  call('blockdev-del', { 'node-name': 'n0' }),
  call('query-block'),
  call('qom-get', { path: '/machine/peripheral/vb', property: 'drive' }),
  call('qom-get', { path: 'hd', property: 'type' }),
  call('device_del', { id: 'nope' }),
  call('device_del', { id: 'ro' }),
  { event: 'DEVICE_DELETED', data: { device: 'ro' } },
  call('device_del', { id: 'dr' }),
  { event: 'DEVICE_DELETED', data: { device: 'dr' } },
  call('query-block'),
  call('device_del', { id: 'vb' }),
  call('device_del', { id: 'vb' }),
  hmp('device_add'),
  hmp('device_add foo'),
  hmp('device_add scsi-cd,id=cd2'),
  hmp('device_del cd2'),
  { event: 'DEVICE_DELETED', data: { device: 'cd2' } },
]

const MEDIA: readonly Step[] = [
  call('blockdev-open-tray', { id: 'hd' }),
  call('blockdev-open-tray', { id: 'nope' }),
  call('blockdev-open-tray', {}),
  call('blockdev-open-tray', { id: 'cd', device: 'cd' }),
  call('blockdev-insert-medium', { id: 'cd', 'node-name': 'nope' }),
  call('blockdev-insert-medium', { id: 'cd', 'node-name': 'n1' }),
  call('blockdev-open-tray', { id: 'cd' }),
  call('blockdev-open-tray', { id: 'cd' }),
  call('blockdev-insert-medium', { id: 'cd', 'node-name': 'n1' }),
  call('blockdev-insert-medium', { id: 'cd', 'node-name': 'n1' }),
  call('blockdev-close-tray', { id: 'cd' }),
  call('blockdev-close-tray', { id: 'cd' }),
  call('query-block'),
  call('blockdev-remove-medium', { id: 'cd' }),
  call('blockdev-remove-medium', { id: 'hd' }),
  call('blockdev-insert-medium', { id: 'hd', 'node-name': 'n1' }),
  call('eject', { id: 'cd' }),
  call('eject', { id: 'cd', force: true }),
  call('eject', { id: 'hd' }),
  call('eject', { device: 'nope' }),
  call('blockdev-change-medium', { id: 'cd', filename: 'nope' }),
  call('blockdev-change-medium', { id: 'cd', filename: 'r.raw', format: 'raw' }),
  call('blockdev-change-medium', { id: 'cd', filename: 'r.raw', format: 'raw', 'read-only-mode': 'read-only' }),
  call('blockdev-change-medium', { id: 'hd', filename: 'r.raw', format: 'raw' }),
  hmp('info block'),
  hmp('eject drv2'),
  hmp('eject nope'),
]

const LIMITS = { bps: 0, bps_rd: 0, bps_wr: 0, iops: 0, iops_rd: 0, iops_wr: 0 }

const THROTTLING: readonly Step[] = [
  call('block_set_io_throttle', { id: 'hd', ...LIMITS, iops: 100 }),
  call('query-block'),
  hmp('info block'),
  call('block_set_io_throttle', { id: 'hd', ...LIMITS, iops: 100, iops_rd: 1 }),
  call('block_set_io_throttle', { id: 'hd', ...LIMITS, iops: -1 }),
  call('block_set_io_throttle', { id: 'hd', ...LIMITS, iops: 100, iops_max: 50 }),
  call('block_set_io_throttle', { id: 'hd', ...LIMITS, iops: 100, iops_max: 200, iops_max_length: 3, group: 'g' }),
  call('query-block'),
  call('block_set_io_throttle', { ...LIMITS }),
  call('block_set_io_throttle', { device: 'nope', ...LIMITS }),
  call('block_set_io_throttle', { id: 'hd', ...LIMITS }),
  call('block-latency-histogram-set', { id: 'hd', boundaries: [10, 20] }),
  call('block-latency-histogram-set', { id: 'hd', boundaries: [20, 10] }),
  call('block-latency-histogram-set', { id: 'nope', boundaries: [10] }),
  call('block-latency-histogram-set', { id: 'hd' }),
]

const QEMU_IO: readonly Step[] = [
  hmp('qemu-io drv2 "write -q -P 1 0 64k"'),
  hmp('qemu-io -d hd "read -q -P 1 0 64k"'),
  hmp('qemu-io nope "read 0 64k"'),
  hmp('qemu-io -d nope "read 0 64k"'),
  hmp('qemu-io n1 "write -q 0 64k"'),
  hmp('qemu-io nd2 "aio_write -q 0 64k"'),
  hmp('qemu-io drv2'),
  hmp('qemu-io drv2 "length'),
  hmp('qemu-io drv2 "\\x"'),
]

const DRIVES: readonly Step[] = [
  hmp('drive_add'),
  hmp('drive_add 0 if=none,id=d9,file=b.qcow2,format=qcow2'),
  hmp('drive_add 0 if=none,id=d9,file=b.qcow2,format=qcow2'),
  hmp('drive_add 0 if=ide,file=b.qcow2'),
  hmp('drive_add 0 if=none,id=d8,file=nope'),
  hmp('drive_add -n 0 driver=null-co'),
  hmp('drive_add -n 0 driver=null-co,node-name=nn'),
  hmp('commit'),
  hmp('commit nope'),
  hmp('commit d9'),
  hmp('commit all'),
  hmp('block_resize d9 2M'),
  hmp('block_resize d9 x'),
  call('blockdev-snapshot-internal-sync', { device: 'd9', name: 's1' }),
  call('blockdev-snapshot-internal-sync', { device: 'd9', name: 's1' }),
  call('blockdev-snapshot-internal-sync', { device: 'd9', name: '' }),
  call('blockdev-snapshot-internal-sync', { device: 'nope', name: 's1' }),
  call('blockdev-snapshot-delete-internal-sync', { device: 'd9', name: 's2' }),
  call('blockdev-snapshot-delete-internal-sync', { device: 'd9' }),
  call('blockdev-snapshot-delete-internal-sync', { device: 'd9', name: 's1' }),
  call('block-dirty-bitmap-add', { node: 'd9', name: 'bm' }),
  call('x-debug-block-dirty-bitmap-sha256', { node: 'd9', name: 'bm' }),
  call('x-debug-block-dirty-bitmap-sha256', { node: 'd9', name: 'nope' }),
  hmp('qemu-io d9 "write -q 128k 64k"'),
  call('x-debug-block-dirty-bitmap-sha256', { node: 'd9', name: 'bm' }),
  hmp('block_job_cancel d9'),
  hmp('block_job_pause nope'),
  hmp('drive_del nn'),
  hmp('drive_del d9'),
  hmp('drive_del d9'),
  hmp('drive_del'),
  call('query-block'),
]

export const SYSTEM_SCRIPT: readonly Step[] = [
  call('qmp_capabilities'),
  ...MACHINE,
  ...DEVICES,
  ...MEDIA,
  ...THROTTLING,
  ...QEMU_IO,
  ...DRIVES,
  call('quit'),
]
