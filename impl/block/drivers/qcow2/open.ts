/**
 * Opening: the header and the tables that are always in memory, each length and offset checked before it is used. Nothing is
 * written here; `Qcow2Driver.start` does that when the node has been made.
 *
 * What may fail: everything that is wrong with the image or its options, as BlockError with QEMU's text.
 */
import { assert, type Co, EINVAL, ENOTSUP, type Errno, OK, strerror } from '../../../co'
import type { Codecs } from '../../codec'
import { BlockError } from '../../error'
import { Permission } from '../../flags'
import type { BlockChild, BlockNode, BlockParent } from '../../node'
import { type EncryptionRequest, openEncryption } from './encryption'
import { decodeHeader, headerSpan, type Qcow2Header } from './header'
import { decodeWords, Qcow2Image, type Qcow2Settings } from './image'
import { findInactiveTables } from './inactive'
import { HEADER_V3_BYTES } from './layout'
import { OVERLAP_TEMPLATES, PLACE_NAMES } from './overlap'
import { decodeRefcountTable } from './refcount'
import { showSnapshot, type WantedSnapshot, wantedSnapshot } from './snapshots'

/** The options of blockdev-add that concern the format, in bytes where they are sizes. What is absent has QEMU's default. */
export interface Qcow2OpenOptions {
  readOnly?: boolean
  lazyRefcounts?: boolean
  passDiscardRequest?: boolean
  passDiscardSnapshot?: boolean
  passDiscardOther?: boolean
  discardNoUnref?: boolean
  /** A template, or a template with single checks switched on or off by their names in PLACE_NAMES. */
  overlapCheck?: string | { template?: string; [check: string]: string | boolean | undefined }
  cacheBytes?: number
  l2CacheBytes?: number
  l2CacheEntryBytes?: number
  refcountCacheBytes?: number
  /** For checking and repair: takes images that must not be used otherwise, and leaves the dirty bit alone. */
  forCheck?: boolean
  /** Shows an internal snapshot, by its id or else its name, or by both; only for reading. */
  snapshot?: WantedSnapshot
  /** Absent: encrypted images are not opened. */
  encryption?: EncryptionRequest
  codecs: Codecs
}

const L2_CACHE_BYTES = 32 * 2 ** 20
const L2_ENTRY_BYTES = 65536
const REFCOUNT_BLOCKS_MIN = 4

const NO_ENCRYPTION: EncryptionRequest = {
  format: null,
  unlock() {
    throw new BlockError('Encrypted images are not opened here', { errno: ENOTSUP })
  },
}

/** Somebody who holds a node for the time of a coroutine. */
export function temporaryParent(what: string): BlockParent {
  return { describe: () => what, node: null, drainBegin() {}, drainEnd() {}, drainBusy: () => false }
}

/** Reads everything that an open image needs in memory. The image has no node and no data file yet. */
export function* openImage(file: BlockNode, options: Qcow2OpenOptions): Co<Qcow2Image> {
  const { graph } = file
  const parent = temporaryParent('the opening of a qcow2 image')
  const permission = Permission.ConsistentRead
  const edge = graph.attach({ name: 'root', parent, node: file, permission, shared: Permission.All })
  try {
    return yield* readImageTables(edge, options)
  } finally {
    if (edge.isAttached) graph.detach(edge)
  }
}

function* readImageTables(edge: BlockChild, options: Qcow2OpenOptions): Co<Qcow2Image> {
  const { readOnly = false, forCheck = false } = options
  const start = new Uint8Array(HEADER_V3_BYTES)
  demand(yield* edge.pread(0, start), 'Could not read qcow2 header')
  const first = new Uint8Array(headerSpan(start))
  demand(yield* edge.pread(0, first), 'Could not read qcow2 header')
  const header = decodeHeader(first, { isWritable: !readOnly, isForCheck: forCheck })
  const image = new Qcow2Image(edge.node.kernel, header, settingsOf(header, options), options.codecs)
  image.encryption = yield* openEncryption(edge, header, options.encryption ?? NO_ENCRYPTION)
  const refcountTable = new Uint8Array(header.refcountTableClusters * image.geometry.clusterBytes)
  demand(yield* edge.pread(header.refcountTableOffsetBytes, refcountTable), 'Could not initialize refcount handling')
  const l1 = new Uint8Array(header.l1Entries * 8)
  demand(yield* edge.pread(header.l1OffsetBytes, l1), 'Could not read L1 table')
  const { table, reserved } = decodeRefcountTable(refcountTable)
  image.setTables(decodeWords(l1), table, reserved)
  if (!forCheck) yield* findInactiveTables(image, edge)
  assert(image.l1.length === header.l1Entries * 2, 'l1-read')
  if (options.snapshot !== undefined) yield* show(image, edge, options.snapshot)
  return image
}

