/** For tests only: the machine's cryptography without its threads and clock, so that it runs in virtual time. */
import * as crypto from 'node:crypto'
import { HostLoop } from '../../host'
import { HostCryptography } from '../../host/cryptography'
import type { Cryptography, HashName } from './cryptography'

const base = new HostCryptography(new HostLoop())

/** Every password takes 1000 iterations. */
export const TEST_CRYPTOGRAPHY: Cryptography = {
  digest: (hash, bytes) => base.digest(hash, bytes),
  aes: (key) => base.aes(key),
  random: (lengthBytes) => base.random(lengthBytes),
  *deriveKey(hash: HashName, password: Uint8Array, salt: Uint8Array, iterations: number, lengthBytes: number) {
    return crypto.pbkdf2Sync(password, salt, iterations, lengthBytes, hash)
  },
  *iterationsPerSecond() {
    return 1000
  },
}
