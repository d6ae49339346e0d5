/**
 * A LUKS container's keys: finding the master key with a password, making a new container, adding and erasing passwords.
 * Where header and key material lie is the business of whoever calls: `LuksArea` reads and writes them.
 *
 * What may fail: a wrong password, a full header, an erasure that would lose the data, the medium: BlockError with QEMU's
 * texts. What never may: a slot that is marked active before its material is stable, or the last password that is lost by
 * an error on the way.
 */
import { assert, type Co, type Errno, OK, strerror } from '../../co'
import { BlockError } from '../error'
import { mergeKey, splitKey } from './antiforensic'
import { type CipherSpecification, keyBytesOf } from './cipher_name'
import { type Cryptography, type HashName, ITERATIONS_MAX } from './cryptography'
import {
  decodeLuksHeader,
  encodeLuksHeader,
  LUKS_DIGEST_BYTES,
  LUKS_HEADER_BYTES,
  LUKS_SALT_BYTES,
  LUKS_SECTOR_BYTES,
  LUKS_STRIPES,
  type LuksHeader,
  type LuksSlot,
  materialSectors,
  newLuksHeader,
} from './luks_header'
import { SectorCipher } from './sector_cipher'

export const ITERATION_TIME_MS = 2000
const ITERATIONS_MIN = 1000
/** The master key is random: its digest needs less protection than a password. */
const DIGEST_ITERATIONS_DIVISOR = 8
/** Passes of random bytes over material that is given up. */
const ERASE_PASSES = 40

/** Header and key material, from offset 0. */
export interface LuksArea {
  read(offsetBytes: number, buffer: Uint8Array): Co<Errno>
  write(offsetBytes: number, bytes: Uint8Array): Co<Errno>
  flush(): Co<Errno>
}

export interface LuksCreateOptions {
  specification: CipherSpecification
  hash: HashName
  /** How long one try of a password is to take here. */
  iterationTimeMs: number
}

/** Throws BlockError. */
export function* readLuksHeader(area: LuksArea): Co<LuksHeader> {
  const bytes = new Uint8Array(LUKS_HEADER_BYTES)
  demand(yield* area.read(0, bytes), 'Unable to read LUKS header')
  return decodeLuksHeader(bytes)
}

/** The master key, by the first slot that `password` opens. Throws BlockError. */
export function* unlockLuks(
  cryptography: Cryptography,
  area: LuksArea,
  header: LuksHeader,
  password: Uint8Array,
): Co<Uint8Array> {
  assert(header.slots.length > 0, 'luks-has-slots')
  for (const slot of header.slots) {
    const key = yield* keyOfSlot(cryptography, area, header, slot, password)
    if (key !== null) return key
  }
  throw new BlockError('Invalid password, cannot unlock any keyslot')
}

/** null: it is not active, or another password opens it. */
function* keyOfSlot(
  cryptography: Cryptography,
  area: LuksArea,
  header: LuksHeader,
  slot: LuksSlot,
  password: Uint8Array,
): Co<Uint8Array | null> {
  if (!slot.isActive) return null
  const { hash, keyBytes } = header
  assert(slot.stripes === LUKS_STRIPES && slot.iterations > 0, 'slot-was-checked')
  const material = new Uint8Array(materialSectors(keyBytes) * LUKS_SECTOR_BYTES)
  demand(yield* area.read(slot.keySector * LUKS_SECTOR_BYTES, material), 'Failed to read key material')
  const slotKey = yield* cryptography.deriveKey(hash, password, slot.salt, slot.iterations, keyBytes)
  new SectorCipher(cryptography, header.specification, slotKey).decrypt(0, material)
  const key = mergeKey(cryptography, hash, material.subarray(0, keyBytes * slot.stripes), slot.stripes)
  const digest = yield* digestOf(cryptography, header, key)
  return digest.every((byte, at) => byte === header.digest[at]) ? key : null
}

function digestOf(cryptography: Cryptography, header: LuksHeader, key: Uint8Array): Co<Uint8Array> {
  const { hash, digestSalt, digestIterations } = header
  assert(key.length === header.keyBytes && digestIterations > 0, 'digest-of-master-key')
  return cryptography.deriveKey(hash, key, digestSalt, digestIterations, LUKS_DIGEST_BYTES)
}

