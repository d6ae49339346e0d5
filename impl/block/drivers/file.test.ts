import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, EACCES, EINVAL, EIO, ENOSPC, ENOTSUP, type Errno, OK } from '../../co'
import { BlockBackend } from '../backend'
import { BlockError } from '../error'
import { Permission, RequestFlag, StatusFlag } from '../flags'
import type { FileTraits, HostExtent, HostFile, HostFiles } from '../hostfile'
import type { BlockNode, NodeOptions } from '../node'
import { type TestBench, testBench } from '../testing'
import { createFile, FileDriver, openFile } from './file'

const UNIT = 4096

/** A file in memory that keeps account of what is allocated, and can be made unable to do things. */
class MemoryFile implements HostFile {
  readonly path = 'memory'
  data: Buffer
  readonly allocated = new Set<number>()
  readonly calls: string[] = []
  isDevice = false
  alignmentBytes = 1
  cannot = new Set<'punch' | 'zero-range' | 'allocate' | 'seek'>()
  /** Called at the start of each call; anything but OK fails it. */
  fail: (call: string) => Errno = () => OK

  constructor(lengthBytes: number) {
    this.data = Buffer.alloc(lengthBytes)
  }

  traits(): FileTraits {
    return {
      lengthBytes: this.data.length,
      allocatedBytes: this.allocated.size * UNIT,
      isBlockDevice: this.isDevice,
      identity: 'memory',
      holeUnitBytes: UNIT,
      alignmentBytes: this.alignmentBytes,
    }
  }
  private begin(call: string, offsetBytes = 0, lengthBytes = 0): Errno {
    this.calls.push(lengthBytes === 0 ? call : `${call} ${offsetBytes}+${lengthBytes}`)
    return this.fail(call)
  }
  private mark(offsetBytes: number, endBytes: number): void {
    for (let unit = Math.floor(offsetBytes / UNIT); unit * UNIT < endBytes; unit++) this.allocated.add(unit)
  }
  private grow(lengthBytes: number): void {
    if (lengthBytes > this.data.length) this.data = Buffer.concat([this.data, Buffer.alloc(lengthBytes - this.data.length)])
  }
  *pread(offsetBytes: number, buffer: Uint8Array): Co<Errno> {
    const errno = this.begin('read', offsetBytes, buffer.length)
    if (errno !== OK) return errno
    buffer.fill(0)
    buffer.set(this.data.subarray(offsetBytes, offsetBytes + buffer.length))
    return OK
  }
  *pwrite(offsetBytes: number, buffer: Uint8Array): Co<Errno> {
    const errno = this.begin('write', offsetBytes, buffer.length)
    if (errno !== OK) return errno
    this.grow(offsetBytes + buffer.length)
    this.data.set(buffer, offsetBytes)
    this.mark(offsetBytes, offsetBytes + buffer.length)
    return OK
  }
  *punchHole(offsetBytes: number, lengthBytes: number): Co<Errno> {
    const errno = this.begin('punch', offsetBytes, lengthBytes)
    if (this.cannot.has('punch')) return ENOTSUP
    if (errno !== OK) return errno
    const endBytes = offsetBytes + lengthBytes
    this.data.fill(0, offsetBytes, endBytes)
    for (let unit = Math.ceil(offsetBytes / UNIT); (unit + 1) * UNIT <= endBytes; unit++) this.allocated.delete(unit)
    return OK
  }
  *zeroRange(offsetBytes: number, lengthBytes: number, keepSize: boolean): Co<Errno> {
    assert.ok(keepSize)
    const errno = this.begin('zero-range', offsetBytes, lengthBytes)
    if (this.cannot.has('zero-range')) return ENOTSUP
    if (errno !== OK) return errno
    this.data.fill(0, offsetBytes, offsetBytes + lengthBytes)
    this.mark(offsetBytes, offsetBytes + lengthBytes)
    return OK
  }
  *allocate(offsetBytes: number, lengthBytes: number): Co<Errno> {
    const errno = this.begin('allocate', offsetBytes, lengthBytes)
    if (this.cannot.has('allocate')) return ENOTSUP
    if (errno !== OK) return errno
    this.grow(offsetBytes + lengthBytes)
    this.mark(offsetBytes, offsetBytes + lengthBytes)
    return OK
  }
  *extentAt(offsetBytes: number): Co<HostExtent> {
    const errno = this.begin('seek')
    if (this.cannot.has('seek')) return { errno: ENOTSUP, isData: true, endBytes: offsetBytes }
    if (errno !== OK) return { errno, isData: true, endBytes: offsetBytes }
    const first = Math.floor(offsetBytes / UNIT)
    const isData = this.allocated.has(first)
    let unit = first
    while (unit * UNIT < this.data.length && this.allocated.has(unit) === isData) unit++
    return { errno: OK, isData, endBytes: Math.min(unit * UNIT, this.data.length) }
  }
  *truncate(lengthBytes: number): Co<Errno> {
    const errno = this.begin('truncate', 0, lengthBytes)
    if (errno !== OK) return errno
    this.grow(lengthBytes)
    this.data = this.data.subarray(0, lengthBytes)
    return OK
  }
  *sync(): Co<Errno> {
    return this.begin('sync')
  }
  *close(): Co<Errno> {
    return this.begin('close')
  }
}

