import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockBackend, BlockError, type BlockNode, DirtyBitmap, Permission, RequestFlag } from '../block'
import { MemoryDriver, OverlayDriver } from '../block/testing'
import { type Co, EIO, ENOSPC, ENOTSUP, makeLabel, OK } from '../co'
import { type ChunkAnswer, counted, pack, type RawClient, type ServerBench, serverBench, u32, u64 } from './testing'

const KIB = 1024
const MIB = 1024 * KIB
const [READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS] = [0, 1, 2, 3, 4, 5, 6, 7]
const [FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD] = [1, 2, 4, 8, 16, 32]

type Mode = 'simple' | 'structured' | 'extended'

/** Runs `body` with a client that has got to the transmission in the mode. */
function transmit<T>(bench: ServerBench, mode: Mode, body: (client: RawClient) => Co<T>, queries: string[] = []): T {
  return bench.talk(function* (client) {
    yield* enter(client, mode, queries)
    return yield* body(client)
  })
}
function* enter(client: RawClient, mode: Mode, queries: string[] = [], infos: number[] = []): Co<void> {
  yield* client.greet()
  if (mode !== 'simple') yield* client.ask(mode === 'extended' ? 11 : 8)
  if (queries.length > 0) yield* client.ask(10, counted('disk'), u32(queries.length), ...queries.map(counted))
  yield* client.go('disk', infos)
}

/** Sends one request and gives the error number of the answer, which has no content. */
function* status(
  client: RawClient,
  mode: Mode,
  command: number,
  flags: number,
  offset: number,
  length: number,
  data = '',
): Co<number> {
  if (mode === 'extended') yield* client.extended(command, flags, 99, offset, length, data)
  else yield* client.request(command, flags, 99, offset, length, data)
  if (mode === 'simple') {
    const { error, cookie } = yield* client.simple()
    assert.is(cookie, 99)
    return error
  }
  const [chunk, ...rest] = yield* client.chunks()
  assert.is(rest.length, 0)
  return errorOf(chunk!)
}

function errorOf({ type, flags, cookie, payload }: ChunkAnswer): number {
  assert.is(flags, 1)
  assert.is(cookie, 99)
  if (type === 0) return 0
  assert.is(type, 0x8001)
  // There is always a text that says what was wrong.
  assert.ok(payload.readUInt16BE(4) > 0)
  assert.is(payload.length, 6 + payload.readUInt16BE(4))
  return payload.readUInt32BE()
}

