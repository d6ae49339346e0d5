/** Good headers, and every field that a hostile one can have wrong. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { randomFrom } from '../drivers/qcow2/testing'
import { BlockError } from '../error'
import { chooseCipher } from './cipher_name'
import {
  decodeLuksHeader,
  encodeLuksHeader,
  isLuks,
  LUKS_HEADER_BYTES,
  type LuksHeader,
  luksInfo,
  materialSectors,
  newLuksHeader,
} from './luks_header'

const UUID = '0f0e0d0c-0b0a-4908-8706-050403020100'

function header(): LuksHeader {
  const made = newLuksHeader(chooseCipher({}), 'sha256', UUID)
  made.digestIterations = 1000
  made.slots[0] = { ...made.slots[0]!, isActive: true, iterations: 2000, salt: new Uint8Array(32).fill(7) }
  return made
}

test('the layout is that of the specification: places, names, magic numbers', () => {
  const bytes = encodeLuksHeader(header())
  assert.is(bytes.length, LUKS_HEADER_BYTES)
  assert.is(Buffer.from(bytes.subarray(0, 8)).toString('hex'), '4c554b53babe0001')
  assert.is(Buffer.from(bytes.subarray(8, 12)).toString('latin1'), 'aes\0')
  assert.is(Buffer.from(bytes.subarray(40, 52)).toString('latin1'), 'xts-plain64\0')
  assert.is(Buffer.from(bytes.subarray(72, 79)).toString('latin1'), 'sha256\0')
  const view = new DataView(bytes.buffer)
  assert.equal(
    [104, 108, 164].map((at) => view.getUint32(at)),
    [4040, 64, 1000],
  )
  assert.equal(
    [208, 212, 248, 252].map((at) => view.getUint32(at)),
    [0xac71f3, 2000, 8, 4000],
  )
  assert.equal(
    [256, 296, 300].map((at) => view.getUint32(at)),
    [0xdead, 512, 4000],
  )
  assert.ok(isLuks(bytes))
  assert.equal(decodeLuksHeader(bytes), header())
})

test('payloads lie where QEMU puts them', () => {
  const payload = (algorithm: string, mode: string): unknown =>
    luksInfo(newLuksHeader(chooseCipher({ algorithm, mode }), 'sha1', UUID))['payload-offset']
  assert.is(payload('aes-256', 'xts'), 2068480)
  assert.is(payload('aes-192', 'xts'), 1544192)
  assert.is(payload('aes-256', 'cbc'), 1052672)
})

const u32 = (at: number, value: number) => (bytes: Uint8Array) => new DataView(bytes.buffer).setUint32(at, value)
const text = (at: number, value: string) => (bytes: Uint8Array) => {
  bytes.fill(0, at, at + 32)
  bytes.set(Buffer.from(value), at)
}
const HOSTILE: ReadonlyArray<readonly [(bytes: Uint8Array) => void, string]> = [
  [u32(0, 0), 'Volume is not in LUKS format'],
  [u32(4, 0xbabe0002), 'LUKS version 2 is not supported'],
  [(bytes) => bytes.fill(97, 8, 40), 'LUKS header cipher name is not NUL terminated'],
  [(bytes) => bytes.fill(97, 40, 72), 'LUKS header cipher mode is not NUL terminated'],
  [(bytes) => bytes.fill(97, 72, 104), 'LUKS header hash spec is not NUL terminated'],
  [text(8, 'foo'), "Algorithm 'foo' with key size 32 bytes not supported"],
  [text(72, 'foo'), "Hash algorithm 'foo' not supported"],
  [u32(164, 0), 'LUKS key iteration count is zero'],
  [u32(164, 0xffffffff), 'The master key needs 4294967295 iterations, more than the 2147483647 that are supported'],
  [u32(104, 0), 'LUKS payload is overlapping with the header'],
  [u32(104, 4031), 'Keyslot 7 is overlapping with the encrypted payload'],
  [u32(108, 0), "Algorithm 'aes' with key size 0 bytes not supported"],
  [u32(108, 128), 'Keyslots 0 and 1 are overlapping in the header'],
  [u32(108, 0xffffffff), 'Keyslot 0 is overlapping with the encrypted payload'],
  [u32(208, 1), 'Keyslot 0 state (active/disable) is corrupted'],
  [u32(212, 0), 'Keyslot 0 iteration count is zero'],
  [u32(212, 0x80000000), 'Keyslot 0 needs 2147483648 iterations, more than the 2147483647 that are supported'],
  [u32(252, 4001), 'Keyslot 0 is corrupted (stripes 4001 != 4000)'],
  [u32(252, 0xffffffff), 'Keyslot 0 is corrupted (stripes -1 != 4000)'],
  [u32(248, 7), 'Keyslot 0 is overlapping with the LUKS header'],
  [u32(248, 0xffffffff), 'Keyslot 0 is overlapping with the encrypted payload'],
  [u32(296, 10), 'Keyslots 0 and 1 are overlapping in the header'],
]
for (const [spoil, expected] of HOSTILE) {
  test(`refused: ${expected}`, () => {
    const bytes = encodeLuksHeader(header())
    spoil(bytes)
    assert.throws(
      () => decodeLuksHeader(bytes),
      (error: Error) => error.message === expected,
      expected,
    )
  })
}

test('what a header says reaches no terminal as it is', () => {
  const bytes = encodeLuksHeader(header())
  text(168, '\u001b[31mred')(bytes)
  assert.is(decodeLuksHeader(bytes).uuid, '?[31mred')
  text(72, '\u001b]0;x')(bytes)
  assert.throws(
    () => decodeLuksHeader(bytes),
    (error: Error) => error.message === "Hash algorithm '?]0;x' not supported",
  )
})

test('whatever bytes are changed, a header is taken or refused, and one that is taken is bounded', () => {
  const random = randomFrom(7)
  let taken = 0
  for (let round = 0; round < 4000; round++) {
    const bytes = encodeLuksHeader(header())
    for (let change = 0; change <= random(3); change++) bytes[random(bytes.length)] = random(256)
    try {
      const decoded = decodeLuksHeader(bytes)
      taken++
      assert.ok(decoded.keyBytes <= 64 && decoded.payloadSector >= 8, `round ${round}`)
      const end = Math.max(...decoded.slots.map(({ keySector }) => keySector + materialSectors(decoded.keyBytes)))
      assert.ok(end <= decoded.payloadSector, `round ${round}`)
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
    }
  }
  assert.ok(taken > 400 && taken < 3600, String(taken))
})

test('what is told of it has no keys', () => {
  const told = JSON.stringify(luksInfo(header()))
  assert.not.match(told, /salt|digest/)
})

test.run()