interface FileStack extends TestBench {
  file: MemoryFile
  driver: FileDriver
  node: BlockNode
  backend: BlockBackend
}

function fileStack(file: MemoryFile, options: Partial<NodeOptions> = { discard: 'unmap' }): FileStack {
  const bench = testBench()
  const driver = new FileDriver(file)
  const node = bench.graph.addNode({ name: 'file', driver, options })
  const backend = new BlockBackend(bench.graph, 'drive')
  backend.attach(node, Permission.ConsistentRead | Permission.Write | Permission.Resize, Permission.All)
  file.calls.length = 0
  return { ...bench, file, driver, node, backend }
}

/** The extents of a node as `data`/`zero` with their ends. */
function statusOfAll({ node, run }: FileStack): string[] {
  const found: string[] = []
  for (let at = 0; at < node.lengthBytes; ) {
    const { errno, flags, bytes } = run(node.blockStatus('want-zero', at, node.lengthBytes - at))
    assert.is(errno, OK)
    at += bytes
    found.push(`${(flags & StatusFlag.Zero) === 0 ? 'data' : 'zero'} ${at}`)
  }
  return found
}

test('zeroes that may be unmapped are punched, others keep their room', () => {
  const stack = fileStack(new MemoryFile(16 * UNIT))
  stack.run(stack.backend.pwrite(0, Buffer.alloc(16 * UNIT, 1)))
  stack.file.calls.length = 0
  assert.is(stack.run(stack.backend.pwriteZeroes(0, 4 * UNIT, RequestFlag.MayUnmap)), OK)
  assert.is(stack.run(stack.backend.pwriteZeroes(8 * UNIT, 4 * UNIT)), OK)
  assert.equal(stack.file.calls, [`punch 0+${4 * UNIT}`, `zero-range ${8 * UNIT}+${4 * UNIT}`])
  assert.is(stack.file.allocated.size, 12)
})

test('where ranges cannot be zeroed, they are punched and allocated again', () => {
  const stack = fileStack(new MemoryFile(8 * UNIT))
  stack.file.cannot.add('zero-range')
  stack.run(stack.backend.pwrite(0, Buffer.alloc(8 * UNIT, 1)))
  stack.file.calls.length = 0
  for (let round = 0; round < 2; round++) assert.is(stack.run(stack.backend.pwriteZeroes(0, UNIT)), OK)
  const pair = [`punch 0+${UNIT}`, `allocate 0+${UNIT}`]
  assert.equal(stack.file.calls, [`zero-range 0+${UNIT}`, ...pair, ...pair])
  assert.is(stack.file.allocated.size, 8)
  assert.ok(stack.file.data.subarray(0, UNIT).equals(Buffer.alloc(UNIT)))
})

