/**
 * Encryption of guests' data in an image (docs/interop/qcow2, "Data encryption"): method 1, AES in CBC with a password as its
 * key and start values from guest offsets; method 2, a LUKS container without payload in clusters of its own, and start
 * values from offsets in the file. Tables are not encrypted, nor are compressed clusters.
 *
 * What may fail: keys, passwords and headers, as BlockError with QEMU's texts.
 */
import { assert, type Co, EINVAL, ENOTSUP, type Errno, OK } from '../../../co'
import { chooseCipher } from '../../crypto/cipher_name'
import type { Cryptography } from '../../crypto/cryptography'
import {
  amendLuks,
  type LuksAmendment,
  type LuksArea,
  type LuksCreateOptions,
  newLuks,
  readLuksHeader,
  unlockLuks,
  writeNewLuks,
} from '../../crypto/luks'
import { LUKS_SECTOR_BYTES, type LuksHeader, luksInfo } from '../../crypto/luks_header'
import { CIPHER_SECTOR_BYTES, SectorCipher } from '../../crypto/sector_cipher'
import { BlockError } from '../../error'
import type { BlockChild } from '../../node'
import type { Qcow2Header } from './header'
import type { Qcow2Image } from './image'
import { CRYPT_AES, CRYPT_LUKS, CRYPT_NONE } from './layout'

const AES_KEY_BYTES = 16
/** What is encrypted at a time: a bound for the memory of one request. */
const CHUNK_BYTES = 2 ** 20

export type EncryptionFormat = 'aes' | 'luks'

/** How users say that an image is to be opened. */
export interface EncryptionRequest {
  /** What they expect; null: whatever the header says. */
  format: string | null
  /** Asked only of an encrypted image. A password of null opens it only to be looked at. Throws BlockError. */
  unlock(): { cryptography: Cryptography; password: Uint8Array | null }
}

/** How a new image is to be encrypted. */
export type EncryptionWanted = { cryptography: Cryptography; password: Uint8Array } & (
  | { format: 'aes' }
  | { format: 'luks'; luks: LuksCreateOptions }
)

/** The encryption of an open image. Offsets and lengths of data are whole sectors. */
export class Encryption {
  readonly format: EncryptionFormat
  private readonly cryptography: Cryptography
  private readonly luks: { header: LuksHeader; key: Uint8Array | null } | null
  private readonly cipher: SectorCipher | null

  constructor(
    cryptography: Cryptography,
    luks: { header: LuksHeader; key: Uint8Array | null } | null,
    cipher: SectorCipher | null,
  ) {
    assert(luks === null || (luks.key === null) === (cipher === null), 'encryption-key')
    this.format = luks === null ? 'aes' : 'luks'
    this.cryptography = cryptography
    this.luks = luks
    this.cipher = cipher
  }

  /** False: it can only be looked at. */
  get isUnlocked(): boolean {
    return this.cipher !== null
  }

  /** ImageInfoSpecificQCow2Encryption, by its names in QMP. */
  info(): Record<string, unknown> {
    return { format: this.format, ...(this.luks === null ? {} : luksInfo(this.luks.header)) }
  }

  *read(data: BlockChild, guestBytes: number, hostBytes: number, buffer: Uint8Array): Co<Errno> {
    const cipher = this.cipher
    assert(cipher !== null, 'encryption-unlocked')
    const errno = yield* data.pread(hostBytes, buffer)
    if (errno === OK) cipher.decrypt(this.sectorOf(guestBytes, hostBytes), buffer)
    return errno
  }

  *write(data: BlockChild, guestBytes: number, hostBytes: number, bytes: Uint8Array): Co<Errno> {
    const cipher = this.cipher
    assert(cipher !== null, 'encryption-unlocked')
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
      const part = bytes.subarray(at, at + CHUNK_BYTES)
      const errno = yield* data.pwrite(hostBytes + at, cipher.encrypt(this.sectorOf(guestBytes + at, hostBytes + at), part))
      if (errno !== OK) return errno
    }
    return OK
  }

  private sectorOf(guestBytes: number, hostBytes: number): number {
    const bytes = this.luks === null ? guestBytes : hostBytes
    assert(bytes % CIPHER_SECTOR_BYTES === 0, 'encryption-aligned', () => String(bytes))
    return bytes / CIPHER_SECTOR_BYTES
  }

  /** Adds or erases passwords. Throws BlockError. */
  *amend(image: Qcow2Image, amendment: LuksAmendment, force: boolean): Co<void> {
    const luks = this.luks
    if (luks === null) throw new BlockError('Only LUKS encryption options can be amended', { errno: ENOTSUP })
    assert(luks.key !== null, 'encryption-unlocked')
    const made = { header: luks.header, key: luks.key }
    yield* amendLuks(this.cryptography, areaOf(image.file, image.header), made, amendment, force)
  }
}

