/**
 * For tests only: a client that says what it is told to, byte by byte, and knows nothing of what this room believes about
 * the protocol; numbers here are those of doc/proto.md.
 */
import { BlockError, Permission } from '../block'
import { type MemoryStack, memoryStack } from '../block/testing'
import {
  type ByteStream,
  type Co,
  describeAddress,
  ECONNREFUSED,
  type Kernel,
  type LinkOptions,
  makeLabel,
  OK,
  type SocketAddress,
  type StreamHost,
  type StreamListener,
  type StreamPair,
  streamPair,
} from '../co'
import type { ExportOptions } from './export'
import { NbdServer, type ServerOptions } from './server'

const LABEL = makeLabel('test')

/** Big-endian numbers, each as [value, bytes]; texts as they are. */
export type Part = readonly [value: number | bigint, bytes: 1 | 2 | 4 | 8] | string | Uint8Array

export function pack(...parts: readonly Part[]): Buffer {
  return Buffer.concat(
    parts.map((part) => {
      if (typeof part === 'string') return Buffer.from(part)
      if (part instanceof Uint8Array) return Buffer.from(part)
      const bytes = Buffer.alloc(8)
      bytes.writeBigUInt64BE(BigInt(part[0]))
      return bytes.subarray(8 - part[1])
    }),
  )
}
export const u16 = (value: number): Part => [value, 2]
export const u32 = (value: number): Part => [value, 4]
export const u64 = (value: number | bigint): Part => [value, 8]
export const counted = (text: string): Buffer => pack(u32(Buffer.byteLength(text)), text)

export interface OptionAnswer {
  type: number
  data: Buffer
}

export interface SimpleAnswer {
  error: number
  cookie: number
}

export interface ChunkAnswer {
  flags: number
  type: number
  cookie: number
  payload: Buffer
}

export class RawClient {
  constructor(readonly stream: ByteStream) {}

  *send(...parts: readonly Part[]): Co<void> {
    const errno = yield* this.stream.write(pack(...parts))
    if (errno !== OK) throw new Error(`write: ${errno}`)
  }
  /** Exactly so many bytes; throws at the end of the stream. */
  *take(bytes: number): Co<Buffer> {
    const buffer = Buffer.alloc(bytes)
    for (let at = 0; at < bytes; ) {
      const count = yield* this.stream.read(buffer.subarray(at))
      if (count <= 0) throw new Error(`the stream ended after ${at} of ${bytes} bytes: ${count}`)
      at += count
    }
    return buffer
  }
  /** Whether the server has gone, without a further byte. */
  *isLeft(): Co<boolean> {
    return (yield* this.stream.read(Buffer.alloc(1))) <= 0
  }

  *greet(flags = 3): Co<void> {
    const greeting = yield* this.take(18)
    const expected = pack('NBDMAGIC', 'IHAVEOPT', u16(3))
    if (!greeting.equals(expected)) throw new Error(`greeting: ${greeting.toString('hex')}`)
    yield* this.send(u32(flags))
  }
  *option(option: number, ...data: readonly Part[]): Co<void> {
    const bytes = pack(...data)
    yield* this.send('IHAVEOPT', u32(option), u32(bytes.length), bytes)
  }
  *answer(option: number): Co<OptionAnswer> {
    const head = yield* this.take(20)
    if (head.readBigUInt64BE() !== 0x3e889045565a9n) throw new Error('no option reply')
    if (head.readUInt32BE(8) !== option) throw new Error(`reply to option ${head.readUInt32BE(8)}`)
    return { type: head.readUInt32BE(12), data: yield* this.take(head.readUInt32BE(16)) }
  }
  /** All answers to one option, to the final one. */
  *ask(option: number, ...data: readonly Part[]): Co<OptionAnswer[]> {
    yield* this.option(option, ...data)
    const answers: OptionAnswer[] = []
    while (true) {
      const answer = yield* this.answer(option)
      answers.push(answer)
      if (answer.type === 1 || answer.type >= 0x80000000) return answers
    }
  }
  /** GO; throws unless it is acknowledged. Gives what NBD_INFO_EXPORT says. */
  *go(name: string, infos: readonly number[] = []): Co<{ size: number; flags: number }> {
    const answers = yield* this.ask(7, counted(name), u16(infos.length), ...infos.map(u16))
    if (answers.at(-1)?.type !== 1) throw new Error(`GO: ${answers.at(-1)?.data.toString()}`)
    const info = answers.find(({ type, data }) => type === 3 && data.readUInt16BE() === 0)
    if (info === undefined) throw new Error('no NBD_INFO_EXPORT')
    return { size: Number(info.data.readBigUInt64BE(2)), flags: info.data.readUInt16BE(10) }
  }

