/** The client against servers that say what they should not. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockError } from '../block'
import { testBench } from '../block/testing'
import { type ByteStream, type Co, EINVAL, EIO, makeLabel, OK, streamPair } from '../co'
import { ClientConnection, ClientRequest } from './client'
import { ClientHandshake } from './client_handshake'
import { type Part, pack, u16, u32, u64 } from './testing'

const LABEL = makeLabel('test')
const READ = 0
const WRITE = 1
const STATUS = 7

/** What a server says from its greeting on, whatever it hears; then it falls silent, or ends. */
function* recite(stream: ByteStream, said: readonly Part[], ends: boolean): Co<void> {
  yield* stream.write(pack(...said))
  if (ends) yield* stream.endWrite()
  const buffer = new Uint8Array(1000)
  while ((yield* stream.read(buffer)) > 0);
}

const GREETING = ['NBDMAGIC', 'IHAVEOPT', u16(3)] as const
const reply = (option: number, type: number, ...data: Part[]): Buffer => {
  const bytes = pack(...data)
  return pack(u64(0x3e889045565a9n), u32(option), u32(type), u32(bytes.length), bytes)
}
const ERR_UNSUP = 0x80000001
const EXPORT = (flags = 0x0d6d): Buffer => reply(7, 3, u16(0), u64(65536), u16(flags))
/** Everything up to the transmission, in each kind of header. */
const ENTRY = {
  simple: [...GREETING, reply(11, ERR_UNSUP), reply(8, ERR_UNSUP), EXPORT(), reply(7, 1)],
  structured: [
    ...GREETING,
    reply(11, ERR_UNSUP),
    reply(8, 1),
    reply(10, 4, u32(5), 'base:allocation'),
    reply(10, 1),
    EXPORT(),
    reply(7, 1),
  ],
  extended: [...GREETING, reply(11, 1), reply(10, 4, u32(5), 'base:allocation'), reply(10, 1), EXPORT(), reply(7, 1)],
} as const

/** The text with which entering fails, or '' if it works. */
function enter(said: readonly Part[], name = 'disk'): string {
  const bench = testBench()
  const { near, far } = streamPair(bench.kernel, 'link')
  bench.kernel.spawn(recite(far, said, true), LABEL)
  let text = ''
  function* main(): Co<void> {
    try {
      const { stream } = yield* new ClientHandshake(near).enter({
        exportName: name,
        tls: null,
        tlsHostname: null,
        context: 'base:allocation',
      })
      stream.close()
    } catch (error) {
      assert.instance(error, BlockError)
      text = (error as Error).message
    }
  }
  bench.kernel.spawn(main(), LABEL)
  bench.clock.run()
  assert.is(bench.kernel.live.size, 0)
  return text
}

test('every way into the transmission is taken', () => {
  for (const said of Object.values(ENTRY)) assert.is(enter(said), '')
  // Newstyle that is not fixed, with and without the padding; a server without GO.
  assert.is(enter(['NBDMAGIC', 'IHAVEOPT', u16(0), u64(65536), u16(1), Buffer.alloc(124)]), '')
  assert.is(enter(['NBDMAGIC', 'IHAVEOPT', u16(2), u64(65536), u16(1)]), '')
  assert.is(enter([...GREETING, reply(11, ERR_UNSUP), reply(8, ERR_UNSUP), reply(7, ERR_UNSUP), u64(65536), u16(1)]), '')
})

