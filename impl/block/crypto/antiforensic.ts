/**
 * The anti-forensic splitter of LUKS (TKS1): a key is spread over many stripes so that losing any of them loses the key.
 * Pure functions.
 */
import { assert } from '../../co'
import { type Cryptography, DIGEST_BYTES, type HashName } from './cryptography'

type Digests = Pick<Cryptography, 'digest'>

/** `random` has `stripes - 1` times the length of the key; gives the stripes one behind the other. */
export function splitKey(
  cryptography: Digests,
  hash: HashName,
  key: Uint8Array,
  stripes: number,
  random: Uint8Array,
): Uint8Array {
  assert(stripes > 0 && random.length === key.length * (stripes - 1), 'split-random')
  const split = new Uint8Array(key.length * stripes)
  split.set(random)
  const last = mix(cryptography, hash, split, key.length, stripes)
  for (let at = 0; at < key.length; at++) split[random.length + at] = last[at]! ^ key[at]!
  return split
}

/** The key that `split` holds, which has `stripes` times its length. */
export function mergeKey(cryptography: Digests, hash: HashName, split: Uint8Array, stripes: number): Uint8Array {
  const keyBytes = split.length / stripes
  assert(stripes > 0 && Number.isInteger(keyBytes) && keyBytes > 0, 'merge-stripes')
  const key = mix(cryptography, hash, split, keyBytes, stripes)
  for (let at = 0; at < keyBytes; at++) key[at] = key[at]! ^ split[split.length - keyBytes + at]!
  return key
}

/** What all stripes but the last come to. */
function mix(cryptography: Digests, hash: HashName, split: Uint8Array, keyBytes: number, stripes: number): Uint8Array {
  const block = new Uint8Array(keyBytes)
  for (let stripe = 0; stripe < stripes - 1; stripe++) {
    for (let at = 0; at < keyBytes; at++) block[at] = block[at]! ^ split[stripe * keyBytes + at]!
    diffuse(cryptography, hash, block)
  }
  return block
}

/** Replaces each part of a digest's length by the digest of its number and itself, cut to its own length. */
function diffuse(cryptography: Digests, hash: HashName, block: Uint8Array): void {
  const digestBytes = DIGEST_BYTES[hash]
  for (let at = 0, number = 0; at < block.length; at += digestBytes, number++) {
    const part = block.subarray(at, at + digestBytes)
    const input = new Uint8Array(4 + part.length)
    new DataView(input.buffer).setUint32(0, number)
    input.set(part, 4)
    block.set(cryptography.digest(hash, input).subarray(0, part.length), at)
  }
}