for (const mode of ['simple', 'structured', 'extended'] as const) {
  test(`${mode}: what is written is on the disk, and is read again`, () => {
    const bench = serverBench()
    const text = 'x'.repeat(1000)
    transmit(bench, mode, function* (client) {
      assert.is(yield* status(client, mode, WRITE, mode === 'extended' ? PAYLOAD : 0, 100, 1000, text), 0)
      assert.is(Buffer.from(bench.disk.data).toString('latin1', 100, 1100), text)
      if (mode === 'extended') yield* client.extended(READ, 0, 5, 100, 1000)
      else yield* client.request(READ, 0, 5, 100, 1000)
      if (mode === 'simple') {
        assert.equal(yield* client.simple(), { error: 0, cookie: 5 })
        assert.is((yield* client.take(1000)).toString(), text)
        return
      }
      const [chunk] = yield* client.chunks()
      assert.is(chunk!.type, 1)
      assert.ok(chunk!.payload.equals(pack(u64(100), text)))
    })
  })

  test(`${mode}: each command reaches the disk with its flags`, () => {
    const bench = serverBench()
    bench.disk.supportedWriteFlags |= RequestFlag.Fua
    bench.disk.supportedZeroFlags |= RequestFlag.Fua
    transmit(bench, mode, function* (client) {
      const payload = mode === 'extended' ? PAYLOAD : 0
      for (const [command, flags, data] of [
        [WRITE, FUA | payload, 'y'.repeat(512)],
        [ZEROES, 0, ''],
        [ZEROES, NO_HOLE | FUA, ''],
        [ZEROES, FAST_ZERO, ''],
        [TRIM, 0, ''],
        [CACHE, 0, ''],
      ] as const) {
        assert.is(yield* status(client, mode, command!, flags, 1024, 512, data), 0)
      }
      assert.is(yield* status(client, mode, FLUSH!, 0, 0, 0), 0)
    })
    assert.equal(
      bench.disk.log.map(({ kind, flags }) => [kind, flags]),
      [
        ['write', RequestFlag.Fua],
        ['zero', RequestFlag.MayUnmap],
        ['zero', RequestFlag.Fua],
        ['zero', RequestFlag.MayUnmap | RequestFlag.NoFallback],
        ['discard', 0],
        ['read', 0],
        ['flush', 0],
      ],
    )
  })

  test(`${mode}: what leaves the export, or makes no sense, is refused and touches nothing`, () => {
    const bench = serverBench(64 * KIB)
    const payload = mode === 'extended' ? PAYLOAD : 0
    transmit(bench, mode, function* (client) {
      const past = 64 * KIB
      for (const [expected, command, flags, offset, length] of [
        [22, READ, 0, past, 1],
        [22, READ, 0, past - 1, 2],
        [22, READ, 0, 2 ** 53, 512],
        [22, READ, 0, 0, 33 * MIB],
        [22, READ, 0, 0, 0xffffffff],
        [22, TRIM, 0, past - 512, 1024],
        [22, CACHE, 0, past, 512],
        [28, ZEROES, 0, past - 512, 1024],
        [28, ZEROES, 0, 0, 0xffffffff],
        [22, READ, NO_HOLE, 0, 512],
        [22, READ, 64, 0, 512],
        [22, TRIM, FAST_ZERO, 0, 512],
        [22, FLUSH, 0, 0, 512],
        [22, STATUS, 0, 0, 512],
        [22, 8, 0, 0, 0],
        [22, 0xffff, 0, 0, 0],
      ] as const) {
        assert.is(yield* status(client, mode, command!, flags, offset, length), expected, `${command} ${offset}+${length}`)
      }
      assert.is(yield* status(client, mode, WRITE!, payload, past - 1, 2, 'ab'), 28)
      assert.is(yield* status(client, mode, WRITE!, payload | DF, 0, 2, 'ab'), 22)
      // The conversation has not lost its place.
      assert.is(yield* status(client, mode, FLUSH!, FUA, 0, 0), 0)
    })
    // Nothing had been written: there is nothing to flush either.
    assert.equal(bench.disk.log, [])
  })

  test(`${mode}: a write of more than 32 MiB is refused, and the connection ends`, () => {
    transmit(serverBench(), mode, function* (client) {
      if (mode === 'extended') yield* client.extended(WRITE!, PAYLOAD, 1, 0, 1n << 40n)
      else yield* client.request(WRITE!, 0, 1, 0, 33 * MIB)
      if (mode === 'simple') assert.equal(yield* client.simple(), { error: 22, cookie: 1 })
      else assert.is((yield* client.chunks())[0]!.type, 0x8001)
      assert.is(yield* client.isLeft(), true)
    })
  })

  test(`${mode}: errors of the disk reach the client as the protocol has them`, () => {
    const bench = serverBench()
    transmit(bench, mode, function* (client) {
      for (const [errno, expected] of [
        [EIO, 5],
        [ENOSPC, 28],
        [122, 28],
        [30, 1],
        [4095, 22],
      ] as const) {
        bench.disk.fail = () => errno
        assert.is(yield* status(client, mode, READ!, 0, 0, 512), expected)
        assert.is(yield* status(client, mode, TRIM!, 0, 0, 512), expected)
      }
    })
  })
}

test('a read-only export refuses changes, and takes the payload off the stream', () => {
  const bench = serverBench(64 * KIB, { writable: false })
  transmit(bench, 'simple', function* (client) {
    assert.is(yield* status(client, 'simple', WRITE!, 0, 0, 512, 'z'.repeat(512)), 1)
    assert.is(yield* status(client, 'simple', TRIM!, 0, 0, 512), 1)
    assert.is(yield* status(client, 'simple', ZEROES!, 0, 0, 512), 1)
    assert.is(yield* status(client, 'simple', FLUSH!, 0, 0, 0), 0)
  })
  assert.is(bench.disk.requests('write').length, 0)
})