test('where nothing helps, zeroes are written as data, and nothing is tried twice', () => {
  const stack = fileStack(new MemoryFile(8 * UNIT))
  for (const call of ['punch', 'zero-range', 'allocate'] as const) stack.file.cannot.add(call)
  assert.is(stack.run(stack.backend.pwriteZeroes(0, UNIT, RequestFlag.MayUnmap)), OK)
  assert.equal(stack.file.calls, [`punch 0+${UNIT}`, `zero-range 0+${UNIT}`, `write 0+${UNIT}`])
  stack.file.calls.length = 0
  assert.is(stack.run(stack.backend.pwriteZeroes(0, UNIT, RequestFlag.MayUnmap)), OK)
  assert.equal(stack.file.calls, [`write 0+${UNIT}`])
  assert.is(stack.run(stack.backend.pwriteZeroes(0, UNIT, RequestFlag.NoFallback)), ENOTSUP)
})

test('a range that the medium does not take as it stands is written, and the next one is tried again', () => {
  const stack = fileStack(new MemoryFile(8 * UNIT))
  stack.file.fail = (call) => (call === 'punch' || call === 'zero-range' ? EINVAL : OK)
  stack.file.cannot.add('allocate')
  assert.is(stack.run(stack.backend.pwriteZeroes(0, UNIT, RequestFlag.MayUnmap)), OK)
  stack.file.fail = () => OK
  stack.file.calls.length = 0
  assert.is(stack.run(stack.backend.pwriteZeroes(0, UNIT, RequestFlag.MayUnmap)), OK)
  assert.equal(stack.file.calls, [`punch 0+${UNIT}`])
})

test('an error of zeroing is not papered over by writing', () => {
  for (const call of ['punch', 'zero-range']) {
    const stack = fileStack(new MemoryFile(8 * UNIT))
    stack.file.fail = (present) => (present === call ? EIO : OK)
    const flags = call === 'punch' ? RequestFlag.MayUnmap : 0
    assert.is(stack.run(stack.backend.pwriteZeroes(0, UNIT, flags)), EIO)
    assert.is(stack.file.calls.length, 1)
  }
})

test('discards are punched, and are no error where that cannot be', () => {
  const stack = fileStack(new MemoryFile(8 * UNIT))
  assert.is(stack.run(stack.backend.pdiscard(UNIT, UNIT)), OK)
  stack.file.cannot.add('punch')
  assert.is(stack.run(stack.backend.pdiscard(UNIT, UNIT)), OK)
  assert.is(stack.run(stack.backend.pdiscard(UNIT, UNIT)), OK)
  assert.equal(stack.file.calls, [`punch ${UNIT}+${UNIT}`, `punch ${UNIT}+${UNIT}`])
})

test('a host that says it makes no holes is not asked to', () => {
  const file = new MemoryFile(8 * UNIT)
  const traits = file.traits()
  file.traits = () => ({ ...traits, canPunchHoles: false })
  const stack = fileStack(file)
  assert.is(stack.driver.supportedZeroFlags & RequestFlag.MayUnmap, 0)
  assert.is(stack.run(stack.backend.pwriteZeroes(0, UNIT, RequestFlag.MayUnmap)), OK)
  assert.equal(stack.file.calls, [`zero-range 0+${UNIT}`])
})

test('status tells holes from data, and asks once for each extent of data', () => {
  const stack = fileStack(new MemoryFile(16 * UNIT))
  stack.run(stack.backend.pwrite(4 * UNIT, Buffer.alloc(4 * UNIT, 1)))
  stack.file.calls.length = 0
  assert.equal(statusOfAll(stack), [`zero ${4 * UNIT}`, `data ${8 * UNIT}`, `zero ${16 * UNIT}`])
  assert.is(stack.file.calls.length, 3)
  stack.run(stack.node.blockStatus('want-zero', 4 * UNIT, UNIT))
  for (let at = 4; at < 8; at++) stack.run(stack.node.blockStatus('want-zero', at * UNIT, UNIT))
  assert.is(stack.file.calls.length, 4)
})

test('a hole that somebody else has filled is a hole no longer', () => {
  const file = new MemoryFile(16 * UNIT)
  const stack = fileStack(file)
  assert.equal(statusOfAll(stack), [`zero ${16 * UNIT}`])
  stack.run(file.pwrite(2 * UNIT, Buffer.alloc(UNIT, 1)))
  assert.equal(statusOfAll(stack), [`zero ${2 * UNIT}`, `data ${3 * UNIT}`, `zero ${16 * UNIT}`])
})