/** What `header` says about encryption, opened as asked. null: none. Throws BlockError. */
export function* openEncryption(file: BlockChild, header: Qcow2Header, request: EncryptionRequest): Co<Encryption | null> {
  const { cryptMethod } = header
  if (cryptMethod === CRYPT_NONE) {
    if (request.format === null) return null
    throw new BlockError(`No encryption in image header, but options specified format '${request.format}'`)
  }
  const format: EncryptionFormat = cryptMethod === CRYPT_AES ? 'aes' : 'luks'
  if (request.format !== null && request.format !== format) {
    throw new BlockError(`Header reported '${format}' encryption format but options specify '${request.format}'`)
  }
  const { cryptography, password } = request.unlock()
  if (format === 'aes') {
    return new Encryption(cryptography, null, password === null ? null : passwordCipher(cryptography, password))
  }
  assert(cryptMethod === CRYPT_LUKS, 'crypt-method')
  const area = areaOf(file, header)
  const luks = yield* readLuksHeader(area)
  const key = password === null ? null : yield* unlockLuks(cryptography, area, luks, password)
  const cipher = key === null ? null : new SectorCipher(cryptography, luks.specification, key)
  return new Encryption(cryptography, { header: luks, key }, cipher)
}

/** The password itself is the key, cut or filled with zeroes. */
function passwordCipher(cryptography: Cryptography, password: Uint8Array): SectorCipher {
  const key = new Uint8Array(AES_KEY_BYTES)
  key.set(password.subarray(0, AES_KEY_BYTES))
  return new SectorCipher(cryptography, chooseCipher({ algorithm: 'aes-128', mode: 'cbc' }), key)
}

/** The clusters that the header's extension names. Nothing outside of them is read or written. */
function areaOf(file: BlockChild, { cryptoHeader }: Qcow2Header): LuksArea {
  if (cryptoHeader === null) throw new BlockError('Encryption header is missing')
  const { offsetBytes, lengthBytes } = cryptoHeader
  const isInside = (at: number, length: number): boolean => at >= 0 && at + length <= lengthBytes
  return {
    *read(at, buffer) {
      if (!isInside(at, buffer.length)) throw new BlockError('Request for data outside of extension header', { errno: EINVAL })
      return yield* file.pread(offsetBytes + at, buffer)
    },
    *write(at, bytes) {
      if (!isInside(at, bytes.length)) throw new BlockError('Request for data outside of extension header', { errno: EINVAL })
      return yield* file.pwrite(offsetBytes + at, bytes)
    },
    flush: () => file.flush(),
  }
}

/** Encrypts a new image, whose header is written after that. Nothing lies in it yet. Throws BlockError. */
export function* encryptNewImage(image: Qcow2Image, wanted: EncryptionWanted): Co<void> {
  const { header, file } = image
  assert(header.cryptMethod === CRYPT_NONE, 'encrypted-once')
  if (wanted.format === 'aes') {
    header.cryptMethod = CRYPT_AES
    return
  }
  const { cryptography, luks, password } = wanted
  const made = yield* newLuks(cryptography, luks)
  const lengthBytes = made.header.payloadSector * LUKS_SECTOR_BYTES
  const { clusterBytes } = image.geometry
  const clusters = Math.ceil(lengthBytes / clusterBytes)
  yield* image.lock.lock()
  let errno = yield* image.refcounts.allocate(clusters)
  image.lock.unlock()
  const offsetBytes = image.refcounts.allocatedBytes
  const endBytes = offsetBytes + clusters * clusterBytes
  if (errno === OK) errno = yield* file.pwriteZeroes(offsetBytes, clusters * clusterBytes)
  // Slots that are not used are part of the file, too.
  if (errno === OK && file.node.lengthBytes < endBytes) errno = yield* file.truncate(endBytes, false, 'off')
  if (errno !== OK) throw new BlockError('Could not make room for the encryption header', { errno })
  assert(offsetBytes > 0 && offsetBytes % clusterBytes === 0, 'crypto-header-place')
  image.noteWrite(endBytes)
  header.cryptMethod = CRYPT_LUKS
  header.cryptoHeader = { offsetBytes, lengthBytes }
  yield* writeNewLuks(cryptography, areaOf(file, header), made, password, luks.iterationTimeMs)
}