/** A header with one password, and its master key; nothing is written before `writeNewLuks`. */
export function* newLuks(
  cryptography: Cryptography,
  { specification, hash, iterationTimeMs }: LuksCreateOptions,
): Co<{ header: LuksHeader; key: Uint8Array }> {
  const header = newLuksHeader(specification, hash, randomUuid(cryptography))
  const key = cryptography.random(keyBytesOf(specification))
  header.digestSalt = cryptography.random(LUKS_SALT_BYTES)
  const iterations = yield* iterationsFor(cryptography, hash, LUKS_DIGEST_BYTES, iterationTimeMs / DIGEST_ITERATIONS_DIVISOR)
  header.digestIterations = iterations
  header.digest = yield* digestOf(cryptography, header, key)
  assert(header.digest.length === LUKS_DIGEST_BYTES, 'digest-length')
  return { header, key }
}

/** Writes a container whose first slot is opened by `password`. Throws BlockError. */
export function* writeNewLuks(
  cryptography: Cryptography,
  area: LuksArea,
  made: { header: LuksHeader; key: Uint8Array },
  password: Uint8Array,
  iterationTimeMs: number,
): Co<void> {
  yield* writeSlot(cryptography, area, made, 0, password, iterationTimeMs)
}

/** At least 1000, however little time there is. Throws BlockError. */
function* iterationsFor(cryptography: Cryptography, hash: HashName, lengthBytes: number, timeMs: number): Co<number> {
  const rate = yield* cryptography.iterationsPerSecond(hash, lengthBytes)
  const iterations = Math.max(ITERATIONS_MIN, Math.floor((rate * timeMs) / 1000))
  if (iterations > ITERATIONS_MAX) {
    throw new BlockError(`PBKDF iterations ${iterations} larger than ${ITERATIONS_MAX}`)
  }
  return iterations
}

/** Version 4 of RFC 9562. */
function randomUuid(cryptography: Cryptography): string {
  const bytes = cryptography.random(16)
  bytes[6] = (bytes[6]! & 0x0f) | 0x40
  bytes[8] = (bytes[8]! & 0x3f) | 0x80
  const hex = Buffer.from(bytes).toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}

/** The material first, and when that is stable the header that says so. */
function* writeSlot(
  cryptography: Cryptography,
  area: LuksArea,
  { header, key }: { header: LuksHeader; key: Uint8Array },
  index: number,
  password: Uint8Array,
  iterationTimeMs: number,
): Co<void> {
  const { hash, keyBytes, specification } = header
  const slot = header.slots[index]!
  assert(!slot.isActive, 'slot-is-free')
  const iterations = yield* iterationsFor(cryptography, hash, keyBytes, iterationTimeMs)
  const salt = cryptography.random(LUKS_SALT_BYTES)
  const slotKey = yield* cryptography.deriveKey(hash, password, salt, iterations, keyBytes)
  const material = new Uint8Array(materialSectors(keyBytes) * LUKS_SECTOR_BYTES)
  const random = cryptography.random(keyBytes * (LUKS_STRIPES - 1))
  material.set(splitKey(cryptography, hash, key, LUKS_STRIPES, random))
  const encrypted = new SectorCipher(cryptography, specification, slotKey).encrypt(0, material)
  demand(yield* area.write(slot.keySector * LUKS_SECTOR_BYTES, encrypted), 'Unable to write key material')
  demand(yield* area.flush(), 'Unable to write key material')
  header.slots[index] = { ...slot, isActive: true, iterations, salt }
  try {
    yield* writeHeader(area, header)
  } catch (error) {
    header.slots[index] = slot
    throw error
  }
}

function* writeHeader(area: LuksArea, header: LuksHeader): Co<void> {
  demand(yield* area.write(0, encodeLuksHeader(header)), 'Unable to write encryption header')
  demand(yield* area.flush(), 'Unable to write encryption header')
}

/** What `amend` changes of the passwords. */
export type LuksAmendment =
  | { state: 'active'; newPassword: Uint8Array; slot: number | null; iterationTimeMs: number }
  | { state: 'inactive'; oldPassword: Uint8Array | null; slot: number | null }

