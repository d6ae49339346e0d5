/**
 * Encryption of sectors of 512 bytes, each with a start value that its number gives: XTS (IEEE 1619), CBC and ECB (NIST SP
 * 800-38A), over AES of single blocks. Many sectors go through the machine's cipher in one call, as calls are what costs.
 *
 * What never may fail: anything. Lengths are whole sectors; the words of this machine are little-endian.
 */
import { assert } from '../../co'
import { type CipherSpecification, essivKeyBytes, keyBytesOf } from './cipher_name'
import { AES_BLOCK_BYTES, type AesKey, type Cryptography } from './cryptography'

export const CIPHER_SECTOR_BYTES = 512
const BLOCKS_PER_SECTOR = CIPHER_SECTOR_BYTES / AES_BLOCK_BYTES
const WORDS_PER_SECTOR = CIPHER_SECTOR_BYTES / 4
const WORDS_PER_BLOCK = AES_BLOCK_BYTES / 4
/** Sectors that are done together: 64 KiB stay in the caches of the processor. */
const BATCH_SECTORS = 128
/** x^128 = x^7 + x^2 + x + 1 in the field of XTS. */
const XTS_FEEDBACK = 0x87

export class SectorCipher {
  private readonly specification: CipherSpecification
  private readonly key: AesKey
  /** Of XTS, for the start values. */
  private readonly tweakKey: AesKey | null
  private readonly essivKey: AesKey | null
  private readonly ivs = new Uint32Array(BATCH_SECTORS * WORDS_PER_BLOCK)
  private readonly tweaks: Uint32Array
  private readonly work = new Uint32Array(BATCH_SECTORS * WORDS_PER_SECTOR)
  private readonly column = new Uint32Array(BATCH_SECTORS * WORDS_PER_BLOCK)

  constructor(cryptography: Cryptography, specification: CipherSpecification, key: Uint8Array) {
    assert(key.length === keyBytesOf(specification), 'cipher-key', () => String(key.length))
    const { mode, ivHash } = specification
    this.specification = specification
    const isXts = mode === 'xts'
    const half = key.length / 2
    this.key = cryptography.aes(isXts ? key.subarray(0, half) : key)
    this.tweakKey = isXts ? cryptography.aes(key.subarray(half)) : null
    this.tweaks = new Uint32Array(isXts ? this.work.length : 0)
    const hasEssiv = essivKeyBytes(specification) > 0
    this.essivKey = hasEssiv && ivHash !== null ? cryptography.aes(cryptography.digest(ivHash, key)) : null
  }

  /** Encrypts `data` into new bytes; its first sector is number `sector`. */
  encrypt(sector: number, data: Uint8Array): Uint8Array {
    const out = new Uint8Array(data.length)
    this.eachBatch(sector, data, out, (sectors) => this.encryptBatch(sectors))
    return out
  }

  /** Decrypts `data` where it is. */
  decrypt(sector: number, data: Uint8Array): void {
    this.eachBatch(sector, data, data, (sectors) => this.decryptBatch(sectors))
  }

  private eachBatch(first: number, from: Uint8Array, to: Uint8Array, transform: (sectors: number) => void): void {
    assert(Number.isSafeInteger(first) && first >= 0, 'cipher-sector', () => String(first))
    assert(from.length % CIPHER_SECTOR_BYTES === 0 && to.length === from.length, 'cipher-whole-sectors', () =>
      String(from.length),
    )
    const bytes = bytesOf(this.work)
    for (let at = 0; at < from.length; at += bytes.length) {
      const lengthBytes = Math.min(bytes.length, from.length - at)
      const sectors = lengthBytes / CIPHER_SECTOR_BYTES
      bytes.set(from.subarray(at, at + lengthBytes))
      this.makeStartValues(first + at / CIPHER_SECTOR_BYTES, sectors)
      transform(sectors)
      to.set(lengthBytes === bytes.length ? bytes : bytes.subarray(0, lengthBytes), at)
    }
  }

  /** One block a sector: `plain` and `plain64` are the sector's number, `essiv` is that one encrypted. */
  private makeStartValues(first: number, sectors: number): void {
    const ivs = this.ivs
    const { ivGenerator, mode } = this.specification
    if (mode === 'ecb') return
    for (let index = 0; index < sectors; index++) {
      const at = index * WORDS_PER_BLOCK
      const number = first + index
      ivs[at] = number % 2 ** 32
      ivs[at + 1] = ivGenerator === 'plain' ? 0 : Math.floor(number / 2 ** 32)
      ivs[at + 2] = 0
      ivs[at + 3] = 0
    }
    if (this.essivKey !== null) through(ivs, sectors * WORDS_PER_BLOCK, (bytes) => this.essivKey!.encrypt(bytes))
    if (this.tweakKey === null) return
    through(ivs, sectors * WORDS_PER_BLOCK, (bytes) => this.tweakKey!.encrypt(bytes))
    this.makeTweaks(sectors)
  }

