import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { DirtyBitmap } from '../block'
import { type ByteStream, type Co, makeLabel, type TlsCredentials } from '../co'
import { counted, type Part, pack, type RawClient, serverBench, u16, u32 } from './testing'

const KIB = 1024
const SECOND_NS = 1_000_000_000
const ERR = { UNSUP: 0x80000001, POLICY: 0x80000002, INVALID: 0x80000003, TLS: 0x80000005, UNKNOWN: 0x80000006 }
const ERR_TOO_BIG = 0x80000009
const ERR_BLOCK_SIZE = 0x80000008
const ERR_EXT_HEADER = 0x8000000a

function* types(client: RawClient, option: number, ...data: readonly Part[]): Co<number[]> {
  return (yield* client.ask(option, ...data)).map(({ type }) => type)
}

test('EXPORT_NAME gives length and flags, and 124 zeroes unless both sides know better', () => {
  for (const [clientFlags, padding] of [
    [3, 0],
    [1, 124],
    [0, 124],
  ] as const) {
    const answer = serverBench(1 << 16).talk(function* (client) {
      yield* client.greet(clientFlags)
      yield* client.option(1, 'disk')
      const bytes = yield* client.take(10 + padding)
      yield* client.request(0, 0, 7, 0, 512)
      assert.equal(yield* client.simple(), { error: 0, cookie: 7 })
      yield* client.take(512)
      return bytes
    })
    // has flags, flush, FUA, trim, write zeroes, multi-conn, cache, fast zero
    assert.ok(answer.equals(pack([1 << 16, 8], u16(0xd6d), Buffer.alloc(padding))), answer.toString('hex'))
  }
})

test('EXPORT_NAME of what is not there ends the connection', () => {
  serverBench().talk(function* (client) {
    yield* client.greet()
    yield* client.option(1, 'nothing')
    assert.is(yield* client.isLeft(), true)
  })
})

test('client flags that nobody offered, a wrong magic and endless option data end the connection', () => {
  const bench = serverBench()
  bench.talk(function* (client) {
    yield* client.greet(7)
    assert.is(yield* client.isLeft(), true)
  })
  bench.talk(function* (client) {
    yield* client.greet()
    yield* client.send('IHAVEOPX', u32(3), u32(0))
    assert.is(yield* client.isLeft(), true)
  })
  bench.talk(function* (client) {
    yield* client.greet()
    yield* client.send('IHAVEOPT', u32(3), u32(0x7fffffff))
    assert.is(yield* client.isLeft(), true)
  })
  assert.is(bench.server.connectionCount, 0)
})

test('ABORT is acknowledged, whatever comes with it, and ends the connection', () => {
  serverBench().talk(function* (client) {
    yield* client.greet()
    assert.equal(yield* types(client, 2, 'bye'), [1])
    assert.is(yield* client.isLeft(), true)
  })
})

test('LIST gives every export with its description', () => {
  const bench = serverBench()
  const node = bench.node
  bench.server.addExport({ id: 'two', name: '', node, writable: false, description: 'the default' })
  bench.talk(function* (client) {
    yield* client.greet()
    const answers = yield* client.ask(3)
    assert.equal(
      answers.map(({ type, data }) => [type, data.toString('latin1')]),
      [
        [2, '\0\0\0\x04disk'],
        [2, '\0\0\0\0the default'],
        [1, ''],
      ],
    )
    assert.equal(yield* types(client, 3, 'x'), [ERR.INVALID])
  })
})

test('options that nobody knows are unsupported; too long ones are too big; the conversation goes on', () => {
  serverBench().talk(function* (client) {
    yield* client.greet()
    assert.equal(yield* types(client, 4), [ERR.UNSUP])
    assert.equal(yield* types(client, 77, 'data'), [ERR.UNSUP])
    assert.equal(yield* types(client, 7, Buffer.alloc(300 * KIB)), [ERR_TOO_BIG])
    assert.equal(yield* types(client, 5), [ERR.POLICY])
    assert.equal(yield* types(client, 5, 'x'), [ERR.INVALID])
    yield* client.go('disk')
  })
})

