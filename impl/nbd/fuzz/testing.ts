/**
 * For tests and long runs only: conversations of NBD that go wrong. A valid conversation is changed as a whole (messages left
 * out, repeated, put in another order) and in its bytes (fields set to extremes, bits turned over, pieces cut out, noise put
 * in), and is sent to a server in pieces of any length; or a proxy changes what a real server says to a real client.
 *
 * One number makes one case. What a case checks: nothing throws, nobody hangs, all connections are over in the end, what the
 * server holds is bounded, what it says has the form of the protocol, and the next client is served as if nothing had been.
 */
import { BlockBackend, Permission } from '../../block'
import { type ByteStream, type Co, type LinkOptions, makeLabel, mix32, OK, streamPair } from '../../co'
import { type NbdDriver, openNbd } from '../driver'
import { ADDRESS, counted, pack, type RawClient, type ServerBench, serverBench, u16, u32, u64 } from '../testing'

const LABEL = makeLabel('fuzz')
const EXPORT_BYTES = 64 * 1024
const BUFFER_MAX_BYTES = 32 * 1024 * 1024
const SECOND_NS = 1_000_000_000

/** Numbers below a bound, one after the other. */
export class Dice {
  private state: number
  constructor(seed: number) {
    this.state = mix32(seed + 1)
  }
  below(count: number): number {
    this.state = (this.state + 0x9e3779b9) | 0
    return mix32(this.state) % count
  }
  isOneIn(count: number): boolean {
    return this.below(count) === 0
  }
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!
  }
}

const NAMES = ['disk', '', 'nothing', 'x'.repeat(4096), 'd\0sk', '\xff\xfe']
const QUERIES = ['base:allocation', 'base:', 'qemu:', 'qemu:allocation-depth', 'qemu:dirty-bitmap:', 'nothing', ':', '']
const EXTREMES = [0, 1, 2, 7, 0x7f, 0xff, 0x7fff, 0xffff, 0x10000, 0x2000000, 0x2000001, 0x7fffffff, 0x80000000, 0xffffffff]

function option(number: number, data: Uint8Array): Uint8Array {
  return pack('IHAVEOPT', u32(number), u32(data.length), data)
}

function randomOption(dice: Dice): Uint8Array {
  const name = dice.isOneIn(3) ? dice.pick(NAMES) : 'disk'
  switch (dice.below(8)) {
    case 0:
      return option(3, pack())
    case 1:
      return option(dice.pick([8, 11]), pack())
    case 2: {
      const infos = Array.from({ length: dice.below(4) }, () => u16(dice.below(5)))
      return option(6, pack(counted(name), u16(infos.length), ...infos))
    }
    case 3:
    case 4: {
      const queries = Array.from({ length: dice.below(4) }, () => counted(dice.pick(QUERIES)))
      return option(dice.pick([9, 10]), pack(counted(name), u32(queries.length), ...queries))
    }
    case 5:
      return option(5, pack())
    case 6:
      return option(dice.below(20), Buffer.alloc(dice.below(40), 1))
    default:
      return option(8, pack())
  }
}

function randomRequest(dice: Dice, isExtended: boolean): Uint8Array {
  const command = dice.isOneIn(10) ? dice.below(300) : dice.below(8)
  const isDisconnect = command === 2 && !dice.isOneIn(10)
  const flags = dice.isOneIn(2) ? 0 : 1 << dice.below(7)
  const offset = dice.isOneIn(8) ? dice.pick(EXTREMES) : dice.below(EXPORT_BYTES / 512) * 512
  const length = dice.isOneIn(8) ? dice.pick(EXTREMES) : dice.below(20) * 512
  const payload = command === 1 || (isExtended && (flags & 32) !== 0) ? Buffer.alloc(Math.min(length, EXPORT_BYTES), 7) : pack()
  const head = [u16(flags), u16(isDisconnect ? 3 : command), u64(dice.below(1000)), u64(offset)] as const
  return isExtended ? pack(u32(0x21e41c71), ...head, u64(length), payload) : pack(u32(0x25609513), ...head, u32(length), payload)
}

/** The messages of a client that means well. */
function conversation(dice: Dice): Uint8Array[] {
  const messages: Uint8Array[] = [pack(u32(dice.isOneIn(4) ? dice.below(4) : 3))]
  const isExtended = dice.isOneIn(2)
  if (isExtended) messages.push(option(11, pack()))
  for (let count = dice.below(5); count > 0; count--) messages.push(randomOption(dice))
  messages.push(dice.isOneIn(6) ? option(1, pack('disk')) : option(7, pack(counted('disk'), u16(0))))
  for (let count = dice.below(20); count > 0; count--) messages.push(randomRequest(dice, isExtended))
  return messages
}