  /** Each block's value is that of the one before, times x. */
  private makeTweaks(sectors: number): void {
    const ivs = this.ivs
    const tweaks = this.tweaks
    for (let sector = 0; sector < sectors; sector++) {
      let a = ivs[sector * 4]!
      let b = ivs[sector * 4 + 1]!
      let c = ivs[sector * 4 + 2]!
      let d = ivs[sector * 4 + 3]!
      const end = (sector + 1) * WORDS_PER_SECTOR
      for (let at = sector * WORDS_PER_SECTOR; at < end; at += WORDS_PER_BLOCK) {
        tweaks[at] = a
        tweaks[at + 1] = b
        tweaks[at + 2] = c
        tweaks[at + 3] = d
        const carry = d >>> 31
        d = (d << 1) | (c >>> 31)
        c = (c << 1) | (b >>> 31)
        b = (b << 1) | (a >>> 31)
        a = (a << 1) ^ (carry * XTS_FEEDBACK)
      }
    }
  }

  private encryptBatch(sectors: number): void {
    const { work, key, tweaks } = this
    const words = sectors * WORDS_PER_SECTOR
    const { mode } = this.specification
    if (mode === 'cbc') {
      this.chain(sectors)
      return
    }
    if (mode === 'xts') add(work, tweaks, words)
    through(work, words, (bytes) => key.encrypt(bytes))
    if (mode === 'xts') add(work, tweaks, words)
  }

  private decryptBatch(sectors: number): void {
    const { work, key, tweaks } = this
    const words = sectors * WORDS_PER_SECTOR
    const { mode } = this.specification
    if (mode === 'xts') add(work, tweaks, words)
    const before = mode === 'cbc' ? work.slice(0, words) : null
    through(work, words, (bytes) => key.decrypt(bytes))
    if (mode === 'xts') add(work, tweaks, words)
    if (before !== null) this.unchain(before, sectors)
  }

  /** CBC: the blocks of a sector depend on each other, those of different sectors do not: block by block through all of them. */
  private chain(sectors: number): void {
    const work = this.work
    const key = this.key
    const column = this.column
    const words = sectors * WORDS_PER_BLOCK
    column.set(this.ivs.subarray(0, words))
    for (let block = 0; block < BLOCKS_PER_SECTOR; block++) {
      for (let sector = 0; sector < sectors; sector++) {
        const from = sector * WORDS_PER_SECTOR + block * WORDS_PER_BLOCK
        const to = sector * WORDS_PER_BLOCK
        for (let word = 0; word < WORDS_PER_BLOCK; word++) column[to + word] = column[to + word]! ^ work[from + word]!
      }
      through(column, words, (bytes) => key.encrypt(bytes))
      for (let sector = 0; sector < sectors; sector++) {
        const to = sector * WORDS_PER_SECTOR + block * WORDS_PER_BLOCK
        const from = sector * WORDS_PER_BLOCK
        for (let word = 0; word < WORDS_PER_BLOCK; word++) work[to + word] = column[from + word]!
      }
    }
  }

  private unchain(before: Uint32Array, sectors: number): void {
    const { work, ivs } = this
    for (let sector = 0; sector < sectors; sector++) {
      const start = sector * WORDS_PER_SECTOR
      const iv = sector * WORDS_PER_BLOCK
      for (let word = 0; word < WORDS_PER_BLOCK; word++) work[start + word] = work[start + word]! ^ ivs[iv + word]!
      for (let at = start + WORDS_PER_BLOCK; at < start + WORDS_PER_SECTOR; at++) {
        work[at] = work[at]! ^ before[at - WORDS_PER_BLOCK]!
      }
    }
  }
}

function bytesOf(words: Uint32Array, count = words.length): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, count * 4)
}

/** Has the first `count` words replaced by what a cipher makes of them. */
function through(words: Uint32Array, count: number, cipher: (bytes: Uint8Array) => Uint8Array): void {
  const bytes = bytesOf(words, count)
  const made = cipher(bytes)
  assert(made.length === bytes.length, 'cipher-keeps-length')
  bytes.set(made)
}

function add(to: Uint32Array, from: Uint32Array, count: number): void {
  for (let at = 0; at < count; at++) to[at] = to[at]! ^ from[at]!
}
