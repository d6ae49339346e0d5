/** Against published vectors, and against OpenSSL's own modes. */
import * as crypto from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { HostLoop } from '../../host'
import { HostCryptography } from '../../host/cryptography'
import { chooseCipher, keyBytesOf, parseHeaderNames } from './cipher_name'
import { SectorCipher } from './sector_cipher'

const cryptography = new HostCryptography(new HostLoop())
const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'))
const pattern = (lengthBytes: number): Uint8Array =>
  Uint8Array.from({ length: lengthBytes }, (_, at) => (at * 7 + (at >> 8)) & 255)

function startValue(sector: number): Uint8Array {
  const iv = Buffer.alloc(16)
  iv.writeBigUInt64LE(BigInt(sector))
  return iv
}

test('XTS-AES-128 of IEEE 1619-2007, vector 4, whose data unit is one sector', () => {
  const key = hex('27182818284590452353602874713526 31415926535897932384626433832795')
  const plain = Uint8Array.from({ length: 512 }, (_, at) => at & 255)
  const cipher = new SectorCipher(cryptography, chooseCipher({ algorithm: 'aes-128' }), key)
  const encrypted = cipher.encrypt(0, plain)
  assert.is(
    Buffer.from(encrypted.subarray(0, 32)).toString('hex'),
    '27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89c',
  )
  cipher.decrypt(0, encrypted)
  assert.equal(encrypted, plain)
})

for (const bits of [128, 192, 256] as const) {
  test(`CBC with AES-${bits}: each sector as OpenSSL has it, whatever the batch`, () => {
    const specification = chooseCipher({ algorithm: `aes-${bits}`, mode: 'cbc' })
    const key = pattern(keyBytesOf(specification))
    const plain = pattern(131 * 512)
    const first = 2 ** 32 - 3
    const cipher = new SectorCipher(cryptography, specification, key)
    const encrypted = cipher.encrypt(first, plain)
    for (let sector = 0; sector < 131; sector++) {
      const theirs = crypto.createCipheriv(`aes-${bits}-cbc`, key, startValue(first + sector)).setAutoPadding(false)
      const expected = theirs.update(plain.subarray(sector * 512, (sector + 1) * 512))
      assert.ok(Buffer.compare(expected, encrypted.subarray(sector * 512, (sector + 1) * 512)) === 0, `sector ${sector}`)
    }
    cipher.decrypt(first, encrypted)
    assert.equal(encrypted, plain)
  })
}

test('XTS with AES-256 as OpenSSL has it, with `plain` wrapping at 32 bits and `plain64` not', () => {
  const key = pattern(64)
  const plain = pattern(3 * 512)
  for (const ivGenerator of ['plain', 'plain64']) {
    const cipher = new SectorCipher(cryptography, chooseCipher({ ivGenerator }), key)
    const first = 2 ** 32 - 1
    const encrypted = cipher.encrypt(first, plain)
    for (let index = 0; index < 3; index++) {
      const number = ivGenerator === 'plain' ? (first + index) % 2 ** 32 : first + index
      const expected = crypto
        .createCipheriv('aes-256-xts', key, startValue(number))
        .update(plain.subarray(index * 512, (index + 1) * 512))
      assert.ok(Buffer.compare(expected, encrypted.subarray(index * 512, (index + 1) * 512)) === 0, `${ivGenerator} ${index}`)
    }
    cipher.decrypt(first, encrypted)
    assert.equal(encrypted, plain)
  }
})

test('essiv: the start value is the number, encrypted with the digest of the key', () => {
  const specification = parseHeaderNames('aes', 'cbc-essiv:sha256', 16)
  const key = pattern(16)
  const plain = pattern(1024)
  const encrypted = new SectorCipher(cryptography, specification, key).encrypt(9, plain)
  for (const index of [0, 1]) {
    const digest = crypto.createHash('sha256').update(key).digest()
    const iv = crypto
      .createCipheriv('aes-256-ecb', digest, null)
      .setAutoPadding(false)
      .update(startValue(9 + index))
    const theirs = crypto.createCipheriv('aes-128-cbc', key, iv).setAutoPadding(false)
    const expected = theirs.update(plain.subarray(index * 512, (index + 1) * 512))
    assert.ok(Buffer.compare(expected, encrypted.subarray(index * 512, (index + 1) * 512)) === 0)
  }
})

test('what is encrypted stays as it was, also where it does not begin at a word', () => {
  const memory = pattern(1027)
  const plain = memory.subarray(3)
  const kept = plain.slice()
  const cipher = new SectorCipher(cryptography, chooseCipher({}), pattern(64))
  const encrypted = cipher.encrypt(5, plain)
  assert.equal(plain, kept)
  plain.set(encrypted)
  cipher.decrypt(5, plain)
  assert.equal(plain, kept)
})

test('names that are not known are refused', () => {
  const refusals: Array<[() => unknown, string]> = [
    [() => chooseCipher({ algorithm: 'foo' }), "Parameter 'cipher-alg' does not accept value 'foo'"],
    [() => chooseCipher({ algorithm: 'des' }), "Algorithm 'des' not supported"],
    [() => chooseCipher({ mode: 'foo' }), "Parameter 'cipher-mode' does not accept value 'foo'"],
    [() => chooseCipher({ ivGenerator: 'foo' }), "Parameter 'ivgen-alg' does not accept value 'foo'"],
    [() => chooseCipher({ ivHash: 'foo' }), "Parameter 'ivgen-hash-alg' does not accept value 'foo'"],
    [() => chooseCipher({ mode: 'cbc', ivGenerator: 'essiv', ivHash: 'sha1' }), 'No AES cipher with key size 20 available'],
    [() => parseHeaderNames('foo', 'xts-plain64', 64), "Algorithm 'foo' with key size 32 bytes not supported"],
    [() => parseHeaderNames('aes', 'xts', 64), "Unexpected cipher mode string format 'xts'"],
    [() => parseHeaderNames('aes', 'xts-foo', 64), "IV generator 'foo' not supported"],
    [() => parseHeaderNames('aes', 'foo-plain', 64), "Cipher mode 'foo' not supported"],
    [() => parseHeaderNames('aes', 'cbc-essiv:foo', 32), "Hash algorithm 'foo' not supported"],
    [() => parseHeaderNames('aes', 'xts-plain64', 33), 'XTS cipher key length should be a multiple of 2'],
    [() => parseHeaderNames('aes', 'cbc-plain64', 0), "Algorithm 'aes' with key size 0 bytes not supported"],
  ]
  for (const [refused, text] of refusals) assert.throws(refused, (error: Error) => error.message === text, text)
})

test.run()
