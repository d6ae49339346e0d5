/** The document's rules, and that breaking them is seen. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { NbdCommand, NbdConversation, NbdOption, type NbdReply } from './nbd_conversation'

type Part = readonly [value: number, bytes: 2 | 4 | 8] | string
function pack(...parts: readonly Part[]): Uint8Array {
  const pieces = parts.map((part) => {
    if (typeof part === 'string') return Buffer.from(part)
    const bytes = Buffer.alloc(8)
    bytes.writeBigUInt64BE(BigInt(part[0]))
    return bytes.subarray(8 - part[1])
  })
  return new Uint8Array(Buffer.concat(pieces))
}
const u16 = (value: number): Part => [value, 2]
const u32 = (value: number): Part => [value, 4]
const u64 = (value: number): Part => [value, 8]
const REPLY_MAGIC = '\x00\x03\xe8\x89\x04\x55\x65\xa9'
const optionReply = (option: number, type: number, ...data: readonly Part[]): Uint8Array => {
  const payload = pack(...data)
  const head = new Uint8Array([...Buffer.from(REPLY_MAGIC, 'latin1'), ...pack(u32(option), u32(type), u32(payload.length))])
  return new Uint8Array([...head, ...payload])
}
const ask = (option: number, data = ''): Uint8Array => pack('IHAVEOPT', u32(option), u32(data.length), data)
const request = (command: number, cookie: number, offset: number, length: number, flags = 0, data = ''): Uint8Array =>
  pack(u32(0x25609513), u16(flags), u16(command), u64(cookie), u64(offset), u32(length), data)
const chunk = (flags: number, type: number, cookie: number, ...data: readonly Part[]): Uint8Array => {
  const payload = pack(...data)
  return new Uint8Array([...pack(u32(0x668e33ef), u16(flags), u16(type), u64(cookie), u32(payload.length)), ...payload])
}
const ALL_FLAGS = 0xdff & ~2

/** In transmission, with an export of 4096 bytes. */
function talking(headers: 'simple' | 'structured' = 'structured'): { talk: NbdConversation; replies: NbdReply[] } {
  const replies: NbdReply[] = []
  const talk = new NbdConversation((reply) => replies.push(reply))
  talk.received(pack('NBDMAGIC', 'IHAVEOPT', u16(3)))
  talk.sent(pack(u32(3)))
  if (headers === 'structured') {
    talk.sent(ask(NbdOption.Structured))
    talk.received(optionReply(NbdOption.Structured, 1))
  }
  talk.sent(ask(NbdOption.Go, '\0\0\0\0\0\0'))
  talk.received(optionReply(NbdOption.Go, 3, u16(0), u64(4096), u16(ALL_FLAGS)))
  talk.received(optionReply(NbdOption.Go, 1))
  assert.equal([talk.isTransmitting, talk.headers, talk.exportBytes], [true, headers, 4096])
  return { talk, replies }
}
const keysOf = (talk: NbdConversation): string[] => talk.breaches.map(({ end, key }) => `${end} ${key}`)

test('a read in parts, byte by byte, is put together', () => {
  const { talk, replies } = talking()
  for (const byte of request(NbdCommand.Read, 7, 512, 1024)) talk.sent(Uint8Array.of(byte))
  const bytes = [...chunk(0, 2, 7, u64(512), u32(512)), ...chunk(1, 1, 7, u64(1024), 'x'.repeat(512))]
  for (const byte of bytes) talk.received(Uint8Array.of(byte))
  assert.equal(keysOf(talk), [])
  assert.is(replies.length, 1)
  assert.equal(replies[0]!.data, new Uint8Array(1024).fill(120, 512))
  assert.is(talk.openRequests, 0)
})

test('simple replies carry the data of reads that were simple', () => {
  const { talk, replies } = talking('simple')
  talk.sent(request(NbdCommand.Read, 1, 0, 4))
  talk.sent(request(NbdCommand.Write, 2, 0, 4, 1, 'abcd'))
  talk.received(pack(u32(0x67446698), u32(0), u64(2)))
  talk.received(pack(u32(0x67446698), u32(0), u64(1), 'wxyz'))
  assert.equal(keysOf(talk), [])
  assert.equal(
    replies.map(({ cookie, error }) => [cookie, error]),
    [
      [2, 0],
      [1, 0],
    ],
  )
})

const WRONG: ReadonlyArray<readonly [what: string, expected: string, (talk: NbdConversation) => void]> = [
  ['an unknown cookie', 'server nbd/unknown-cookie', (talk) => talk.received(chunk(1, 0, 9))],
  ['bytes outside', 'server nbd/outside', (talk) => talk.received(chunk(0, 2, 7, u64(0), u32(512)))],
  [
    'the same bytes twice',
    'server nbd/twice',
    (talk) => {
      talk.received(chunk(0, 2, 7, u64(512), u32(512)))
      talk.received(chunk(0, 2, 7, u64(512), u32(8)))
    },
  ],
  ['an end too soon', 'server nbd/incomplete', (talk) => talk.received(chunk(1, 2, 7, u64(512), u32(512)))],
  ['an error that does not exist', 'server nbd/error-number', (talk) => talk.received(chunk(1, 0x8001, 7, u32(2), u16(0)))],
  ['a simple reply', 'server nbd/simple-reply', (talk) => talk.received(pack(u32(0x67446698), u32(5), u64(7)))],
  ['a chunk of status', 'server nbd/chunk-type', (talk) => talk.received(chunk(1, 5, 7, u32(0), u32(1), u32(0)))],
  ['a reply without magic', 'server nbd/reply-magic', (talk) => talk.received(pack(u32(1)))],
  ['a cookie in use', 'client nbd/cookie-in-use', (talk) => talk.sent(request(NbdCommand.Read, 7, 0, 1))],
  ['a range beyond the end', 'client nbd/beyond-the-end', (talk) => talk.sent(request(NbdCommand.Trim, 8, 4095, 2))],
  ['an unknown command', 'client nbd/unknown-command', (talk) => talk.sent(request(77, 8, 0, 1))],
  ['flags of others', 'client nbd/request-flags', (talk) => talk.sent(request(NbdCommand.Trim, 8, 0, 1, 16))],
  ['status of no context', 'client nbd/no-context', (talk) => talk.sent(request(NbdCommand.Status, 8, 0, 1))],
]
for (const [what, expected, wrong] of WRONG) {
  test(`${what} is seen`, () => {
    const { talk } = talking()
    talk.sent(request(NbdCommand.Read, 7, 512, 1024))
    wrong(talk)
    assert.is(keysOf(talk)[0], expected)
  })
}

test('a handshake that is none is seen', () => {
  const talk = new NbdConversation()
  talk.received(pack('NBDMAGIC', 'NOOPTION', u16(3)))
  assert.equal(keysOf(talk), ['server nbd/greeting'])
  const other = new NbdConversation()
  other.received(pack('NBDMAGIC', 'IHAVEOPT', u16(3)))
  other.sent(pack(u32(3)))
  other.sent(ask(NbdOption.Go, '\0\0\0\0\0\0'))
  other.received(optionReply(NbdOption.Go, 1))
  assert.equal(keysOf(other), ['server nbd/no-export-info'])
})

test.run()