test('INFO tells what is asked, and does not enter the transmission', () => {
  const bench = serverBench(64 * KIB, { description: 'words' }, {}, { requestAlignmentBytes: 512 })
  bench.talk(function* (client) {
    yield* client.greet()
    const answers = yield* client.ask(6, counted('disk'), u16(3), u16(1), u16(2), u16(3))
    assert.equal(
      answers.map(({ data }) => data.toString('hex')),
      [
        pack(u16(1), 'disk').toString('hex'),
        pack(u16(2), 'words').toString('hex'),
        pack(u16(3), u32(512), u32(4096), u32(32 << 20)).toString('hex'),
        pack(u16(0), [64 * KIB, 8], u16(0xd6d)).toString('hex'),
        '',
      ],
    )
    // A client that will not ask for sizes is told that it must, before it commits itself.
    assert.is((yield* client.ask(6, counted('disk'), u16(0))).at(-1)!.type, ERR_BLOCK_SIZE)
    assert.is((yield* client.ask(6, counted('nothing'), u16(0))).at(-1)!.type, ERR.UNKNOWN)
  })
})

test('malformed INFO and GO are invalid', () => {
  serverBench().talk(function* (client) {
    yield* client.greet()
    const bad = [
      [u32(100), 'disk', u16(0)],
      [counted('disk')],
      [counted('disk'), u16(2), u16(0)],
      [counted('disk'), u16(0), u16(0)],
      [counted('di\0k'), u16(0)],
      [u32(2), Buffer.from([0xff, 0xfe]), u16(0)],
      [counted('x'.repeat(4097)), u16(0)],
      [],
    ] as const
    for (const data of bad) assert.equal(yield* types(client, 7, ...data), [ERR.INVALID])
    yield* client.go('disk')
  })
})

test('structured replies and extended headers are chosen once, and extended ones are the last word', () => {
  serverBench().talk(function* (client) {
    yield* client.greet()
    assert.equal(yield* types(client, 8, 'x'), [ERR.INVALID])
    assert.equal(yield* types(client, 8), [1])
    assert.equal(yield* types(client, 8), [ERR.INVALID])
    assert.equal(yield* types(client, 11), [1])
    assert.equal(yield* types(client, 11), [ERR.INVALID])
    assert.equal(yield* types(client, 8), [ERR_EXT_HEADER])
    assert.is((yield* client.go('disk')).flags, 0xd6d | 0x80)
  })
})

const bitmaps = (): Array<{ name: string; bitmap: DirtyBitmap }> =>
  ['one', 'two'].map((name) => ({ name, bitmap: new DirtyBitmap(64 * KIB, 512) }))

function* contexts(client: RawClient, option: number, ...queries: string[]): Co<string[]> {
  const answers = yield* client.ask(option, counted('disk'), u32(queries.length), ...queries.map(counted))
  assert.is(answers.at(-1)!.type, 1)
  return answers.slice(0, -1).map(({ type, data }) => {
    assert.is(type, 4)
    return `${data.readUInt32BE()} ${data.subarray(4)}`
  })
}

test('metadata contexts are listed by name, by namespace and all together', () => {
  serverBench(64 * KIB, { bitmaps: bitmaps(), allocationDepth: true }).talk(function* (client) {
    yield* client.greet()
    assert.equal(yield* types(client, 9, counted('disk'), u32(0)), [ERR.INVALID])
    yield* client.ask(8)
    const all = ['0 base:allocation', '0 qemu:allocation-depth', '0 qemu:dirty-bitmap:one', '0 qemu:dirty-bitmap:two']
    assert.equal(yield* contexts(client, 9), all)
    assert.equal(yield* contexts(client, 9, 'base:', 'qemu:'), all)
    assert.equal(yield* contexts(client, 9, 'qemu:dirty-bitmap:'), all.slice(2))
    assert.equal(
      yield* contexts(client, 9, 'qemu:dirty-bitmap:two', 'x:y', 'qemu:dirty-bitmap:two', 'base:nothing'),
      all.slice(3),
    )
    assert.equal(yield* types(client, 9, counted('nothing'), u32(0)), [ERR.UNKNOWN])
  })
})