test('what is asked for loosely says nothing of holes, and is not kept for an answer that must be exact', () => {
  const stack = fileStack(new MemoryFile(16 * UNIT))
  const loose = stack.run(stack.node.blockStatus('allocation-only', 0, 16 * UNIT))
  assert.is(loose.flags & StatusFlag.Data, StatusFlag.Data)
  assert.equal(stack.file.calls, [])
  assert.equal(statusOfAll(stack), [`zero ${16 * UNIT}`])
})

test('a change that may have removed data makes the driver forget what it knew', () => {
  const changes: Array<(backend: BlockBackend) => Co<Errno>> = [
    (backend) => backend.pwriteZeroes(0, UNIT, RequestFlag.MayUnmap),
    (backend) => backend.pdiscard(0, UNIT),
    (backend) => backend.truncate(32 * UNIT, true, 'off'),
  ]
  for (const change of changes) {
    const stack = fileStack(new MemoryFile(16 * UNIT))
    stack.run(stack.backend.pwrite(0, Buffer.alloc(4 * UNIT, 1)))
    stack.run(stack.node.blockStatus('want-zero', 0, UNIT))
    stack.run(change(stack.backend))
    stack.file.calls.length = 0
    stack.run(stack.node.blockStatus('want-zero', 0, UNIT))
    assert.equal(stack.file.calls, ['seek'])
  }
})

test('data that is written to again stays data, and is not asked about', () => {
  const stack = fileStack(new MemoryFile(16 * UNIT))
  stack.run(stack.backend.pwrite(0, Buffer.alloc(4 * UNIT, 1)))
  stack.run(stack.node.blockStatus('want-zero', 0, UNIT))
  stack.run(stack.backend.pwrite(UNIT, Buffer.alloc(UNIT, 2)))
  stack.file.calls.length = 0
  const { flags, bytes } = stack.run(stack.node.blockStatus('want-zero', 0, 16 * UNIT))
  assert.is(flags & StatusFlag.Data, StatusFlag.Data)
  assert.is(bytes, 4 * UNIT)
  assert.equal(stack.file.calls, [])
})

/** A file that the host copies to by itself. */
class CopiedFile extends MemoryFile {
  copyErrno: Errno = OK
  copiesFrom(source: HostFile): boolean {
    return source instanceof CopiedFile
  }
  *copyFrom(source: HostFile, offsetBytes: number, lengthBytes: number): Co<Errno> {
    this.calls.push(`copy ${offsetBytes}+${lengthBytes}`)
    if (this.copyErrno !== OK) return this.copyErrno
    this.data.set((source as CopiedFile).data.subarray(offsetBytes, offsetBytes + lengthBytes), offsetBytes)
    return OK
  }
}

test('the host copies between files, except what is not in both, until it says that it cannot', () => {
  const source = new FileDriver(new CopiedFile(10_000))
  const file = new CopiedFile(10_000)
  const stack = fileStack(file)
  const copy = (offsetBytes: number, lengthBytes: number): Errno =>
    stack.run(stack.driver.copyFrom(source, offsetBytes, lengthBytes))
  assert.ok(stack.driver.copiesFrom(source))
  assert.not.ok(stack.driver.copiesFrom(new FileDriver(new MemoryFile(UNIT))))
  // The last sector reaches beyond the last byte.
  assert.is(copy(9728, 512), ENOTSUP)
  assert.equal(file.calls, [])
  assert.is(copy(0, 9728), OK)
  file.copyErrno = EIO
  assert.is(copy(0, 512), EIO)
  assert.ok(stack.driver.copiesFrom(source))
  file.copyErrno = ENOTSUP
  assert.is(copy(0, 512), ENOTSUP)
  assert.not.ok(stack.driver.copiesFrom(source))
  assert.equal(file.calls, ['copy 0+9728', 'copy 0+512', 'copy 0+512'])
})

test('a hole that was copied to is asked about again', () => {
  const stack = fileStack(new CopiedFile(16 * UNIT))
  stack.run(stack.node.blockStatus('want-zero', 0, UNIT))
  stack.file.calls.length = 0
  stack.run(stack.driver.copyFrom(new FileDriver(new CopiedFile(16 * UNIT)), 0, UNIT))
  stack.run(stack.node.blockStatus('want-zero', 0, UNIT))
  assert.equal(stack.file.calls, [`copy 0+${UNIT}`, 'seek'])
})