/** Adds or erases a password. `force` also overwrites and erases what may be the last one. Throws BlockError. */
export function* amendLuks(
  cryptography: Cryptography,
  area: LuksArea,
  made: { header: LuksHeader; key: Uint8Array },
  amendment: LuksAmendment,
  force: boolean,
): Co<void> {
  const { slots } = made.header
  const { slot } = amendment
  assert(made.key.length === made.header.keyBytes, 'amend-knows-key')
  if (slot !== null && !(slot >= 0 && slot < slots.length)) {
    throw new BlockError(`Invalid keyslot ${slot} specified, must be between 0 and ${slots.length - 1}`)
  }
  if (amendment.state === 'active') {
    const index = freeSlot(made.header, slot, force)
    if (slots[index]!.isActive) yield* eraseSlot(cryptography, area, made.header, index)
    yield* writeSlot(cryptography, area, made, index, amendment.newPassword, amendment.iterationTimeMs)
    return
  }
  for (const index of yield* slotsToErase(cryptography, area, made.header, amendment, force)) {
    yield* eraseSlot(cryptography, area, made.header, index)
  }
}

function freeSlot({ slots }: LuksHeader, wanted: number | null, force: boolean): number {
  if (wanted === null) {
    const free = slots.findIndex(({ isActive }) => !isActive)
    if (free === -1) throw new BlockError("Can't add a keyslot - all keyslots are in use")
    return free
  }
  if (slots[wanted]!.isActive && !force) {
    throw new BlockError(`Refusing to overwrite active keyslot ${wanted} - please erase it first`)
  }
  return wanted
}

function* slotsToErase(
  cryptography: Cryptography,
  area: LuksArea,
  header: LuksHeader,
  { oldPassword, slot }: { oldPassword: Uint8Array | null; slot: number | null },
  force: boolean,
): Co<number[]> {
  const active = header.slots.flatMap(({ isActive }, index) => (isActive ? [index] : []))
  if (slot !== null) {
    const wanted = header.slots[slot]!
    if (oldPassword !== null && (yield* keyOfSlot(cryptography, area, header, wanted, oldPassword)) === null) {
      throw new BlockError(`Given keyslot ${slot} doesn't contain the given old password for erase operation`)
    }
    if (!force && !wanted.isActive) throw new BlockError(`Given keyslot ${slot} is already erased (inactive) `)
    if (!force && active.length === 1) {
      const loss = 'which will erase all the data in the image irreversibly'
      throw new BlockError(`Attempt to erase the only active keyslot ${slot} ${loss} - refusing operation`)
    }
    return [slot]
  }
  if (oldPassword === null) {
    const needed = 'either explicit keyslot index or the password currently contained in them must be given'
    throw new BlockError(`To erase keyslot(s), ${needed}`)
  }
  const matching: number[] = []
  for (const index of active) {
    if ((yield* keyOfSlot(cryptography, area, header, header.slots[index]!, oldPassword)) !== null) matching.push(index)
  }
  if (matching.length === 0) throw new BlockError('No keyslots match given (old) password for erase operation')
  if (!force && matching.length === active.length) {
    const loss = 'erasing them will erase all the data in the image irreversibly'
    throw new BlockError(`All the active keyslots match the (old) password that was given and ${loss} - refusing operation`)
  }
  return matching
}

/** The header forgets the slot first, then its material is written over. */
function* eraseSlot(cryptography: Cryptography, area: LuksArea, header: LuksHeader, index: number): Co<void> {
  const slot = header.slots[index]!
  header.slots[index] = { ...slot, isActive: false, iterations: 0, salt: new Uint8Array(LUKS_SALT_BYTES) }
  yield* writeHeader(area, header)
  const materialBytes = materialSectors(header.keyBytes) * LUKS_SECTOR_BYTES
  for (let pass = 0; pass < ERASE_PASSES; pass++) {
    const errno = yield* area.write(slot.keySector * LUKS_SECTOR_BYTES, cryptography.random(materialBytes))
    demand(errno, 'Unable to erase the key material')
    demand(yield* area.flush(), 'Unable to erase the key material')
  }
  assert(!header.slots[index]!.isActive, 'slot-erased')
}

function demand(errno: Errno, text: string): void {
  if (errno !== OK) throw new BlockError(`${text}: ${strerror(errno)}`, { errno })
}
