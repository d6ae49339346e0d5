/**
 * A conversation with a system program that has no machine (`-machine none`), about what needs none: replicas, descriptors, the moving of a
 * machine, snapshots. It is held
 * with QEMU's program and with ours in a folder that has the images `r0.raw`, `r1.raw`, `r2.raw` and `s.qcow2`.
 */
import { call, hmp, type Step } from './qmp_script'

export const BARE_ARGUMENTS: readonly string[] = [
  ...['-machine', 'none', '-nodefaults', '-display', 'none', '-qmp', 'stdio'],
  ...['-add-fd', 'fd=3,set=2,opaque=tea', '-add-fd', 'fd=4,set=2', '-add-fd', 'fd=5,set=3'],
]
/** What the programs are started with as descriptors from 3 on. */
export const BARE_INHERITED: ReadonlyArray<readonly [name: string, flags: string]> = [
  ['r0.raw', 'r+'],
  ['r0.raw', 'r'],
  ['r1.raw', 'r'],
]

const io = (node: string, command: string): string => hmp(`qemu-io ${node} "${command}"`)
const add = (driver: string, name: string, more: Readonly<Record<string, unknown>> = {}): string =>
  call('blockdev-add', { driver, 'node-name': name, ...more })
const quorum = (name: string, threshold: number, children: readonly unknown[], more: Readonly<Record<string, unknown>> = {}) =>
  add('quorum', name, { 'vote-threshold': threshold, children, ...more })
const raw = (name: string, index: number): unknown => ({
  driver: 'raw',
  'node-name': name,
  file: { driver: 'file', filename: `r${index}.raw` },
})
const change = (parent: string, more: Readonly<Record<string, unknown>>): string => call('x-blockdev-change', { parent, ...more })

const FAILING = ['write', 'read', 'flush'].map((iotype) => ({ event: 'none', iotype, errno: iotype === 'write' ? 28 : 5 }))

const QUORUM: readonly Step[] = [
  add('raw', 'r', { file: { driver: 'file', filename: 'r1.raw' } }),
  io('r', 'write -q -P 0x11 4k 4k'),
  call('blockdev-del', { 'node-name': 'r' }),
  quorum('q', 2, [raw('c0', 0), raw('c1', 1), raw('c2', 2)]),
  io('q', 'read -q -P 0 1k 64k'),
  { event: 'QUORUM_REPORT_BAD', data: { 'node-name': 'c1' } },
  io('q', 'write -q -P 0x22 0 64k'),
  io('q', 'read -q -P 0x22 0 64k'),
  io('q', 'write -q -z 64k 64k'),
  io('q', 'write -q -z -u 64k 64k'),
  io('q', 'discard -q 0 64k'),
  io('q', 'map'),
  io('q', 'info'),
  io('q', 'truncate 2M'),
  io('c0', 'write -q 0 512'),
  call('query-named-block-nodes', { flat: true }),
  change('q', { child: 'children.1' }),
  change('q', { child: 'children.1' }),
  change('q', { child: 'children.2' }),
  change('q', { child: 'children.2', node: 'c0' }),
  change('q', {}),
  change('q', { node: 'c9' }),
  change('q', { node: 'c0' }),
  change('c0', { node: 'c0' }),
  change('c0', { child: 'file' }),
  change('nope', { child: 'file' }),
  add('null-co', 'n', { size: 1048576, 'read-zeroes': true }),
  change('q', { node: 'n' }),
  change('q', { child: 'children.3' }),
  change('q', { node: 'n' }),
  call('query-named-block-nodes', { flat: true }),
  call('blockdev-del', { 'node-name': 'n' }),
  add('null-co', 'm', { size: 1048576, 'read-zeroes': true }),
  add('null-co', 'long', { size: 2097152, 'read-zeroes': true }),
  quorum('q2', 0, ['m']),
  quorum('q2', 2, ['m']),
  quorum('q2', 1, []),
  quorum('q2', 1, ['m'], { blkverify: true }),
  quorum('q2', 1, ['m'], { 'read-pattern': 'x' }),
  quorum('q2', 2, ['m', 'm'], { blkverify: true, 'rewrite-corrupted': true }),
  quorum('q2', 1, ['m', 'long']),
  quorum('q2', 1, ['m', 'gone']),
  quorum('q2', 2, ['m', 'm'], { blkverify: true }),
  change('q2', { node: 'long' }),
  io('q2', 'read -q 0 64k'),
  call('blockdev-del', { 'node-name': 'q2' }),
  call('blockdev-del', { 'node-name': 'q' }),
]

