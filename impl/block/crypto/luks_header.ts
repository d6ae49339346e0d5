/**
 * The header of a LUKS container, version 1 (LUKS On-Disk Format Specification 1.2.3, section 3), as bytes and as an object.
 * Pure functions.
 *
 * What may fail: a header that is wrong, as BlockError with QEMU's texts. What it names is bounded afterwards: key material
 * lies behind the header and before the payload, overlaps nothing, and its length follows from a key that a cipher has.
 */
import { assert } from '../../co'
import { BlockError } from '../error'
import { type CipherSpecification, headerHash, headerNames, keyBytesOf, parseHeaderNames } from './cipher_name'
import { type HashName, ITERATIONS_MAX } from './cryptography'

export const LUKS_HEADER_BYTES = 592
export const LUKS_SLOTS = 8
export const LUKS_STRIPES = 4000
export const LUKS_SALT_BYTES = 32
export const LUKS_DIGEST_BYTES = 20
export const LUKS_SECTOR_BYTES = 512

const MAGIC = [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe]
const VERSION = 1
const NAME_BYTES = 32
const UUID_BYTES = 40
const SLOTS_AT = 208
const SLOT_BYTES = 48
const SLOT_ACTIVE = 0x00ac71f3
const SLOT_INACTIVE = 0x0000dead
/** The header and each slot's material begin at a multiple of this. */
const ALIGNMENT_SECTORS = 8

export interface LuksSlot {
  isActive: boolean
  /** Of PBKDF2; 0 in a slot that is not active. */
  iterations: number
  salt: Uint8Array
  keySector: number
  stripes: number
}

export interface LuksHeader {
  specification: CipherSpecification
  hash: HashName
  payloadSector: number
  /** Of the master key. */
  keyBytes: number
  /** PBKDF2 of the master key, which says whether one is right. */
  digest: Uint8Array
  digestSalt: Uint8Array
  digestIterations: number
  uuid: string
  slots: LuksSlot[]
}

/** Whether a file that begins like this is one of ours: version 1. */
export function isLuks(head: Uint8Array): boolean {
  return head.length >= 8 && MAGIC.every((byte, at) => head[at] === byte) && head[6] === 0 && head[7] === VERSION
}

/** Sectors of the material of one slot: the last one may be filled in part. */
export function materialSectors(keyBytes: number): number {
  return Math.ceil((keyBytes * LUKS_STRIPES) / LUKS_SECTOR_BYTES)
}

/** The same with what lies between it and the next one. */
function slotSectors(keyBytes: number): number {
  return Math.ceil(materialSectors(keyBytes) / ALIGNMENT_SECTORS) * ALIGNMENT_SECTORS
}

/** Where QEMU puts what is encrypted: behind the header and all slots. */
export function payloadSectorOf(keyBytes: number): number {
  return ALIGNMENT_SECTORS + LUKS_SLOTS * slotSectors(keyBytes)
}

/** A header without any active slot. The digest is still to be filled in. */
export function newLuksHeader(specification: CipherSpecification, hash: HashName, uuid: string): LuksHeader {
  const keyBytes = keyBytesOf(specification)
  return {
    specification,
    hash,
    payloadSector: payloadSectorOf(keyBytes),
    keyBytes,
    digest: new Uint8Array(LUKS_DIGEST_BYTES),
    digestSalt: new Uint8Array(LUKS_SALT_BYTES),
    digestIterations: 0,
    uuid,
    slots: Array.from({ length: LUKS_SLOTS }, (_, index) => ({
      isActive: false,
      iterations: 0,
      salt: new Uint8Array(LUKS_SALT_BYTES),
      keySector: ALIGNMENT_SECTORS + index * slotSectors(keyBytes),
      stripes: LUKS_STRIPES,
    })),
  }
}

/** `bytes` has LUKS_HEADER_BYTES. Throws BlockError. */
export function decodeLuksHeader(bytes: Uint8Array): LuksHeader {
  assert(bytes.length === LUKS_HEADER_BYTES, 'luks-header-bytes')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  if (MAGIC.some((byte, at) => bytes[at] !== byte)) throw new BlockError('Volume is not in LUKS format')
  const version = view.getUint16(6)
  if (version !== VERSION) throw new BlockError(`LUKS version ${version} is not supported`)
  const cipher = nameAt(bytes, 8, 'cipher name')
  const mode = nameAt(bytes, 40, 'cipher mode')
  const hash = nameAt(bytes, 72, 'hash spec')
  const payloadSector = view.getUint32(104)
  const keyBytes = view.getUint32(108)
  const digestIterations = view.getUint32(164)
  if (digestIterations === 0) throw new BlockError('LUKS key iteration count is zero')
  if (payloadSector < ALIGNMENT_SECTORS) throw new BlockError('LUKS payload is overlapping with the header')
  const slots = Array.from({ length: LUKS_SLOTS }, (_, index) => decodeSlot(bytes, view, index))
  checkPlaces(slots, keyBytes, payloadSector)
  checkIterations('The master key', digestIterations)
  const specification = parseHeaderNames(cipher, mode, keyBytes)
  return {
    specification,
    hash: headerHash(hash),
    payloadSector,
    keyBytes,
    digest: bytes.slice(112, 132),
    digestSalt: bytes.slice(132, 164),
    digestIterations,
    uuid: textOf(bytes.subarray(168, 168 + UUID_BYTES)),
    slots,
  }
}