  *request(command: number, flags: number, cookie: number, offset: number | bigint, length: number, data = ''): Co<void> {
    yield* this.send(u32(0x25609513), u16(flags), u16(command), u64(cookie), u64(offset), u32(length), data)
  }
  *extended(command: number, flags: number, cookie: number, offset: number, length: number | bigint, data = ''): Co<void> {
    yield* this.send(u32(0x21e41c71), u16(flags), u16(command), u64(cookie), u64(offset), u64(length), data)
  }
  *simple(): Co<SimpleAnswer> {
    const head = yield* this.take(16)
    if (head.readUInt32BE() !== 0x67446698) throw new Error(`no simple reply: ${head.toString('hex')}`)
    return { error: head.readUInt32BE(4), cookie: Number(head.readBigUInt64BE(8)) }
  }
  *chunk(): Co<ChunkAnswer> {
    const magic = (yield* this.take(4)).readUInt32BE()
    const isExtended = magic === 0x6e8a278c
    if (!isExtended && magic !== 0x668e33ef) throw new Error(`no chunk: ${magic.toString(16)}`)
    const head = yield* this.take(isExtended ? 28 : 16)
    const length = isExtended ? Number(head.readBigUInt64BE(20)) : head.readUInt32BE(12)
    const payload = yield* this.take(length)
    return { flags: head.readUInt16BE(), type: head.readUInt16BE(2), cookie: Number(head.readBigUInt64BE(4)), payload }
  }
  /** All chunks of one reply. */
  *chunks(): Co<ChunkAnswer[]> {
    const chunks: ChunkAnswer[] = []
    while (true) {
      const chunk = yield* this.chunk()
      chunks.push(chunk)
      if ((chunk.flags & 1) !== 0) return chunks
    }
  }
}

/** Calls `accept` with the far end of every connection; `refuse` makes the next attempts fail. */
export class TestHost implements StreamHost {
  readonly pairs: StreamPair[] = []
  refuse = false
  link: LinkOptions = {}

  constructor(
    private readonly kernel: Kernel,
    private readonly accept: (stream: ByteStream) => void,
  ) {}

  *connect(address: SocketAddress): Co<ByteStream> {
    if (this.refuse) {
      throw new BlockError(`Failed to connect to '${describeAddress(address)}': Connection refused`, { errno: ECONNREFUSED })
    }
    const pair = streamPair(this.kernel, `link ${this.pairs.length}`, this.link)
    this.pairs.push(pair)
    this.accept(pair.far)
    return pair.near
  }
  *listen(): Co<StreamListener> {
    throw new BlockError('tests call, and listen not')
  }
}

export const ADDRESS: SocketAddress = { type: 'unix', path: '/run/nbd.sock' }

export interface ServerBench extends MemoryStack {
  server: NbdServer
  /** Connects a client to the server. */
  connect(link?: LinkOptions): RawClient & { pair: StreamPair }
  /** Runs `body` with a new client to its end, and gives what it returned. */
  talk<T>(body: (client: RawClient) => Co<T>): T
}

/** A server with one export `disk` over memory. */
export function serverBench(
  lengthBytes = 64 * 1024,
  wanted: Partial<Omit<ExportOptions, 'node' | 'id'>> = {},
  options: ServerOptions = {},
  limits: Parameters<typeof memoryStack>[1] = {},
): ServerBench {
  const stack = memoryStack(lengthBytes, limits, { discard: 'unmap' })
  // The stack's own backend would keep the node's length free to change.
  stack.backend.setPermissions(Permission.ConsistentRead, Permission.All)
  const server = new NbdServer(stack.kernel, options)
  server.addExport({ id: 'export0', name: 'disk', node: stack.node, writable: true, ...wanted })
  const connect = (link?: LinkOptions): RawClient & { pair: StreamPair } => {
    const pair = streamPair(stack.kernel, 'link', link)
    server.serve(pair.far)
    return Object.assign(new RawClient(pair.near), { pair })
  }
  const talk = <T>(body: (client: RawClient) => Co<T>): T => {
    const client = connect()
    let result: { value: T } | null = null
    function* main(): Co<void> {
      result = { value: yield* body(client) }
      client.stream.close()
    }
    const coroutine = stack.kernel.spawn(main(), LABEL)
    stack.clock.run()
    if (result === null) throw new Error(`stuck: ${coroutine.waitsFor?.describe()}`)
    return (result as { value: T }).value
  }
  return { ...stack, server, connect, talk }
}