const QUORUM_ERRORS: readonly Step[] = [
  add('blkdebug', 'd0', { image: 'm', 'inject-error': FAILING }),
  add('null-co', 'm1', { size: 1048576, 'read-zeroes': true }),
  add('blkdebug', 'd1', { image: 'm1', 'inject-error': FAILING }),
  add('null-co', 'm2', { size: 1048576, 'read-zeroes': true }),
  quorum('p', 2, ['d0', 'd1', 'm2']),
  io('p', 'write -q 1k 1k'),
  { event: 'QUORUM_FAILURE' },
  call('blockdev-del', { 'node-name': 'p' }),
  // It is told of one node once in a second.
  { event: 'QUORUM_REPORT_BAD', data: { 'node-name': 'd0', type: 'flush' } },
  add('null-co', 'm3', { size: 1048576, 'read-zeroes': true }),
  add('blkdebug', 'd2', { image: 'm3', 'inject-error': FAILING.filter(({ iotype }) => iotype === 'read') }),
  quorum('f', 1, ['d2', 'm2'], { 'read-pattern': 'fifo', blkverify: true }),
  io('f', 'read -q 1k 1k'),
  { event: 'QUORUM_REPORT_BAD', data: { type: 'read' } },
  io('f', 'read -q 1000 1000'),
  call('blockdev-del', { 'node-name': 'f' }),
  quorum('w', 1, [raw('c0', 0), raw('c1', 1)], { 'rewrite-corrupted': true }),
  io('w', 'read -q -P 0 0 64k'),
  { event: 'QUORUM_REPORT_BAD', data: { 'node-name': 'c0' } },
  call('blockdev-del', { 'node-name': 'w' }),
  add('raw', 'r', { file: { driver: 'file', filename: 'r0.raw' } }),
  io('r', 'read -P 0 8k 56k'),
]

const fdSet = (name: string, set: number | string, more: Readonly<Record<string, unknown>> = {}): string =>
  add('file', name, { filename: `/dev/fdset/${set}`, ...more })

const DESCRIPTORS: readonly Step[] = [
  call('blockdev-del', { 'node-name': 'r' }),
  call('query-fdsets'),
  call('add-fd'),
  call('add-fd', { 'fdset-id': 1 }),
  call('getfd', { fdname: 'a' }),
  call('closefd', { fdname: 'a' }),
  call('closefd'),
  call('remove-fd', { 'fdset-id': 9 }),
  call('remove-fd', { 'fdset-id': 9, fd: 7 }),
  call('remove-fd', { 'fdset-id': 2, fd: 777 }),
  call('remove-fd', { fd: 777 }),
  fdSet('fd', 2),
  call('query-named-block-nodes', { flat: true }),
  fdSet('g', 9),
  fdSet('g', 'x'),
  fdSet('g', 3),
  fdSet('g', 3, { 'read-only': true }),
  fdSet('h', 3, { 'auto-read-only': true }),
  call('remove-fd', { 'fdset-id': 2 }),
  call('query-fdsets'),
  io('fd', 'write -q -P 0x44 0 64k'),
  io('fd', 'read -q -P 0x44 0 64k'),
  hmp('getfd x'),
  hmp('closefd x'),
  call('blockdev-del', { 'node-name': 'fd' }),
  call('query-fdsets'),
  fdSet('fd', 2),
]