test('servers that break the handshake are left, with a reason', () => {
  const toGo = [...GREETING, reply(11, ERR_UNSUP), reply(8, ERR_UNSUP)]
  for (const [said, text] of [
    [['HTTP/1.1 400 Bad Request'], /Bad initial magic received: 0x485454502f312e31/],
    [['NBDMAGIC', Buffer.from('00420281861253', 'hex').subarray(0, 7), Buffer.alloc(20)], /Bad server magic|oldstyle/],
    [['NBDMAGIC'], /Failed to read initial magic: Unexpected end-of-file/],
    [[...GREETING, reply(8, 1)], /Unexpected option type 8 \(structured reply\), expected 11/],
    [[...GREETING, Buffer.alloc(20)], /Unexpected option reply magic/],
    [[...GREETING, pack(u64(0x3e889045565a9n), u32(11), u32(1), u32(1 << 20))], /option reply of 1048576 bytes is too long/],
    [[...toGo, reply(7, 1)], /broken server omitted NBD_INFO_EXPORT/],
    [[...toGo, reply(7, 3, u16(0), u64(1)), reply(7, 1)], /Remaining export list length is wrong/],
    [[...toGo, reply(7, 3, u16(0), u64(2n ** 63n), u16(1)), reply(7, 1)], /is too large/],
    [[...toGo, reply(7, 3, u16(3), u32(3), u32(4096), u32(4096)), reply(7, 1)], /minimum block size 3 is not a power of two/],
    [[...toGo, reply(7, 3, u16(3), u32(1 << 20), u32(1 << 20), u32(1 << 25)), reply(7, 1)], /minimum block size/],
    [[...toGo, reply(7, 3, u16(3), u32(4096), u32(512), u32(1 << 25)), reply(7, 1)], /preferred block size 512/],
    [[...toGo, reply(7, 3, u16(3), u32(4096), u32(4096), u32(1)), reply(7, 1)], /maximum block size 1/],
    [[...toGo, reply(7, 4)], /Unexpected reply type 4|end-of-file/],
    [[...toGo, reply(7, 0x80000006, 'gone')], /Requested export not available/],
    [[...GREETING, reply(11, 0x80000005)], /Server requires TLS for option 11 \(extended headers\)/],
    [[...GREETING, reply(11, 1), reply(10, 4, u32(5), 'other:context'), reply(10, 1)], /a context other than/],
  ] as const) {
    assert.match(enter(said as readonly Part[]), text)
  }
})

interface Outcome {
  errno: number
  isLost: boolean
  isBroken: boolean
  data: Uint8Array
}

/** One request at offset 512, of 1024 bytes, and what the server says to it. */
function ask(mode: keyof typeof ENTRY, command: number, ...said: readonly Part[]): Outcome {
  const bench = testBench()
  const { near, far } = streamPair(bench.kernel, 'link')
  let outcome: Outcome | null = null
  function* serve(): Co<void> {
    yield* far.write(pack(...ENTRY[mode]))
    // The transmission has begun when the request is there.
    const buffer = new Uint8Array(4096)
    yield* bench.kernel.sleepNs(1000)
    yield* far.read(buffer)
    yield* far.write(pack(...said))
    while ((yield* far.read(buffer)) > 0);
  }
  function* main(): Co<void> {
    const wish = { exportName: 'disk', tls: null, tlsHostname: null, context: 'base:allocation' }
    const agreement = yield* new ClientHandshake(near).enter(wish)
    const connection = new ClientConnection(bench.kernel, agreement, () => {})
    const whole = new Uint8Array(3072).fill(0xee)
    const request = new ClientRequest(command, 0, 512, 1024, command === STATUS ? null : whole.subarray(1024, 2048))
    yield* connection.execute(request)
    outcome = { errno: request.errno, isLost: request.isLost, isBroken: connection.isBroken, data: whole }
    yield* connection.close()
  }
  bench.kernel.spawn(serve(), LABEL)
  bench.kernel.spawn(main(), LABEL)
  bench.clock.run()
  if (outcome === null) throw new Error('the request did not end')
  const found = outcome as Outcome
  // Whatever is said, nothing lands beside the buffer.
  for (let at = 0; at < 3072; at++) if (at < 1024 || at >= 2048) assert.is(found.data[at], 0xee)
  return found
}

const simple = (error: number, cookie = 1): Buffer => pack(u32(0x67446698), u32(error), u64(cookie))
const chunk = (flags: number, type: number, ...data: Part[]): Buffer => {
  const bytes = pack(...data)
  return pack(u32(0x668e33ef), u16(flags), u16(type), u64(1), u32(bytes.length), bytes)
}
const extended = (flags: number, type: number, offset: number, ...data: Part[]): Buffer => {
  const bytes = pack(...data)
  return pack(u32(0x6e8a278c), u16(flags), u16(type), u64(1), u64(offset), u64(bytes.length), bytes)
}
const bytes = (count: number): Buffer => Buffer.alloc(count, 7)

