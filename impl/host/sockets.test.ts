import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockError } from '../block'
import { type ByteStream, type Co, ECANCELED, makeLabel, OK, type SocketAddress, type StreamListener } from '../co'
import { HostLoop } from './loop'
import { Sockets } from './sockets'

const LABEL = makeLabel('test')
const MIB = 1024 * 1024
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sockets-'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))

const unix = (name: string): SocketAddress => ({ type: 'unix', path: path.join(folder, name) })
const LOOPBACK: SocketAddress = { type: 'inet', host: '127.0.0.1', port: 0 }

interface Ends {
  loop: HostLoop
  sockets: Sockets
  listener: StreamListener
  client: ByteStream
  server: ByteStream
}

/** Runs `body` with two connected ends, and closes everything behind it. */
async function connected(address: SocketAddress, body: (ends: Ends) => Co<void>): Promise<void> {
  const loop = new HostLoop()
  const sockets = new Sockets(loop)
  function* main(): Co<void> {
    const listener = yield* sockets.listen(address)
    const client = yield* sockets.connect(listener.address)
    const server = yield* listener.accept()
    assert.ok(server !== null)
    try {
      yield* body({ loop, sockets, listener, client, server: server! })
    } finally {
      client.close()
      server!.close()
      listener.close()
    }
  }
  await loop.run(main())
}

function* readAll(stream: ByteStream): Co<Buffer> {
  const parts: Buffer[] = []
  const buffer = Buffer.alloc(100_000)
  while (true) {
    const count = yield* stream.read(buffer)
    assert.ok(count >= 0, `read: ${count}`)
    if (count === 0) return Buffer.concat(parts)
    parts.push(Buffer.from(buffer.subarray(0, count)))
  }
}

const pattern = (bytes: number): Buffer => Buffer.alloc(bytes, 'the quick brown fox jumps')

for (const [name, address] of [
  ['unix', unix('carry')],
  ['TCP', LOOPBACK],
] as const) {
  test(`${name}: megabytes go through in both directions at once, and end`, () =>
    connected(address, function* ({ loop, client, server }) {
      const sent = pattern(5 * MIB)
      function* writer(stream: ByteStream): Co<void> {
        assert.is(yield* stream.writeParts([sent.subarray(0, 28), sent.subarray(28)]), OK)
        assert.is(yield* stream.endWrite(), OK)
      }
      loop.kernel.spawn(writer(client), LABEL)
      loop.kernel.spawn(writer(server), LABEL)
      assert.ok(sent.equals(yield* readAll(server)))
      assert.ok(sent.equals(yield* readAll(client)))
    }))
}

test('a writer whose reader does not read waits, and close ends the wait', () =>
  connected(unix('pressure'), function* ({ loop, client, server }) {
    let result = -1
    function* writer(): Co<void> {
      result = yield* client.write(pattern(20 * MIB))
    }
    const writing = loop.kernel.spawn(writer(), LABEL)
    yield* loop.kernel.sleepNs(50_000_000)
    assert.is(result, -1)
    client.close()
    yield* loop.kernel.join(writing)
    assert.is(result, ECANCELED)
    // What had left is read to its end, or the system has dropped it; either way the wait ends.
    const buffer = new Uint8Array(MIB)
    for (let count = 1; count > 0; ) count = yield* server.read(buffer)
  }))

test('close wakes a reader', () =>
  connected(unix('reader'), function* ({ loop, client }) {
    let result = 0
    function* reader(): Co<void> {
      result = yield* client.read(new Uint8Array(1))
    }
    const reading = loop.kernel.spawn(reader(), LABEL)
    yield* loop.kernel.sleepNs(0)
    client.close()
    yield* loop.kernel.join(reading)
    assert.is(result, -ECANCELED)
  }))

test('writing to an end that has gone fails sooner or later, and nothing is thrown', () =>
  connected(unix('gone'), function* ({ loop, client, server }) {
    server.close()
    let errno = OK
    for (let attempt = 0; attempt < 100 && errno === OK; attempt++) {
      errno = yield* client.write(pattern(1000))
      yield* loop.kernel.sleepNs(1_000_000)
    }
    assert.is.not(errno, OK)
  }))

test('close of a listener wakes who waits for a connection, and takes the path away', () =>
  connected(unix('listener'), function* ({ loop, listener }) {
    let accepted: ByteStream | null | undefined
    function* acceptor(): Co<void> {
      accepted = yield* listener.accept()
    }
    const accepting = loop.kernel.spawn(acceptor(), LABEL)
    yield* loop.kernel.sleepNs(0)
    listener.close()
    yield* loop.kernel.join(accepting)
    assert.is(accepted, null)
    assert.is(fs.existsSync(path.join(folder, 'listener')), false)
  }))

test('an address in use is taken over if it is a path, and refused if it is a port', () =>
  connected(LOOPBACK, function* ({ sockets, listener }) {
    fs.writeFileSync(path.join(folder, 'stale'), '')
    const other = yield* sockets.listen(unix('stale'))
    other.close()
    let text = ''
    try {
      yield* sockets.listen(listener.address)
    } catch (error) {
      assert.ok(error instanceof BlockError)
      text = (error as Error).message
    }
    assert.is(text, 'Failed to find an available port: Address already in use')
  }))

test('wrong addresses are refused in QEMU’s words', async () => {
  const loop = new HostLoop()
  const sockets = new Sockets(loop)
  const long = 'a'.repeat(120)
  const cases: Array<readonly [() => Co<unknown>, string]> = [
    [() => sockets.connect(unix('nobody')), `Failed to connect to '${folder}/nobody': No such file or directory`],
    [() => sockets.connect({ type: 'unix', path: long }), `UNIX socket path '${long}' is too long`],
    [() => sockets.listen(unix('no/such')), `Failed to bind socket to ${folder}/no/such: No such file or directory`],
  ]
  for (const [attempt, expected] of cases) {
    try {
      await loop.run(attempt())
      assert.unreachable(expected)
    } catch (error) {
      assert.is((error as Error).message, expected)
    }
  }
})

test.run()