test('SET_META_CONTEXT selects what is named, with ids of their own, and forgets what was selected before', () => {
  serverBench(64 * KIB, { bitmaps: bitmaps() }).talk(function* (client) {
    yield* client.greet()
    yield* client.ask(8)
    assert.equal(yield* contexts(client, 10, 'base:', 'qemu:'), [])
    assert.equal(yield* contexts(client, 10, 'qemu:dirty-bitmap:two', 'base:allocation'), [
      '0 base:allocation',
      '3 qemu:dirty-bitmap:two',
    ])
    // A failing one forgets too.
    assert.equal(yield* types(client, 10, counted('nothing'), u32(0)), [ERR.UNKNOWN])
    yield* client.go('disk')
    yield* client.request(7, 0, 1, 0, 512)
    const [chunk] = yield* client.chunks()
    assert.is(chunk!.type, 0x8001)
    assert.is(chunk!.payload.readUInt32BE(), 22)
  })
})

test('malformed metadata queries are invalid, and too many too big', () => {
  serverBench().talk(function* (client) {
    yield* client.greet()
    yield* client.ask(8)
    const bad = [
      [counted('disk')],
      [counted('disk'), u32(1)],
      [counted('disk'), u32(0xffffffff)],
      [counted('disk'), u32(1), u32(50), 'base:allocation'],
      [counted('disk'), u32(1), counted('base:allocation'), 'rest'],
      [counted('disk'), u32(1), counted('base:\0')],
    ] as const
    for (const data of bad) assert.equal(yield* types(client, 10, ...data), [ERR.INVALID])
    const many = Array.from({ length: 1025 }, () => counted('x'))
    assert.equal(yield* types(client, 10, counted('disk'), u32(1025), ...many), [ERR_TOO_BIG])
  })
})

/** Stands for TLS: the stream stays as it is. */
const PLAIN_TLS: TlsCredentials = {
  endpoint: 'server',
  *upgrade(stream: ByteStream): Co<ByteStream> {
    return stream
  },
}

test('where TLS is demanded nothing is shown before it, and nothing agreed on before it is kept', () => {
  serverBench(64 * KIB, {}, { tls: PLAIN_TLS }).talk(function* (client) {
    yield* client.greet()
    for (const option of [3, 8, 6, 77]) assert.equal(yield* types(client, option), [ERR.TLS])
    assert.equal(yield* types(client, 5), [1])
    assert.equal(yield* types(client, 5), [ERR.INVALID])
    assert.is((yield* client.go('disk')).flags & 0x80, 0)
  })
  serverBench(64 * KIB, {}, { tls: PLAIN_TLS }).talk(function* (client) {
    yield* client.greet()
    yield* client.option(1, 'disk')
    assert.is(yield* client.isLeft(), true)
  })
})

test('what is sent ahead of TLS in the clear ends the connection', () => {
  serverBench(64 * KIB, {}, { tls: PLAIN_TLS }).talk(function* (client) {
    yield* client.greet()
    yield* client.send('IHAVEOPT', u32(5), u32(0), 'IHAVEOPT', u32(3), u32(0))
    assert.is(yield* client.isLeft(), true)
  })
})

test('a client that does not get through the handshake in time is left', () => {
  const bench = serverBench()
  const slow = bench.connect()
  let leftNs = 0
  function* body(): Co<void> {
    yield* slow.greet()
    assert.is(yield* slow.isLeft(), true)
    leftNs = bench.kernel.nowNs()
  }
  bench.kernel.spawn(body(), makeLabel('slow'))
  bench.clock.run()
  assert.is(leftNs, 10 * SECOND_NS)
  // One that got through may take its time.
  const patient = bench.connect()
  function* wait(): Co<void> {
    yield* patient.greet()
    yield* patient.go('disk')
    yield* bench.kernel.sleepNs(60 * SECOND_NS)
    yield* patient.request(3, 0, 1, 0, 0)
    assert.equal(yield* patient.simple(), { error: 0, cookie: 1 })
    patient.stream.close()
  }
  bench.kernel.spawn(wait(), makeLabel('patient'))
  bench.clock.run()
  assert.is(bench.kernel.failure, null)
})

test.run()
