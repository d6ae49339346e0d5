import * as crypto from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { HostLoop } from '../../host'
import { HostCryptography } from '../../host/cryptography'
import { mergeKey, splitKey } from './antiforensic'

const loop = new HostLoop()
const cryptography = new HostCryptography(loop)
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

test('a key of more than one digest survives, and every stripe counts', () => {
  const key = crypto.randomBytes(48)
  const split = splitKey(cryptography, 'sha1', key, 5, crypto.randomBytes(48 * 4))
  assert.is(hex(mergeKey(cryptography, 'sha1', split, 5)), hex(key))
  for (const stripe of [0, 3, 4]) {
    const spoilt = split.slice()
    spoilt[stripe * 48 + 47]! ^= 1
    assert.is.not(hex(mergeKey(cryptography, 'sha1', spoilt, 5)), hex(key), `stripe ${stripe}`)
  }
})

test('with two stripes: the last is the key over the diffused first, each part hashed with its number', () => {
  const random = Uint8Array.from({ length: 40 }, (_, at) => at)
  const key = new Uint8Array(40)
  const split = splitKey(cryptography, 'sha256', key, 2, random)
  const part = (number: number, bytes: Uint8Array) =>
    crypto
      .createHash('sha256')
      .update(Uint8Array.of(0, 0, 0, number))
      .update(bytes)
      .digest('hex')
  const expected = part(0, random.subarray(0, 32)) + part(1, random.subarray(32)).slice(0, 16)
  assert.is(hex(split.subarray(40)), expected)
})

test('one stripe is the key itself', () => {
  const key = crypto.randomBytes(16)
  assert.is(hex(splitKey(cryptography, 'sha256', key, 1, new Uint8Array(0))), hex(key))
})

// RFC 6070 for SHA-1; for SHA-256 the same inputs, as widely published.
test('keys are derived as RFC 6070 says', async () => {
  const derive = (hash: 'sha1' | 'sha256', iterations: number, lengthBytes: number): Promise<Uint8Array> =>
    loop.run(cryptography.deriveKey(hash, Buffer.from('password'), Buffer.from('salt'), iterations, lengthBytes))
  assert.is(hex(await derive('sha1', 1, 20)), '0c60c80f961f0e71f3a9b524af6012062fe037a6')
  assert.is(hex(await derive('sha1', 2, 20)), 'ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957')
  assert.is(hex(await derive('sha1', 4096, 20)), '4b007901b765489abead49d926f721d065a429c1')
  assert.is(hex(await derive('sha256', 1, 32)), '120fb6cffcf8b32c43e7225256c4f837a86548c92ccc35480805987cb70be17b')
  assert.is(hex(await derive('sha256', 4096, 32)), 'c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a')
})

test.run()
