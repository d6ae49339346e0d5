/**
 * `luks`: a disk that is encrypted sector by sector in a container (crypto/luks.ts) that its file begins with.
 *
 * What may fail: the file, as an errno; opening and changes of passwords, as BlockError. An image that was opened without
 * its key tells about itself and refuses all I/O with EPERM.
 */
import { assert, type Co, EFBIG, EPERM, type Errno, Mutex, OK } from '../../co'
import type { Cryptography } from '../crypto/cryptography'
import {
  amendLuks,
  type LuksAmendment,
  type LuksArea,
  type LuksCreateOptions,
  newLuks,
  readLuksHeader,
  unlockLuks,
  writeNewLuks,
} from '../crypto/luks'
import { LUKS_SECTOR_BYTES, type LuksHeader, luksInfo } from '../crypto/luks_header'
import { CIPHER_SECTOR_BYTES, SectorCipher } from '../crypto/sector_cipher'
import { BlockDriver, type PreallocationMode } from '../driver'
import { BlockError } from '../error'
import { type BlockLimits, Permission, RequestFlag } from '../flags'
import type { BlockChild, BlockNode, BlockParent } from '../node'
import { demand, temporaryParent } from './qcow2/open'

/** What is encrypted at a time: a bound for the memory of one request. */
const CHUNK_BYTES = 2 ** 20

export interface LuksOpenOptions {
  cryptography: Cryptography
  /** null: only to look at. */
  password: Uint8Array | null
}

/** Reads the header, and finds the master key. Throws BlockError. */
export function* openLuks(file: BlockNode, { cryptography, password }: LuksOpenOptions): Co<LuksDriver> {
  return yield* withEdge(file, Permission.ConsistentRead, Permission.All, function* (edge) {
    const area = areaOf(edge)
    const header = yield* readLuksHeader(area)
    const key = password === null ? null : yield* unlockLuks(cryptography, area, header, password)
    if (file.lengthBytes < header.payloadSector * LUKS_SECTOR_BYTES) {
      throw new BlockError('Could not refresh total sector count: Input/output error')
    }
    return new LuksDriver(cryptography, header, key)
  })
}

/** Makes a container for `sizeBytes` in `file`. Throws BlockError. */
export function* createLuks(
  file: BlockNode,
  cryptography: Cryptography,
  options: LuksCreateOptions & { sizeBytes: number; preallocation: PreallocationMode },
  password: Uint8Array,
): Co<void> {
  const made = yield* newLuks(cryptography, options)
  assert(options.sizeBytes >= 0, 'luks-size')
  const payloadBytes = made.header.payloadSector * LUKS_SECTOR_BYTES
  if (!Number.isSafeInteger(options.sizeBytes + payloadBytes)) {
    throw new BlockError('The requested file size is too large', { errno: EFBIG })
  }
  const permission = Permission.ConsistentRead | Permission.Write | Permission.Resize
  yield* withEdge(file, permission, Permission.ConsistentRead, function* (edge) {
    const errno = yield* edge.truncate(payloadBytes + options.sizeBytes, false, options.preallocation)
    demand(errno, 'Could not resize file')
    yield* writeNewLuks(cryptography, areaOf(edge), made, password, options.iterationTimeMs)
  })
}

function* withEdge<T>(file: BlockNode, permission: number, shared: number, body: (edge: BlockChild) => Co<T>): Co<T> {
  const { graph } = file
  const parent: BlockParent = temporaryParent('a LUKS container')
  const edge = graph.attach({ name: 'root', parent, node: file, permission, shared })
  try {
    return yield* body(edge)
  } finally {
    if (edge.isAttached) graph.detach(edge)
  }
}

function areaOf(edge: BlockChild): LuksArea {
  return {
    read: (offsetBytes, buffer) => readZeroFilled(edge, offsetBytes, buffer),
    write: (offsetBytes, bytes) => edge.pwrite(offsetBytes, bytes),
    flush: () => edge.flush(),
  }
}

/** What lies behind the end of the file reads as zeroes: the header says then what is wrong with it. */
function* readZeroFilled(edge: BlockChild, offsetBytes: number, buffer: Uint8Array): Co<Errno> {
  assert(offsetBytes >= 0, 'luks-area')
  const thereBytes = Math.min(buffer.length, Math.max(0, edge.node.lengthBytes - offsetBytes))
  buffer.fill(0, thereBytes)
  return thereBytes === 0 ? OK : yield* edge.pread(offsetBytes, buffer.subarray(0, thereBytes))
}