/** Changes bytes of one message. */
function spoil(dice: Dice, message: Uint8Array): Uint8Array {
  const bytes = Buffer.from(message)
  const at = dice.below(Math.max(1, bytes.length))
  switch (dice.below(6)) {
    case 0:
      bytes[at]! ^= 1 << dice.below(8)
      return bytes
    case 1:
      if (bytes.length >= 4) bytes.writeUInt32BE(dice.pick(EXTREMES), Math.min(at - (at % 4), bytes.length - 4))
      return bytes
    case 2:
      if (bytes.length >= 2) bytes.writeUInt16BE(dice.pick(EXTREMES) & 0xffff, Math.min(at - (at % 2), bytes.length - 2))
      return bytes
    case 3:
      return bytes.subarray(0, at)
    case 4:
      return Buffer.concat([
        bytes.subarray(0, at),
        Buffer.from(Array.from({ length: dice.below(64) }, () => dice.below(256))),
        bytes.subarray(at),
      ])
    default:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.min(bytes.length, at + 1 + dice.below(8)))])
  }
}

/** What is sent in one case. */
export function spoiltConversation(dice: Dice): Uint8Array[] {
  let messages = conversation(dice)
  const isWhole = dice.isOneIn(8)
  for (let count = isWhole ? 0 : 1 + dice.below(3); count > 0; count--) {
    const at = dice.below(messages.length)
    const message = messages[at]!
    switch (dice.below(6)) {
      case 0:
        messages = [...messages.slice(0, at), message, ...messages.slice(at)]
        break
      case 1:
        messages = [...messages.slice(0, at), ...messages.slice(at + 1), pack()]
        break
      case 2:
        messages[at] = messages[dice.below(messages.length)]!
        break
      default:
        messages[at] = spoil(dice, message)
    }
  }
  return messages
}

function linkOf(dice: Dice, seed: number): LinkOptions {
  const pieces = new Dice(seed ^ 0x5bd1e995)
  return {
    capacityBytes: dice.pick([100, 4096, 256 * 1024]),
    ...(dice.isOneIn(2) ? {} : { pieceBytes: (_: 0 | 1, bytes: number) => 1 + pieces.below(Math.min(bytes, 50)) }),
    ...(dice.isOneIn(3) ? {} : { delayNs: () => pieces.below(1000) }),
  }
}

/** Throws an Error that says what is wrong with what a server has said, as far as it can be told without its client. */
export function checkServerBytes(bytes: Buffer): void {
  if (bytes.length < 18) return
  if (!bytes.subarray(0, 18).equals(pack('NBDMAGIC', 'IHAVEOPT', u16(3)))) throw new Error('greeting')
  let at = 18
  const has = (count: number): boolean => at + count <= bytes.length
  while (has(20) && bytes.readBigUInt64BE(at) === 0x3e889045565a9n) {
    const lengthBytes = bytes.readUInt32BE(at + 16)
    if (lengthBytes > 8192) throw new Error(`option reply of ${lengthBytes} bytes`)
    at += 20 + lengthBytes
  }
  while (has(4)) {
    const magic = bytes.readUInt32BE(at)
    const isExtended = magic === 0x6e8a278c
    if (!isExtended && magic !== 0x668e33ef) return
    if (!has(isExtended ? 32 : 20)) return
    const lengthBytes = isExtended ? Number(bytes.readBigUInt64BE(at + 24)) : bytes.readUInt32BE(at + 16)
    const type = bytes.readUInt16BE(at + 6)
    if (![0, 1, 2, 5, 6, 0x8001].includes(type)) throw new Error(`chunk of type ${type}`)
    if (lengthBytes > EXPORT_BYTES + 8) throw new Error(`chunk of ${lengthBytes} bytes`)
    at += (isExtended ? 32 : 20) + lengthBytes
  }
}

/** Nothing that a client can ask for takes more. */
function allocateBuffer(bytes: number): Uint8Array {
  if (bytes > BUFFER_MAX_BYTES) throw new Error(`a request takes ${bytes} bytes`)
  return new Uint8Array(bytes)
}

/** One case against the server. Throws an Error that says what went wrong. */
export function fuzzServer(seed: number): void {
  const dice = new Dice(seed)
  const bench = serverBench(EXPORT_BYTES, { allocationDepth: true, writable: !dice.isOneIn(8) }, { allocateBuffer })
  bench.disk.data.fill(3, 0, EXPORT_BYTES / 2)
  bench.disk.allocated.fill(1, 0, EXPORT_BYTES / 1024)
  bench.disk.latencyNs = dice.pick([0, 100, 10_000])
  const { near, cut } = bench.connect(linkOf(dice, seed)).pair
  const messages = spoiltConversation(dice)
  const ending = dice.below(4)
  const heard: Buffer[] = []
  function* write(): Co<void> {
    for (const message of messages) {
      if ((yield* near.write(message)) !== OK) return
      if (dice.isOneIn(4)) yield* bench.kernel.sleepNs(dice.below(5000))
    }
    if (ending === 0) return cut()
    if (ending === 1) near.close()
    else yield* near.endWrite()
  }
  function* read(): Co<void> {
    const buffer = Buffer.alloc(4096)
    while (true) {
      const count = yield* near.read(buffer)
      if (count <= 0) break
      heard.push(Buffer.from(buffer.subarray(0, count)))
      if (ending === 3 && dice.isOneIn(20)) yield* bench.kernel.sleepNs(SECOND_NS)
    }
    near.close()
  }
  bench.kernel.spawn(write(), LABEL)
  bench.kernel.spawn(read(), LABEL)
  bench.clock.run(Number.MAX_SAFE_INTEGER, 200_000)
  near.close()
  bench.clock.run(Number.MAX_SAFE_INTEGER, 200_000)
  if (bench.server.connectionCount !== 0) throw new Error('the connection did not end')
  checkServerBytes(Buffer.concat(heard))
  checkNextClient(bench)
}

