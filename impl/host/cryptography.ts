/**
 * Cryptography by the machine: OpenSSL as Node has it. Keys are derived in the engine's threads, so that signals are heard
 * meanwhile.
 *
 * What may fail: nothing that `Cryptography` allows; a hash that this build of OpenSSL lacks ends the program.
 */
import * as crypto from 'node:crypto'
import { type AesKey, type Cryptography, type HashName, ITERATIONS_MAX } from '../block/crypto/cryptography'
import { assert, type Co } from '../co'
import type { HostLoop } from './loop'
import { callBack } from './transfers'

const NS_PER_S = 1e9
/** A measurement that took less is made again with more iterations. */
const MEASURED_NS = 20_000_000
const MEASURED_ITERATIONS = 4096

export class HostCryptography implements Cryptography {
  private readonly rates = new Map<string, number>()

  constructor(private readonly loop: HostLoop) {}

  digest(hash: HashName, bytes: Uint8Array): Uint8Array {
    return crypto.hash(hash, bytes, 'buffer')
  }

  *deriveKey(hash: HashName, password: Uint8Array, salt: Uint8Array, iterations: number, lengthBytes: number): Co<Uint8Array> {
    assert(iterations >= 1 && iterations <= ITERATIONS_MAX, 'derive-iterations', () => String(iterations))
    let derived: Uint8Array | null = null
    let failure: Error | null = null
    yield* callBack(this.loop, (done) =>
      crypto.pbkdf2(password, salt, iterations, lengthBytes, hash, (error, key) => {
        failure = error
        derived = key
        done(0)
      }),
    )
    if (failure !== null) throw failure
    assert(derived !== null, 'key-derived')
    return derived
  }

  aes(key: Uint8Array): AesKey {
    const name = `aes-${key.length * 8}-ecb`
    // Without padding nothing stays inside between calls.
    const cipher = crypto.createCipheriv(name, key, null).setAutoPadding(false)
    const decipher = crypto.createDecipheriv(name, key, null).setAutoPadding(false)
    return { encrypt: (blocks) => cipher.update(blocks), decrypt: (blocks) => decipher.update(blocks) }
  }

  random(lengthBytes: number): Uint8Array {
    return crypto.randomBytes(lengthBytes)
  }

  *iterationsPerSecond(hash: HashName, lengthBytes: number): Co<number> {
    const known = this.rates.get(`${hash} ${lengthBytes}`)
    if (known !== undefined) return known
    const salt = new Uint8Array(32)
    const password = new Uint8Array([112])
    for (let iterations = MEASURED_ITERATIONS; ; iterations *= 2) {
      const startNs = process.hrtime.bigint()
      yield* this.deriveKey(hash, password, salt, iterations, lengthBytes)
      const tookNs = Number(process.hrtime.bigint() - startNs)
      if (tookNs < MEASURED_NS && iterations < 2 ** 24) continue
      const rate = Math.floor((iterations * NS_PER_S) / Math.max(tookNs, 1))
      this.rates.set(`${hash} ${lengthBytes}`, rate)
      return rate
    }
  }
}