test('writethrough makes every write durable', () => {
  const bench = serverBench(64 * KIB, { writethrough: true })
  transmit(bench, 'simple', function* (client) {
    assert.is(yield* status(client, 'simple', WRITE!, 0, 0, 512, 'z'.repeat(512)), 0)
  })
  assert.equal(
    bench.disk.log.map(({ kind }) => kind),
    ['write', 'flush'],
  )
})

test('a fast zero that would not be fast fails, and any other is written out', () => {
  const bench = serverBench()
  bench.disk.canZero = false
  transmit(bench, 'structured', function* (client) {
    assert.is(yield* status(client, 'structured', ZEROES!, FAST_ZERO, 0, 512), ENOTSUP)
    assert.is(bench.disk.log.length, 0)
    assert.is(yield* status(client, 'structured', ZEROES!, 0, 0, 512), OK)
  })
  assert.is(bench.disk.requests('write').length, 1)
})

test('holes are sent as holes, data as data, and DF keeps it in one piece', () => {
  const bench = serverBench(256 * KIB)
  bench.disk.data.fill(7, 64 * KIB, 96 * KIB)
  bench.disk.allocated.fill(1, 128, 192)
  const shapes = (chunks: ChunkAnswer[]): unknown[] =>
    chunks.map(({ type, payload }) => [
      type,
      Number(payload.readBigUInt64BE()),
      type === 2 ? payload.readUInt32BE(8) : payload.length - 8,
    ])
  transmit(bench, 'structured', function* (client) {
    yield* client.request(READ!, 0, 1, 32 * KIB, 224 * KIB)
    assert.equal(shapes(yield* client.chunks()), [
      [2, 32 * KIB, 32 * KIB],
      [1, 64 * KIB, 32 * KIB],
      [2, 96 * KIB, 160 * KIB],
    ])
    assert.is(bench.disk.requests('read').length, 1)
    yield* client.request(READ!, DF, 1, 32 * KIB, 224 * KIB)
    assert.equal(shapes(yield* client.chunks()), [[1, 32 * KIB, 224 * KIB]])
    // A short read of zeroes costs no more than a look at them.
    yield* client.request(READ!, 0, 1, 0, 4096)
    assert.equal(shapes(yield* client.chunks()), [[2, 0, 4096]])
  })
})

test('an error in the middle of a read ends it, after what was good', () => {
  const bench = serverBench(256 * KIB)
  bench.disk.data.fill(7)
  bench.disk.allocated.fill(1)
  bench.disk.allocated.fill(0, 64, 65)
  bench.disk.fail = ({ kind, offsetBytes }) => (kind === 'read' && offsetBytes > 0 ? EIO : OK)
  transmit(bench, 'structured', function* (client) {
    yield* client.request(READ!, 0, 1, 0, 128 * KIB)
    const chunks = yield* client.chunks()
    assert.equal(
      chunks.map(({ type }) => type),
      [1, 2, 0x8001],
    )
  })
})

function extents({ payload }: ChunkAnswer): number[][] {
  const found: number[][] = [[payload.readUInt32BE()]]
  for (let at = 4; at < payload.length; at += 8) found.push([payload.readUInt32BE(at), payload.readUInt32BE(at + 4)])
  return found
}

test('base:allocation, one extent or all of them, within the range', () => {
  const bench = serverBench(256 * KIB)
  bench.disk.allocated.fill(1, 8, 16)
  const body = function* (client: RawClient): Co<void> {
    yield* client.request(STATUS!, 0, 1, 512, 255 * KIB)
    assert.equal((yield* client.chunks()).map(extents), [[[0], [7 * 512, 3], [8 * 512, 0], [255 * KIB - 15 * 512, 3]]])
    yield* client.request(STATUS!, REQ_ONE, 1, 512, 2048)
    assert.equal((yield* client.chunks()).map(extents), [[[0], [2048, 3]]])
    assert.is(yield* status(client, 'structured', STATUS!, 0, 0, 0), 22)
    assert.is(yield* status(client, 'structured', STATUS!, 0, 255 * KIB, 2048), 22)
  }
  transmit(bench, 'structured', body, ['base:allocation'])
})