test('answers that are right are taken, in any order of their chunks', () => {
  const good = (outcome: Outcome): void => {
    assert.is(outcome.errno, OK)
    assert.is(outcome.isBroken, false)
  }
  good(ask('simple', READ, simple(0), bytes(1024)))
  good(ask('simple', WRITE, simple(0)))
  good(ask('structured', WRITE, simple(0)))
  good(ask('structured', READ, chunk(0, 2, u64(1024), u32(512)), chunk(0, 1, u64(512), bytes(512)), chunk(1, 0)))
  good(ask('extended', READ, extended(1, 1, 512, u64(512), bytes(1024))))
  good(ask('structured', STATUS, chunk(1, 5, u32(5), u32(4096), u32(3))))
  good(ask('extended', STATUS, extended(1, 6, 512, u32(5), u32(2), u64(512), u64(0), u64(512), u64(3))))
})

test('errors of the server are the request’s, and the connection stays', () => {
  for (const [outcome, errno] of [
    [ask('simple', READ, simple(5)), EIO],
    [ask('simple', WRITE, simple(4711)), EINVAL],
    [ask('structured', READ, chunk(1, 0x8001, u32(28), u16(0))), 28],
    [ask('structured', READ, chunk(0, 1, u64(512), bytes(512)), chunk(1, 0x8002, u32(5), u16(2), 'no', u64(1024))), EIO],
    [ask('structured', WRITE, chunk(1, 0x8077, u32(5), u16(0), 'and more')), EIO],
    [ask('extended', WRITE, extended(1, 0x8001, 512, u32(0), u16(0))), EINVAL],
  ] as const) {
    assert.is(outcome.errno, errno)
    assert.is(outcome.isBroken, false)
  }
})

test('a server that breaks the protocol is left, and the request is lost', () => {
  for (const [index, outcome] of [
    ask('simple', READ, bytes(16)),
    ask('simple', READ, simple(0, 2)),
    ask('simple', READ, chunk(1, 0)),
    ask('structured', READ, simple(0), bytes(1024)),
    ask('structured', READ, chunk(1, 0)),
    ask('structured', READ, chunk(1, 1, u64(512), bytes(512))),
    ask('structured', READ, chunk(1, 1, u64(0), bytes(1024))),
    ask('structured', READ, chunk(1, 1, u64(1024), bytes(1024))),
    ask('structured', READ, chunk(1, 1, u64(512))),
    ask('structured', READ, chunk(0, 1, u64(512), bytes(1024)), chunk(1, 2, u64(512), u32(1024))),
    ask('structured', READ, chunk(1, 2, u64(512), u32(0xffffffff))),
    ask('structured', READ, chunk(1, 2, u64(512), u32(0))),
    ask('structured', READ, chunk(1, 2, u64(512))),
    ask('structured', READ, chunk(1, 0, u32(0))),
    ask('structured', READ, chunk(1, 77)),
    ask('structured', READ, chunk(1, 0x8001, u32(5), u16(100))),
    ask('structured', READ, chunk(1, 0x8001, u32(5))),
    ask('structured', READ, extended(1, 1, 512, u64(512), bytes(1024))),
    ask('structured', WRITE, chunk(1, 1, u64(512), bytes(512))),
    ask('structured', STATUS, simple(0)),
    ask('structured', STATUS, chunk(1, 0)),
    ask('structured', STATUS, chunk(1, 5, u32(6), u32(512), u32(0))),
    ask('structured', STATUS, chunk(1, 5, u32(5), u32(0), u32(0))),
    ask('structured', STATUS, chunk(1, 5, u32(5))),
    ask('structured', STATUS, chunk(1, 6, u32(5), u32(1), u64(512), u64(0))),
    ask('extended', READ, simple(0)),
    ask('extended', READ, extended(1, 1, 0, u64(512), bytes(1024))),
    ask('extended', STATUS, extended(1, 5, 512, u32(5), u32(512), u32(0))),
    ask('extended', STATUS, extended(1, 6, 512, u32(5), u32(2), u64(512), u64(0))),
  ].entries()) {
    assert.is(outcome.isBroken, true, `case ${index}`)
    assert.is(outcome.isLost, true, `case ${index}`)
    assert.is(outcome.errno, EIO, `case ${index}`)
  }
})

test.run()