function checkNextClient(bench: ServerBench): void {
  bench.talk(function* (client: RawClient) {
    yield* client.greet()
    const { size } = yield* client.go('disk')
    if (size !== EXPORT_BYTES) throw new Error(`the next client sees ${size} bytes`)
    yield* client.request(0, 0, 1, 0, 512)
    const { error } = yield* client.simple()
    if (error !== 0) throw new Error(`the next client reads: ${error}`)
    yield* client.take(512)
  })
}

/** Carries bytes from one stream to the other, and spoils them after a while. */
function* corrupt(from: ByteStream, to: ByteStream, dice: Dice, wholeBytes: number): Co<void> {
  const buffer = Buffer.alloc(1000)
  for (let carried = 0; ; ) {
    const count = yield* from.read(buffer)
    if (count <= 0) break
    carried += count
    const piece = Buffer.from(buffer.subarray(0, count))
    const spoilt = carried > wholeBytes && dice.isOneIn(3) ? spoil(dice, piece) : piece
    if ((yield* to.write(spoilt)) !== OK) break
  }
  yield* to.endWrite()
  from.close()
}
function* carry(from: ByteStream, to: ByteStream): Co<void> {
  const buffer = Buffer.alloc(1000)
  while (true) {
    const count = yield* from.read(buffer)
    if (count <= 0 || (yield* to.write(buffer.subarray(0, count))) !== OK) break
  }
  yield* to.endWrite()
}

/** One case against the client: a real server behind a line that lies. Throws an Error that says what went wrong. */
export function fuzzClient(seed: number): void {
  const dice = new Dice(seed)
  const bench = serverBench(EXPORT_BYTES, {})
  bench.disk.data.fill(3, 0, EXPORT_BYTES / 2)
  bench.disk.allocated.fill(1, 0, EXPORT_BYTES / 1024)
  const { kernel, graph } = bench
  const cuts: Array<() => void> = []
  const host = {
    *connect(): Co<ByteStream> {
      const toServer = streamPair(kernel, 'server side', linkOf(dice, seed))
      const toClient = streamPair(kernel, 'client side', linkOf(dice, seed + 1))
      cuts.push(toClient.cut, toServer.cut)
      bench.server.serve(toServer.far)
      kernel.spawn(carry(toClient.far, toServer.near), LABEL)
      kernel.spawn(corrupt(toServer.near, toClient.far, dice, dice.pick([0, 20, 200, 1000])), LABEL)
      return toClient.near
    },
    *listen(): Co<never> {
      throw new Error('nobody listens')
    },
  }
  let ended = 0
  let driver: NbdDriver | null = null
  function* use(backend: BlockBackend): Co<void> {
    for (let count = 0; count < 10; count++) {
      const at = dice.below(EXPORT_BYTES / 512) * 512
      const bytes = Math.min(512 * (1 + dice.below(60)), EXPORT_BYTES - at)
      const kind = dice.below(5)
      if (kind < 2) yield* backend.pread(at, new Uint8Array(bytes))
      else if (kind === 2) yield* backend.pwrite(at, new Uint8Array(bytes).fill(1))
      else if (kind === 3) yield* backend.pwriteZeroes(at, bytes)
      else if (backend.root !== null) yield* backend.root.node.blockStatus('want-zero', at, bytes)
    }
    ended++
  }
  function* main(): Co<void> {
    try {
      const reconnectDelaySeconds = dice.pick([0, 3])
      driver = yield* openNbd(kernel, host, { server: ADDRESS, exportName: 'disk', readOnly: false, reconnectDelaySeconds })
    } catch (error) {
      if ((error as Error).name !== 'BlockError') throw error
      ended = 3
      return
    }
    const node = graph.addNode({ name: 'remote', driver })
    const backend = new BlockBackend(graph, '')
    backend.attach(node, Permission.ConsistentRead | Permission.Write, Permission.All)
    const users = [0, 1, 2].map(() => kernel.spawn(use(backend), LABEL))
    for (const user of users) yield* kernel.join(user)
    backend.dispose()
    yield* graph.removeNode(node)
  }
  kernel.spawn(main(), LABEL)
  // A line that has lost bytes makes both ends wait; it is cut then, as often as it has been made anew.
  for (let round = 0; round < 200 && ended < 3; round++) {
    bench.clock.run(bench.kernel.nowNs() + SECOND_NS, 200_000)
    for (const cut of cuts.splice(0)) cut()
  }
  bench.clock.run(Number.MAX_SAFE_INTEGER, 200_000)
  if (ended < 3) throw new Error(`only ${ended} of 3 users of the node came to an end`)
  if (bench.server.connectionCount !== 0) throw new Error('a connection did not end')
}