test('dirty bitmaps show what they have recorded', () => {
  const bitmap = new DirtyBitmap(64 * KIB, 512)
  const bench = serverBench(64 * KIB, { bitmaps: [{ name: 'b', bitmap }] })
  bench.node.dirtyBitmaps.add(bitmap)
  const body = function* (client: RawClient): Co<void> {
    assert.is(yield* status(client, 'structured', WRITE!, 0, 1000, 100, 'w'.repeat(100)), 0)
    yield* client.request(STATUS!, 0, 1, 0, 64 * KIB)
    const [allocation, dirty] = (yield* client.chunks()).map(extents)
    assert.is(allocation![0]![0], 0)
    assert.equal(dirty, [[2], [512, 0], [1024, 1], [62.5 * KIB, 0]])
  }
  transmit(bench, 'structured', body, ['qemu:dirty-bitmap:b', 'base:allocation'])
})

test('the depth counts the layers, and none for what no layer has', () => {
  const bench = serverBench(4 * KIB)
  const base = bench.graph.addNode({ name: 'base', driver: new MemoryDriver(2048) })
  const baseDriver = base.driver as MemoryDriver
  baseDriver.allocated.fill(1, 0, 2)
  const lower = Object.assign(new OverlayDriver(4 * KIB))
  const lowerNode = bench.graph.addNode({
    name: 'lower',
    driver: lower,
    children: [{ name: 'backing', role: 'cow', node: base }],
  })
  const top = new OverlayDriver(4 * KIB)
  const node = bench.graph.addNode({ name: 'top', driver: top, children: [{ name: 'backing', role: 'cow', node: lowerNode }] })
  lower.allocated.fill(1, 1, 2)
  top.allocated.fill(1, 0, 1)
  bench.server.findExport('disk')!.remove('safe')
  bench.server.addExport({ id: 'chain', name: 'disk', node, writable: false, allocationDepth: true })
  const body = function* (client: RawClient): Co<void> {
    yield* client.request(STATUS!, 0, 1, 0, 4 * KIB)
    assert.equal(extents((yield* client.chunks())[0]!), [[1], [512, 1], [512, 2], [3072, 3]])
  }
  transmit(bench, 'structured', body, ['qemu:allocation-depth'])
})

test('extended headers carry 64-bit lengths, and status of chosen contexts', () => {
  const bitmap = new DirtyBitmap(64 * KIB, 512)
  const bench = serverBench(64 * KIB, { bitmaps: [{ name: 'b', bitmap }] })
  const body = function* (client: RawClient): Co<void> {
    assert.is(yield* status(client, 'extended', ZEROES!, 0, 0, 2 ** 40), 28)
    yield* client.extended(STATUS!, 0, 1, 0, 64 * KIB)
    assert.equal(
      (yield* client.chunks()).map(({ type, payload }) => [type, payload.toString('hex')]),
      [
        [6, pack(u32(0), u32(1), u64(64 * KIB), u64(3)).toString('hex')],
        [6, pack(u32(2), u32(1), u64(64 * KIB), u64(0)).toString('hex')],
      ],
    )
    const chosen = pack(u64(512), u32(2)).toString('latin1')
    yield* client.extended(STATUS!, PAYLOAD, 1, 512, chosen.length, chosen)
    const [only, ...rest] = yield* client.chunks()
    assert.is(rest.length, 0)
    assert.ok(only!.payload.equals(pack(u32(2), u32(1), u64(512), u64(0))))
    for (const bad of [
      pack(u64(512)),
      pack(u64(512), u32(9)),
      pack(u64(512), u32(2), u32(2)),
      pack(u64(1 << 20), u32(2)),
      pack(u32(1)),
    ]) {
      assert.is(yield* status(client, 'extended', STATUS!, PAYLOAD, 0, bad.length, bad.toString('latin1')), 22)
    }
    // A payload where none belongs is taken off the stream.
    assert.is(yield* status(client, 'extended', TRIM!, PAYLOAD, 0, 5, 'hello'), 22)
    assert.is(yield* status(client, 'extended', FLUSH!, 0, 0, 0), 0)
  }
  transmit(bench, 'extended', body, ['base:allocation', 'qemu:dirty-bitmap:b'])
})