/** Snapshots of the machine, where nothing is a device's. */
const SNAPSHOTS: readonly Step[] = [
  ...['info snapshots', 'savevm x', 'loadvm x', 'delvm x'].map(hmp),
  add('qcow2', 's', { file: { driver: 'file', filename: 's.qcow2' } }),
  ...['savevm x', 'loadvm y', 'delvm y', 'loadvm x', 'savevm x', 'delvm x', 'info snapshots', 'savevm', 'loadvm'].map(hmp),
  add('raw', 'sr', { file: { driver: 'file', filename: 'r1.raw' } }),
  ...['savevm x', 'loadvm x', 'delvm x'].map(hmp),
  call('blockdev-del', { 'node-name': 'sr' }),
  call('blockdev-del', { 'node-name': 's' }),
  call('cont'),
]

const capability = (name: string): string =>
  call('migrate-set-capabilities', { capabilities: [{ capability: name, state: true }] })
const migration = (status: string): Step => ({ event: 'MIGRATION', data: { status } })
const MAPPING = [{ 'node-name': 'm', alias: 'a', bitmaps: [{ name: 'b', alias: 'bb' }] }]

const MIGRATION: readonly Step[] = [
  call('query-migrate'),
  call('query-migrate-capabilities'),
  call('query-migrate-parameters'),
  capability('foo'),
  capability('events'),
  capability('dirty-bitmaps'),
  call('migrate-set-parameters', { 'block-bitmap-mapping': MAPPING }),
  call('migrate-set-parameters', { 'block-bitmap-mapping': [{ ...MAPPING[0], alias: '1' }] }),
  call('migrate-set-parameters', { 'block-bitmap-mapping': [...MAPPING, { ...MAPPING[0], 'node-name': 'x' }] }),
  call('migrate-set-parameters', { 'block-bitmap-mapping': [...MAPPING, { ...MAPPING[0], alias: 'x' }] }),
  call('migrate-set-parameters', { 'max-bandwidth': 1048576 }),
  call('migrate-continue', { state: 'pre-switchover' }),
  call('migrate-start-postcopy'),
  call('migrate_cancel'),
  call('migrate-incoming', { uri: 'unix:x' }),
  call('migrate-pause'),
  hmp('migrate_set_capability events foo'),
  hmp('migrate_set_capability foo on'),
  hmp('migrate_set_parameter foo 1'),
  hmp('migrate_set_parameter max-bandwidth 1M'),
  hmp('migrate_start_postcopy'),
  hmp('migrate_continue pre-switchover'),
  hmp('migrate_cancel'),
  hmp('migrate_incoming unix:x'),
  call('migrate', { uri: 'unix:nobody' }),
  migration('failed'),
  call('query-migrate'),
  call('query-status'),
  hmp('migrate -d unix:nobody'),
  migration('failed'),
  hmp('migrate unix:nobody'),
  migration('failed'),
  capability('pause-before-switchover'),
  call('migrate', { uri: 'exec:cat > /dev/null' }),
  migration('pre-switchover'),
  call('migrate-continue', { state: 'device' }),
  call('migrate_cancel'),
  migration('cancelled'),
  call('query-status'),
  call('migrate', { uri: 'exec:cat > /dev/null' }),
  migration('pre-switchover'),
  call('migrate', { uri: 'exec:cat > /dev/null' }),
  call('migrate-continue', { state: 'pre-switchover' }),
  migration('completed'),
  call('query-migrate'),
  call('query-status'),
  hmp('info status'),
  call('migrate', { uri: 'exec:cat > /dev/null' }),
  call('cont'),
  { event: 'RESUME' },
  call('query-status'),
]

export const BARE_SCRIPT: readonly Step[] = [
  call('qmp_capabilities'),
  ...SNAPSHOTS,
  ...QUORUM,
  ...QUORUM_ERRORS,
  ...DESCRIPTORS,
  ...MIGRATION,
  call('quit'),
]