test('an answer that a change has overtaken is not kept', () => {
  const stack = fileStack(new MemoryFile(16 * UNIT))
  const { file } = stack
  const ask = file.extentAt.bind(file)
  file.extentAt = function* (offsetBytes: number): Co<HostExtent> {
    const extent = yield* ask(offsetBytes)
    yield* stack.kernel.sleepNs(1000)
    return extent
  }
  function* main(): Co<void> {
    const asking = stack.kernel.spawn(
      (function* (): Co<void> {
        yield* stack.node.blockStatus('want-zero', 0, UNIT)
      })(),
    )
    yield* stack.kernel.sleepNs(500)
    yield* stack.backend.pwrite(0, Buffer.alloc(UNIT, 1))
    yield* stack.kernel.join(asking)
  }
  stack.run(main())
  const { flags } = stack.run(stack.node.blockStatus('want-zero', 0, UNIT))
  assert.is(flags & StatusFlag.Zero, 0)
})

test('where holes cannot be told from data, or asking fails, everything is data', () => {
  const stack = fileStack(new MemoryFile(16 * UNIT))
  stack.file.fail = () => EIO
  assert.equal(statusOfAll(stack), [`data ${16 * UNIT}`])
  stack.file.cannot.add('seek')
  assert.equal(statusOfAll(stack), [`data ${16 * UNIT}`])
  stack.file.calls.length = 0
  assert.equal(statusOfAll(stack), [`data ${16 * UNIT}`])
  assert.equal(stack.file.calls, [])
})

test('everything is allocated in the file, holes included', () => {
  const stack = fileStack(new MemoryFile(16 * UNIT))
  const status = stack.run(stack.node.blockStatus('allocation-only', 0, 16 * UNIT))
  assert.is(status.bytes, 16 * UNIT)
  assert.ok((status.flags & StatusFlag.Allocated) !== 0)
  assert.equal(stack.file.calls, [])
})

test('with direct I/O, holes are told in whole blocks and data gets the rest', () => {
  const file = new MemoryFile(4 * UNIT)
  file.alignmentBytes = 512
  const stack = fileStack(file)
  file.extentAt = function* (offsetBytes: number): Co<HostExtent> {
    const endBytes = offsetBytes < 700 ? 700 : offsetBytes < 1900 ? 1900 : file.data.length
    return { errno: OK, isData: endBytes === 1900, endBytes }
  }
  assert.equal(statusOfAll(stack), ['zero 512', 'data 1024', 'data 2048', `zero ${4 * UNIT}`])
})

test('a file grows by the zeroes that a format puts behind its end', () => {
  const stack = fileStack(new MemoryFile(1000))
  const parent = { describe: () => 'a format', node: null, drainBegin() {}, drainEnd() {}, drainBusy: () => false }
  const permission = Permission.Write | Permission.Resize
  const edge = stack.graph.attach({ name: 'file', parent, node: stack.node, permission, shared: Permission.All })
  assert.is(stack.run(edge.pwrite(1024, new Uint8Array(512))), OK)
  assert.is(stack.file.data.length, 1536)
  assert.is(stack.run(edge.pwriteZeroes(1024, 1024, RequestFlag.MayUnmap)), OK)
  assert.is(stack.file.data.length, 2048)
  assert.is(stack.node.lengthBytes, 2048)
})

test('a file grows by zeroes without a change of length, which could cut a write off that is further behind', () => {
  for (const [flags, cannot, calls] of [
    [0, [], ['allocate 4096+8192']],
    [RequestFlag.MayUnmap, [], ['allocate 11776+512']],
    [0, ['allocate'], ['allocate 4096+8192', 'write 11776+512']],
  ] as const) {
    const file = new MemoryFile(UNIT)
    file.cannot = new Set(cannot)
    const stack = fileStack(file)
    const parent = { describe: () => 'a format', node: null, drainBegin() {}, drainEnd() {}, drainBusy: () => false }
    const permission = Permission.Write | Permission.Resize
    const edge = stack.graph.attach({ name: 'file', parent, node: stack.node, permission, shared: Permission.All })
    assert.is(stack.run(edge.pwriteZeroes(UNIT, 2 * UNIT, flags)), OK)
    assert.equal(file.calls, calls)
    assert.is(stack.node.lengthBytes, 3 * UNIT)
  }
})