function show(image: Qcow2Image, edge: BlockChild, wanted: WantedSnapshot): Co<void> {
  return showSnapshot(image, wantedSnapshot(image, wanted), (at, bytes) => edge.pread(at, bytes))
}

/** Throws BlockError with QEMU's form of "what could not be done: why". */
export function demand(errno: Errno, text: string): void {
  if (errno !== OK) throw new BlockError(`${text}: ${strerror(errno)}`, { errno })
}

/** Options with their defaults. Throws BlockError. */
export function settingsOf(header: Qcow2Header, options: Qcow2OpenOptions): Qcow2Settings {
  const clusterBytes = 2 ** header.clusterBits
  const { lazyRefcounts } = options
  if (lazyRefcounts === true && header.version < 3) {
    throw new BlockError('Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level', { errno: EINVAL })
  }
  const caches = cacheSizes(header, options)
  assert(caches.l2CacheEntryBytes <= clusterBytes, 'l2-entry-size')
  return {
    isReadOnly: options.readOnly ?? false,
    lazyRefcounts: lazyRefcounts ?? (header.compatible & 1n) !== 0n,
    passDiscardRequest: options.passDiscardRequest ?? false,
    passDiscardSnapshot: options.passDiscardSnapshot ?? true,
    passDiscardOther: options.passDiscardOther ?? false,
    discardNoUnref: options.discardNoUnref ?? false,
    overlapChecks: overlapChecksOf(options.overlapCheck ?? 'cached'),
    ...caches,
  }
}

type CacheSizes = Pick<Qcow2Settings, 'l2CacheBytes' | 'l2CacheEntryBytes' | 'refcountCacheBytes'>

function cacheSizes(header: Qcow2Header, options: Qcow2OpenOptions): CacheSizes {
  const clusterBytes = 2 ** header.clusterBits
  const { cacheBytes, l2CacheBytes: l2, refcountCacheBytes: refcounts } = options
  const l2CacheEntryBytes = options.l2CacheEntryBytes ?? Math.min(clusterBytes, L2_ENTRY_BYTES)
  const isPowerOfTwo = 2 ** Math.round(Math.log2(l2CacheEntryBytes)) === l2CacheEntryBytes
  if (l2CacheEntryBytes < 512 || l2CacheEntryBytes > clusterBytes || !isPowerOfTwo) {
    throw new BlockError(`L2 cache entry size must be a power of two between 512 and the cluster size (${clusterBytes})`)
  }
  const refcountMin = REFCOUNT_BLOCKS_MIN * clusterBytes
  if (cacheBytes === undefined) {
    return { l2CacheBytes: l2 ?? L2_CACHE_BYTES, l2CacheEntryBytes, refcountCacheBytes: refcounts ?? refcountMin }
  }
  if (l2 !== undefined && refcounts !== undefined) {
    throw new BlockError('cache-size, l2-cache-size and refcount-cache-size may not be set at the same time')
  }
  if (l2 !== undefined && l2 > cacheBytes) throw new BlockError('l2-cache-size may not exceed cache-size')
  if (refcounts !== undefined && refcounts > cacheBytes) throw new BlockError('refcount-cache-size may not exceed cache-size')
  assert(cacheBytes >= 0, 'cache-size')
  if (l2 !== undefined) return { l2CacheBytes: l2, l2CacheEntryBytes, refcountCacheBytes: cacheBytes - l2 }
  const refcountCacheBytes = refcounts ?? Math.min(cacheBytes, refcountMin)
  return { l2CacheBytes: cacheBytes - refcountCacheBytes, l2CacheEntryBytes, refcountCacheBytes }
}

/** Bits of Place for the option `overlap-check`. Throws BlockError for an unknown template. */
export function overlapChecksOf(wanted: NonNullable<Qcow2OpenOptions['overlapCheck']>): number {
  const template = typeof wanted === 'string' ? wanted : (wanted.template ?? 'cached')
  if (!Object.hasOwn(OVERLAP_TEMPLATES, template)) {
    throw new BlockError(
      `Unsupported value '${template}' for qcow2 option 'overlap-check'. ` +
        'Allowed are any of the following: none, constant, cached, all',
    )
  }
  let checks: number = OVERLAP_TEMPLATES[template as keyof typeof OVERLAP_TEMPLATES]
  if (typeof wanted === 'string') return checks
  for (const [place, name] of PLACE_NAMES) {
    const choice = wanted[name]
    if (choice === true) checks |= place
    if (choice === false) checks &= ~place
  }
  assert((checks & ~OVERLAP_TEMPLATES.all) === 0, 'overlap-places')
  return checks
}