test('who was told the smallest block must keep to it, who was not need not', () => {
  const bench = serverBench(64 * KIB, {}, {}, { requestAlignmentBytes: 4096 })
  bench.talk(function* (client) {
    yield* enter(client, 'simple', [], [3])
    assert.is(yield* status(client, 'simple', WRITE!, 0, 512, 512, 'a'.repeat(512)), 22)
    assert.is(yield* status(client, 'simple', ZEROES!, 0, 4096, 4096), 0)
  })
  bench.talk(function* (client) {
    yield* enter(client, 'simple')
    assert.is(yield* status(client, 'simple', WRITE!, 0, 512, 512, 'a'.repeat(512)), 0)
  })
  assert.is(bench.disk.data[512], 97)
})

test('requests run side by side, sixteen at a time', () => {
  const bench = serverBench()
  bench.disk.latencyNs = 1_000_000
  transmit(bench, 'simple', function* (client) {
    for (let cookie = 0; cookie < 40; cookie++) yield* client.request(CACHE!, 0, cookie, 0, 512)
    const startNs = bench.kernel.nowNs()
    for (let count = 0; count < 40; count++) yield* client.simple()
    assert.is(bench.kernel.nowNs() - startNs, 3_000_000)
  })
})

test('a drained node holds requests back, and a graph change in between leaves clients where they are', () => {
  const bench = serverBench()
  const other = new MemoryDriver(64 * KIB)
  const otherNode = bench.graph.addNode({ name: 'other', driver: other, options: { discard: 'unmap' } })
  const client = bench.connect()
  const seen: string[] = []
  function* talk(): Co<void> {
    yield* enter(client, 'simple')
    assert.is(yield* status(client, 'simple', WRITE!, 0, 0, 3, 'one'), 0)
    yield* bench.kernel.sleepNs(100)
    assert.is(yield* status(client, 'simple', WRITE!, 0, 0, 3, 'two'), 0)
    seen.push('written')
    client.stream.close()
  }
  function* pivot(): Co<void> {
    yield* bench.kernel.sleepNs(50)
    yield* bench.graph.drainedBegin(bench.node)
    yield* bench.kernel.sleepNs(1000)
    seen.push('drained')
    bench.graph.replaceNode(bench.node, otherNode)
    bench.graph.drainedEnd(bench.node)
  }
  bench.kernel.spawn(talk(), makeLabel('client'))
  bench.kernel.spawn(pivot(), makeLabel('pivot'))
  bench.clock.run()
  assert.equal(seen, ['drained', 'written'])
  assert.is(Buffer.from(bench.disk.data.subarray(0, 3)).toString(), 'one')
  assert.is(Buffer.from(other.data.subarray(0, 3)).toString(), 'two')
})

test('nobody changes the length of a node while it is exported', () => {
  const bench = serverBench()
  const backend = new BlockBackend(bench.graph, '')
  assert.throws(() => backend.attach(bench.node, Permission.Resize, Permission.All), /./)
  bench.server.findExport('disk')!.remove('safe')
  backend.attach(bench.node, Permission.Resize, Permission.All)
})

test('an export in use goes only by force, and tells when it has', () => {
  const deleted: string[] = []
  const bench = serverBench(64 * KIB, { onDeleted: ({ id }) => deleted.push(id) })
  bench.disk.latencyNs = 1000
  const exported = bench.server.findExport('disk')!
  const client = bench.connect()
  let text = ''
  function* talk(): Co<void> {
    yield* enter(client, 'simple')
    yield* client.request(READ!, 0, 1, 0, 512)
    yield* bench.kernel.sleepNs(10)
    try {
      exported.remove('safe')
    } catch (error) {
      assert.instance(error, BlockError)
      text = (error as Error).message
    }
    exported.remove('hard')
    assert.is(bench.server.findExport('disk'), null)
    assert.is(exported.isDeleted, false, 'a request still runs')
    assert.is(yield* client.isLeft(), true)
  }
  bench.kernel.spawn(talk(), makeLabel('client'))
  bench.clock.run()
  assert.is(text, "export 'export0' still in use")
  assert.equal(deleted, ['export0'])
  assert.is(bench.server.connectionCount, 0)
})

