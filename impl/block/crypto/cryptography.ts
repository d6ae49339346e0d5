/**
 * The cryptographic primitives that encrypted formats are made of. The host hands in those of the machine (impl/host);
 * a context without them opens no encrypted image, and worlds have none: they measure time and draw random bytes.
 *
 * What may fail: nothing that a caller has checked: hashes and key lengths are those of this file.
 */
import type { Co } from '../../co'

export type HashName = 'md5' | 'sha1' | 'sha224' | 'sha256' | 'sha384' | 'sha512' | 'ripemd160'

/** Bytes of a digest. */
export const DIGEST_BYTES: Readonly<Record<HashName, number>> = {
  md5: 16,
  sha1: 20,
  sha224: 28,
  sha256: 32,
  sha384: 48,
  sha512: 64,
  ripemd160: 20,
}

export function isHashName(name: string): name is HashName {
  return Object.hasOwn(DIGEST_BYTES, name)
}

export const AES_BLOCK_BYTES = 16
/** More iterations than that are not begun: the machine's functions count them in 31 bits. */
export const ITERATIONS_MAX = 2 ** 31 - 1

/** AES (FIPS 197) with one key, every block of 16 bytes by itself. Both give new bytes, as many as they were given. */
export interface AesKey {
  encrypt(blocks: Uint8Array): Uint8Array
  decrypt(blocks: Uint8Array): Uint8Array
}

export interface Cryptography {
  digest(hash: HashName, bytes: Uint8Array): Uint8Array
  /** PBKDF2 with HMAC (RFC 8018, section 5.2). 1 <= iterations <= ITERATIONS_MAX. */
  deriveKey(hash: HashName, password: Uint8Array, salt: Uint8Array, iterations: number, lengthBytes: number): Co<Uint8Array>
  /** `key` has 16, 24 or 32 bytes. */
  aes(key: Uint8Array): AesKey
  random(lengthBytes: number): Uint8Array
  /** How many iterations of `deriveKey` this machine makes in a second for a key of so many bytes; measured. */
  iterationsPerSecond(hash: HashName, lengthBytes: number): Co<number>
}