test('a file that ends inside a sector keeps its length, and reads zero after its end', () => {
  const stack = fileStack(new MemoryFile(1000))
  assert.is(stack.node.lengthBytes, 1024)
  const data = Buffer.alloc(1024, 5).fill(0, 1000)
  assert.is(stack.run(stack.backend.pwrite(0, data)), OK)
  assert.is(stack.run(stack.backend.pwriteZeroes(512, 512)), OK)
  assert.is(stack.run(stack.backend.pwriteZeroes(0, 1024, RequestFlag.MayUnmap)), OK)
  assert.is(stack.run(stack.backend.pdiscard(0, 1024)), OK)
  assert.is(stack.file.data.length, 1000)
  assert.equal(stack.file.calls, ['write 0+1000', 'zero-range 512+488', 'punch 0+1000', 'punch 0+1000'])
  const read = Buffer.alloc(1024, 1)
  assert.is(stack.run(stack.backend.pread(0, read)), OK)
  assert.ok(read.equals(Buffer.alloc(1024)))
})

test('direct I/O writes whole blocks, also the one in which the file ends', () => {
  const file = new MemoryFile(1000)
  file.alignmentBytes = 512
  const stack = fileStack(file)
  assert.is(stack.run(stack.backend.pwrite(0, Buffer.alloc(1024, 5).fill(0, 1000))), OK)
  assert.equal(stack.file.calls, ['write 0+1024'])
})

test('data after the last byte makes the file longer, to its last sector', () => {
  const stack = fileStack(new MemoryFile(1000))
  assert.is(stack.run(stack.backend.pwrite(512, Buffer.alloc(512, 5))), OK)
  assert.is(stack.file.data.length, 1024)
  assert.is(stack.driver.lengthBytes(), 1024)
})

test('after a flush that failed no flush succeeds', () => {
  const stack = fileStack(new MemoryFile(8 * UNIT))
  stack.run(stack.backend.pwrite(0, Buffer.alloc(UNIT, 1)))
  stack.file.fail = (call) => (call === 'sync' ? EIO : OK)
  assert.is(stack.run(stack.backend.flush()), EIO)
  stack.file.fail = () => OK
  assert.is(stack.run(stack.backend.flush()), EIO)
})

test('a full disk is an error of the write', () => {
  const stack = fileStack(new MemoryFile(8 * UNIT))
  stack.file.fail = (call) => (call === 'write' ? ENOSPC : OK)
  assert.is(stack.run(stack.backend.pwrite(0, Buffer.alloc(UNIT, 1))), ENOSPC)
})

test('a longer file can be sparse, allocated, or written', () => {
  for (const [preallocation, units] of [
    ['off', 0],
    ['falloc', 4],
    ['full', 4],
  ] as const) {
    const stack = fileStack(new MemoryFile(4 * UNIT))
    assert.is(stack.run(stack.backend.truncate(8 * UNIT, true, preallocation)), OK)
    assert.is(stack.node.lengthBytes, 8 * UNIT)
    assert.is(stack.file.data.length, 8 * UNIT)
    assert.is(stack.file.allocated.size, units, preallocation)
  }
})

test('what cannot be allocated ahead is written', () => {
  const stack = fileStack(new MemoryFile(0))
  stack.file.cannot.add('allocate')
  assert.is(stack.run(stack.backend.truncate(8 * UNIT, true, 'falloc')), OK)
  assert.is(stack.file.allocated.size, 8)
})

test('a preallocation that fails leaves the file as long as it was', () => {
  const stack = fileStack(new MemoryFile(4 * UNIT))
  stack.file.fail = (call) => (call === 'write' ? ENOSPC : OK)
  assert.is(stack.run(stack.backend.truncate(8 * UNIT, true, 'full')), ENOSPC)
  assert.is(stack.file.data.length, 4 * UNIT)
  assert.is(stack.node.lengthBytes, 4 * UNIT)
})