function decodeSlot(bytes: Uint8Array, view: DataView, index: number): LuksSlot {
  const at = SLOTS_AT + index * SLOT_BYTES
  const state = view.getUint32(at)
  const iterations = view.getUint32(at + 4)
  const stripes = view.getUint32(at + 44)
  const isActive = state === SLOT_ACTIVE
  if (stripes !== LUKS_STRIPES) throw new BlockError(`Keyslot ${index} is corrupted (stripes ${stripes | 0} != ${LUKS_STRIPES})`)
  const keySector = view.getUint32(at + 40)
  if (keySector < ALIGNMENT_SECTORS) throw new BlockError(`Keyslot ${index} is overlapping with the LUKS header`)
  if (!isActive && state !== SLOT_INACTIVE) throw new BlockError(`Keyslot ${index} state (active/disable) is corrupted`)
  if (isActive && iterations === 0) throw new BlockError(`Keyslot ${index} iteration count is zero`)
  if (isActive) checkIterations(`Keyslot ${index}`, iterations)
  return { isActive, iterations, salt: bytes.slice(at + 8, at + 8 + LUKS_SALT_BYTES), keySector, stripes }
}

function checkIterations(what: string, iterations: number): void {
  if (iterations <= ITERATIONS_MAX) return
  throw new BlockError(`${what} needs ${iterations} iterations, more than the ${ITERATIONS_MAX} that are supported`)
}

function checkPlaces(slots: readonly LuksSlot[], keyBytes: number, payloadSector: number): void {
  const sectors = materialSectors(keyBytes)
  for (const [index, { keySector }] of slots.entries()) {
    if (keySector + sectors > payloadSector) {
      throw new BlockError(`Keyslot ${index} is overlapping with the encrypted payload`)
    }
    for (let other = index + 1; other < slots.length; other++) {
      const otherSector = slots[other]!.keySector
      if (keySector + sectors <= otherSector || otherSector + sectors <= keySector) continue
      throw new BlockError(`Keyslots ${index} and ${other} are overlapping in the header`)
    }
  }
}

export function encodeLuksHeader(header: LuksHeader): Uint8Array {
  const bytes = new Uint8Array(LUKS_HEADER_BYTES)
  const view = new DataView(bytes.buffer)
  const names = headerNames(header.specification)
  bytes.set(MAGIC)
  view.setUint16(6, VERSION)
  putText(bytes, 8, names.cipher, NAME_BYTES)
  putText(bytes, 40, names.mode, NAME_BYTES)
  putText(bytes, 72, header.hash, NAME_BYTES)
  view.setUint32(104, header.payloadSector)
  view.setUint32(108, header.keyBytes)
  bytes.set(header.digest, 112)
  bytes.set(header.digestSalt, 132)
  view.setUint32(164, header.digestIterations)
  putText(bytes, 168, header.uuid, UUID_BYTES)
  for (const [index, slot] of header.slots.entries()) {
    const at = SLOTS_AT + index * SLOT_BYTES
    view.setUint32(at, slot.isActive ? SLOT_ACTIVE : SLOT_INACTIVE)
    view.setUint32(at + 4, slot.iterations)
    bytes.set(slot.salt, at + 8)
    view.setUint32(at + 40, slot.keySector)
    view.setUint32(at + 44, slot.stripes)
  }
  assert(header.slots.length === LUKS_SLOTS, 'luks-slots')
  return bytes
}

function nameAt(bytes: Uint8Array, at: number, what: string): string {
  const field = bytes.subarray(at, at + NAME_BYTES)
  if (!field.includes(0)) throw new BlockError(`LUKS header ${what} is not NUL terminated`)
  return textOf(field)
}

/** It is shown on terminals: what is no printable character of ASCII is not let through. */
function textOf(field: Uint8Array): string {
  const end = field.indexOf(0)
  const text = Buffer.from(end === -1 ? field : field.subarray(0, end)).toString('latin1')
  return text.replace(/[^ -~]/g, '?')
}

function putText(bytes: Uint8Array, at: number, text: string, fieldBytes: number): void {
  assert(text.length < fieldBytes, 'luks-text', () => text)
  bytes.set(Buffer.from(text, 'latin1'), at)
}

/** QCryptoBlockInfoLUKS, by its names in QMP, in the order of its members. */
export function luksInfo(header: LuksHeader): Record<string, unknown> {
  const { algorithm, mode, ivGenerator, ivHash } = header.specification
  return {
    'cipher-alg': algorithm,
    'cipher-mode': mode,
    'ivgen-alg': ivGenerator,
    ...(ivGenerator === 'essiv' ? { 'ivgen-hash-alg': ivHash } : {}),
    'hash-alg': header.hash,
    'detached-header': false,
    'payload-offset': header.payloadSector * LUKS_SECTOR_BYTES,
    'master-key-iters': header.digestIterations,
    uuid: header.uuid,
    slots: header.slots.map(({ isActive, iterations, stripes, keySector }) => ({
      active: isActive,
      ...(isActive ? { iters: iterations, stripes } : {}),
      'key-offset': keySector * LUKS_SECTOR_BYTES,
    })),
  }
}