test('an export that goes tells the node that it was on in the end, which a job may have put in the place of the first', () => {
  let told: BlockNode | null = null
  const bench = serverBench(64 * KIB, {
    onDeleted: (_exported, held) => {
      told = held
    },
  })
  const other = bench.graph.addNode({ name: 'other', driver: new MemoryDriver(64 * KIB) })
  function* pivot(): Co<void> {
    yield* bench.graph.drainedBegin(bench.node)
    yield* bench.graph.drainedBegin(other)
    bench.graph.replaceNode(bench.node, other)
    bench.graph.drainedEnd(other)
    bench.graph.drainedEnd(bench.node)
  }
  bench.run(pivot())
  bench.server.findExport('disk')!.remove('hard')
  bench.clock.run()
  assert.is(told, other)
})

test('stop ends clients in every phase, and all exports', () => {
  const bench = serverBench()
  const clients = [bench.connect(), bench.connect(), bench.connect()]
  function* main(): Co<void> {
    yield* clients[1]!.greet()
    yield* enter(clients[2]!, 'simple')
    yield* bench.server.stop()
    assert.is(bench.server.connectionCount, 0)
    assert.is(bench.node.parents.size, 1)
    assert.throws(
      () => bench.server.addExport({ id: 'x', name: 'x', node: bench.node, writable: false }),
      /NBD server not running/,
    )
  }
  bench.run(main())
})

test('disconnecting ends the connection after the answers; a wrong magic ends it at once', () => {
  const bench = serverBench()
  transmit(bench, 'simple', function* (client) {
    yield* client.request(WRITE!, 0, 1, 0, 512, 'q'.repeat(512))
    yield* client.request(DISC!, 0, 2, 0, 0)
    assert.equal(yield* client.simple(), { error: 0, cookie: 1 })
    assert.is(yield* client.isLeft(), true)
  })
  transmit(bench, 'simple', function* (client) {
    yield* client.send(Buffer.alloc(28, 'nonsense'))
    assert.is(yield* client.isLeft(), true)
  })
  transmit(bench, 'extended', function* (client) {
    yield* client.request(FLUSH!, 0, 1, 0, 0)
    yield* client.send(u32(0))
    assert.is(yield* client.isLeft(), true)
  })
})

test('clients that read nothing are held up alone, and what they can make the server hold is bounded', () => {
  const bench = serverBench(4 * MIB, {}, { memoryMaxBytes: 2 * MIB })
  bench.disk.data.fill(1)
  bench.disk.allocated.fill(1)
  const stuck = [bench.connect({ capacityBytes: 64 * KIB }), bench.connect({ capacityBytes: 64 * KIB })]
  for (const client of stuck) {
    function* flood(): Co<void> {
      yield* enter(client, 'simple')
      for (let cookie = 0; cookie < 100; cookie++) yield* client.request(READ!, 0, cookie, 0, MIB)
    }
    bench.kernel.spawn(flood(), makeLabel('flood'))
  }
  bench.clock.run(1_000_000_000)
  assert.ok(bench.disk.requests('read').length <= 4)
  let isServed = false
  const quick = bench.connect()
  function* serve(): Co<void> {
    yield* enter(quick, 'simple')
    assert.is(yield* status(quick, 'simple', WRITE!, 0, 0, 512, 'q'.repeat(512)), 0)
    isServed = true
  }
  bench.kernel.spawn(serve(), makeLabel('quick'))
  bench.clock.run(2_000_000_000)
  assert.is(isServed, true)
  for (const client of stuck) client.stream.close()
  quick.stream.close()
  bench.clock.run()
  assert.is(bench.server.connectionCount, 0)
})

test('wrong exports are refused in QEMU’s words', () => {
  const bench = serverBench()
  const readOnly = bench.graph.addNode({ name: 'ro', driver: new MemoryDriver(512), options: { readOnly: true } })
  for (const [options, text] of [
    [{ name: 'disk' }, "NBD server already has export named 'disk'"],
    [{ name: 'x'.repeat(4097) }, `export name '${'x'.repeat(4097)}' too long`],
    [{ name: 'a', node: readOnly, writable: true }, 'Cannot export read-only node as writable'],
  ] as const) {
    let message = ''
    try {
      bench.server.addExport({ id: 'a', node: bench.node, writable: false, ...options })
    } catch (error) {
      message = (error as Error).message
    }
    assert.is(message, text)
  }
})

test.run()