export class LuksDriver extends BlockDriver {
  readonly name = 'luks'
  /** The header does not change while the image is in use. */
  override get handsOver(): boolean {
    return true
  }
  private readonly cryptography: Cryptography
  private readonly header: LuksHeader
  private readonly key: Uint8Array | null
  private readonly cipher: SectorCipher | null
  private readonly payloadBytes: number
  private file!: BlockChild
  private isAmending = false
  private mutex: Mutex | null = null

  constructor(cryptography: Cryptography, header: LuksHeader, key: Uint8Array | null) {
    super()
    this.cryptography = cryptography
    this.header = header
    this.key = key
    this.cipher = key === null ? null : new SectorCipher(cryptography, header.specification, key)
    this.payloadBytes = header.payloadSector * LUKS_SECTOR_BYTES
    assert(this.payloadBytes > 0 && (key === null || key.length === header.keyBytes), 'luks-opened')
  }

  lengthBytes(): number {
    return Math.max(0, this.file.node.lengthBytes - this.payloadBytes)
  }
  override refreshLimits(limits: BlockLimits): void {
    const file = this.node.children.get('file')
    assert(file !== undefined, 'luks-has-file', () => this.node.name)
    this.file = file
    limits.requestAlignmentBytes = Math.max(limits.requestAlignmentBytes, CIPHER_SECTOR_BYTES)
    limits.maxPwriteZeroesBytes = 0
    limits.maxPdiscardBytes = 0
    this.supportedWriteFlags = RequestFlag.Fua & file.node.driver.supportedWriteFlags
  }
  /** QCryptoBlockInfoLUKS, by its names in QMP. */
  specificInfo(): Record<string, unknown> {
    return luksInfo(this.header)
  }

  private get lock(): Mutex {
    this.mutex ??= new Mutex(this.node.graph.kernel, 'the passwords of a LUKS container')
    return this.mutex
  }

  *pread(offsetBytes: number, buffer: Uint8Array, _flags: number): Co<Errno> {
    const cipher = this.cipher
    if (cipher === null) return EPERM
    const errno = yield* this.file.pread(this.payloadBytes + offsetBytes, buffer)
    if (errno === OK) cipher.decrypt(offsetBytes / CIPHER_SECTOR_BYTES, buffer)
    return errno
  }
  *pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    const { cipher } = this
    if (cipher === null) return EPERM
    assert(offsetBytes % CIPHER_SECTOR_BYTES === 0, 'luks-aligned')
    for (let at = 0; at < buffer.length; at += CHUNK_BYTES) {
      const encrypted = cipher.encrypt((offsetBytes + at) / CIPHER_SECTOR_BYTES, buffer.subarray(at, at + CHUNK_BYTES))
      const errno = yield* this.file.pwrite(this.payloadBytes + offsetBytes + at, encrypted, flags)
      if (errno !== OK) return errno
    }
    return OK
  }

  /** What is new reads as whatever zeroes decrypt to, as in QEMU. */
  override *truncate(lengthBytes: number, exact: boolean, preallocation: PreallocationMode): Co<Errno> {
    const fileBytes = this.payloadBytes + lengthBytes
    return Number.isSafeInteger(fileBytes) ? yield* this.file.truncate(fileBytes, exact, preallocation) : EFBIG
  }

  /** Adds or erases passwords. Throws BlockError. */
  *amend(amendment: LuksAmendment, force: boolean): Co<void> {
    const key = this.key
    if (key === null) throw new BlockError('The image is open without its key', { errno: EPERM })
    assert(!this.node.options.readOnly, 'amend-writable')
    const { lock } = this
    yield* lock.lock()
    try {
      this.setAmending(true)
      const made = { header: this.header, key }
      yield* amendLuks(this.cryptography, areaOf(this.file), made, amendment, force)
    } finally {
      if (this.isAmending) this.setAmending(false)
      lock.unlock()
    }
  }

  /** Passwords are written whether or not somebody above may write, and nobody else may meanwhile. Throws BlockError. */
  private setAmending(isAmending: boolean): void {
    this.isAmending = isAmending
    try {
      this.node.graph.refreshPermissions(this.node)
    } catch (error) {
      this.isAmending = !isAmending
      throw error
    }
  }
  override childPermissions(
    child: BlockChild,
    parentPermission: number,
    parentShared: number,
  ): { permission: number; shared: number } {
    const usual = super.childPermissions(child, parentPermission, parentShared)
    if (!this.isAmending) return usual
    return { permission: usual.permission | Permission.Write, shared: usual.shared & ~Permission.Write }
  }
}