test('a file cannot be preallocated while it shrinks, and knows no metadata', () => {
  const stack = fileStack(new MemoryFile(4 * UNIT))
  assert.is(stack.run(stack.backend.truncate(UNIT, true, 'falloc')), EINVAL)
  assert.is(stack.run(stack.backend.truncate(8 * UNIT, true, 'metadata')), ENOTSUP)
  assert.is(stack.file.data.length, 4 * UNIT)
})

test('a device keeps its length', () => {
  const file = new MemoryFile(4 * UNIT)
  file.isDevice = true
  const stack = fileStack(file)
  assert.is(stack.run(stack.backend.truncate(8 * UNIT, false, 'off')), EINVAL)
  assert.is(stack.run(stack.backend.truncate(2 * UNIT, true, 'off')), ENOTSUP)
  assert.is(stack.run(stack.backend.truncate(2 * UNIT, false, 'off')), OK)
  assert.is(stack.node.lengthBytes, 4 * UNIT)
  assert.is(stack.driver.hasZeroInit(), false)
})

function filesOf(file: MemoryFile, opened: unknown[] = []): HostFiles {
  return {
    *open(path, options): Co<HostFile> {
      opened.push(path, options)
      return file
    },
    *create(_path, lengthBytes): Co<HostFile> {
      file.data = Buffer.alloc(lengthBytes)
      return file
    },
  }
}

test('options of the file reach the host, and what makes no sense is refused', () => {
  const { run } = testBench()
  const opened: unknown[] = []
  const files = filesOf(new MemoryFile(UNIT), opened)
  run(openFile(files, { filename: 'a', aio: 'native', direct: true, readOnly: true }))
  assert.equal(opened, ['a', { readOnly: true, direct: true, aio: 'native' }])
  function* refused(options: { aio?: 'native' | 'io_uring'; locking?: 'on' }): Co<unknown> {
    try {
      yield* openFile(files, { filename: 'a', ...options })
      return null
    } catch (error) {
      return error
    }
  }
  for (const options of [{ aio: 'native' }, { aio: 'io_uring' }, { locking: 'on' }] as const) {
    assert.instance(run(refused(options)), BlockError)
  }
  // Whether there are locks is known when the file is open.
  assert.is(opened.length, 4)
})

test('a file that may not be written to is opened for reading, if that is wanted', () => {
  const { run } = testBench()
  const wanted: boolean[] = []
  let errno: Errno = EACCES
  const files: HostFiles = {
    *open(path, { readOnly }) {
      wanted.push(readOnly)
      if (!readOnly) throw new BlockError(`Could not open '${path}'`, { errno })
      const file = new MemoryFile(UNIT)
      const traits = file.traits()
      file.traits = () => ({ ...traits, isReadOnly: true })
      return file
    },
    create: () => assert.unreachable() as never,
  }
  function* opening(autoReadOnly: boolean): Co<FileDriver | Errno> {
    try {
      return yield* openFile(files, { filename: 'a', autoReadOnly })
    } catch (error) {
      return (error as BlockError).errno
    }
  }
  const driver = run(opening(true))
  assert.instance(driver, FileDriver)
  assert.ok((driver as FileDriver).isReadOnly)
  assert.equal(wanted, [false, true])
  assert.is(run(opening(false)), EACCES)
  errno = EIO
  assert.is(run(opening(true)), EIO)
})

test('creating gives the file its length and its room', () => {
  const { run, kernel } = testBench()
  const file = new MemoryFile(0)
  run(createFile(kernel, filesOf(file), { filename: 'a', sizeBytes: 8 * UNIT, preallocation: 'full' }))
  assert.is(file.allocated.size, 8)
  file.fail = (call) => (call === 'write' ? ENOSPC : OK)
  function* creating(): Co<unknown> {
    try {
      yield* createFile(kernel, filesOf(file), { filename: 'a', sizeBytes: 8 * UNIT, preallocation: 'full' })
      return null
    } catch (error) {
      return error
    }
  }
  const error = run(creating())
  assert.instance(error, BlockError)
  assert.is((error as BlockError).message, 'Could not resize file: No space left on device')
  assert.is(file.calls.at(-1), 'close')
})

test.run()
