/** What queries tell about nodes: BlockDeviceInfo and ImageInfo of QMP. Never fails: what is not known is left out. */
import { type BlockNode, type DirtyBitmap, defaultLimits, listBitmaps } from '../block'
import { LuksDriver } from '../block/drivers/luks'
import { Qcow2Driver } from '../block/drivers/qcow2'
import { writeThresholdOf } from '../block/write_threshold'
import { type BlockdevContext, backingNameOf, describeNode, snapshotInfos } from '../blockdev'
import { type JsonObject, type JsonValue, jsonObject } from '../json'
import { toJson } from './events'
import type { BackendState } from './machine/machine'
import { throttleInfo } from './machine/throttling'

const IOV_MAX = 1024
const MEMORY_ALIGNMENT_BYTES = 4096
const SECTOR_BYTES = 512
const INCOMPATIBLE_DIRTY = 1n

/** BlockDeviceInfo, of the medium of a backend or of a node. `isFlat` leaves the images below out. */
export function nodeInfo(context: BlockdevContext, node: BlockNode, isFlat: boolean, backend?: BackendState): JsonObject {
  const origin = context.origins.get(node)
  const name = describeNode(context, node)
  const bitmaps = [...[...node.jobBitmaps].map(jobBitmapInfo), ...listBitmaps(node)]
  const options = origin?.options
  return jsonObject({
    file: name,
    'node-name': node.name,
    ro: node.options.readOnly,
    drv: node.driver.name,
    backing_file:
      (origin?.backingName ?? '') === '' || node.backing === null ? undefined : describeNode(context, node.backing.node),
    backing_file_depth: isFlat ? 0 : chainDepth(node),
    // The newest first.
    children: [...node.children.values()]
      .reverse()
      .map((child) => jsonObject({ child: child.name, 'node-name': child.node.name })),
    active: !node.isInactive,
    encrypted: isEncrypted(node),
    detect_zeroes: node.options.detectZeroes,
    bps: 0,
    bps_rd: 0,
    bps_wr: 0,
    iops: 0,
    iops_rd: 0,
    iops_wr: 0,
    ...(backend === undefined ? {} : (throttleInfo(backend) as Record<string, JsonValue>)),
    image: imageInfo(context, node, isFlat),
    cache: jsonObject({
      writeback: backend?.writesBack ?? true,
      direct: isOn(options?.get('cache.direct')),
      'no-flush': isOn(options?.get('cache.no-flush')),
    }),
    write_threshold: writeThresholdOf(node),
    'dirty-bitmaps': bitmaps.length === 0 ? undefined : toJson(bitmaps),
  })
}

/** A bitmap without a name, which its job fills by itself. */
function jobBitmapInfo({ countBytes, granularityBytes }: DirtyBitmap): object {
  return { count: countBytes, granularity: granularityBytes, recording: false, busy: false, persistent: false }
}

function isOn(value: JsonValue | undefined): boolean {
  return value === true || value === 'on' || value === 'yes' || value === 'true'
}

/** The layers below, filters counted as QEMU counts them. */
function chainDepth(node: BlockNode): number {
  let depth = 0
  for (let below = node.below(); below !== null; below = below.below()) depth++
  return depth
}

/** ImageInfo. */
export function imageInfo(context: BlockdevContext, node: BlockNode, isFlat: boolean): JsonObject {
  const { clusterBytes } = informed(node).driver.info()
  const origin = context.origins.get(node)
  const backingName = origin?.backingName ?? ''
  const below = node.below()
  const snapshots = snapshotInfos(node)
  return jsonObject({
    filename: describeNode(context, node),
    format: node.driver.name,
    'dirty-flag': dirtyFlag(informed(node)),
    'actual-size': actualBytes(node),
    'virtual-size': node.lengthBytes,
    encrypted: isEncrypted(node) ? true : undefined,
    'cluster-size': clusterBytes > 0 ? clusterBytes : undefined,
    'backing-filename': backingName === '' ? undefined : backingName,
    'full-backing-filename': backingName === '' ? undefined : fullBackingName(context, node, backingName),
    'backing-filename-format': (origin?.backingFormat ?? '') === '' ? undefined : origin!.backingFormat,
    snapshots: snapshots.length === 0 ? undefined : snapshots,
    limits: limitsInfo(node),
    'format-specific': specificInfo(node),
    'backing-image': isFlat || below === null ? undefined : imageInfo(context, below, false),
  })
}

/** Who speaks for the node about clusters: filters and `raw` leave it to what they stand on. */
function informed(node: BlockNode): BlockNode {
  const below = node.filtered?.node ?? (node.driver.name === 'raw' ? node.children.get('file')?.node : undefined)
  return below === undefined ? node : informed(below)
}

/** Protocols of which QEMU knows no size, whatever they stand on. */
const SIZELESS = new Set(['blkdebug', 'blkverify'])

/** Space on the host: that of all parts of an image without the one below it. Disks that store nothing take nothing. */
function actualBytes({ driver, children }: BlockNode): number | undefined {
  if (SIZELESS.has(driver.name)) return undefined
  if (children.size === 0) return driver.allocatedBytes() ?? (driver.name.startsWith('null-') ? 0 : undefined)
  const parts = [...children.values()].filter(({ role }) => role !== 'cow').map(({ node }) => actualBytes(node))
  return parts.includes(undefined) ? undefined : parts.reduce<number>((sum, part) => sum + part!, 0)
}

function isEncrypted({ driver }: BlockNode): boolean {
  return driver instanceof LuksDriver || (driver instanceof Qcow2Driver && driver.image.encryption !== null)
}

function dirtyFlag({ driver }: BlockNode): boolean | undefined {
  if (driver instanceof Qcow2Driver) return (driver.header.incompatible & INCOMPATIBLE_DIRTY) !== 0n
  return driver.name === 'luks' || driver.name === 'file' || driver.name === 'host_device' ? false : undefined
}

function fullBackingName(context: BlockdevContext, node: BlockNode, name: string): string | undefined {
  try {
    return backingNameOf(context, node.children.get('file')?.node ?? node, name)
  } catch {
    return undefined
  }
}

/** What a file asks for that is behind the cache or not; what stands on nothing else asks for a sector. */
function memoryAlignment({ driver, children, limits }: BlockNode): number {
  if (driver.name === 'file' || driver.name === 'host_device') return limits.memoryAlignmentBytes
  const below = [...children.values()].map(({ node }) => memoryAlignment(node))
  return below.length === 0 ? SECTOR_BYTES : Math.max(...below)
}

/** Put above a source by a job, without a look at what it asks for: they have no limits of their own to tell. */
const BARE_FILTERS = new Set(['mirror_top', 'commit_top'])

function limitsInfo(node: BlockNode): JsonObject {
  const isBare = BARE_FILTERS.has(node.driver.name)
  const limits = isBare ? defaultLimits() : node.limits
  const some = (value: number): number | undefined => (value === 0 ? undefined : value)
  return jsonObject({
    'request-alignment': limits.requestAlignmentBytes,
    'max-discard': some(limits.maxPdiscardBytes),
    'discard-alignment': some(limits.pdiscardAlignmentBytes),
    'max-write-zeroes': some(limits.maxPwriteZeroesBytes),
    'write-zeroes-alignment': some(limits.pwriteZeroesAlignmentBytes),
    'opt-transfer': some(limits.optTransferBytes),
    'max-transfer': some(limits.maxTransferBytes),
    'max-iov': IOV_MAX,
    'min-mem-alignment': isBare ? SECTOR_BYTES : memoryAlignment(node),
    'opt-mem-alignment': MEMORY_ALIGNMENT_BYTES,
  })
}

const QCOW2_MEMBERS = [
  'compat',
  'data-file',
  'data-file-raw',
  'extended-l2',
  'lazy-refcounts',
  'corrupt',
  'refcount-bits',
  'encrypt',
  'bitmaps',
  'compression-type',
] as const

function specificInfo(node: BlockNode): JsonObject | undefined {
  const { driver } = node
  if (driver instanceof Qcow2Driver) {
    const told: Readonly<Record<string, unknown>> = { ...driver.specificInfo() }
    const data: JsonObject = new Map()
    for (const key of QCOW2_MEMBERS) if (told[key] !== undefined) data.set(key, toJson(told[key]))
    return jsonObject({ type: 'qcow2', data })
  }
  if (driver instanceof LuksDriver) return jsonObject({ type: 'luks', data: toJson(driver.specificInfo()) })
  const details = driver.formatDetails()
  if (details !== null) return jsonObject({ type: details.type, data: toJson(details.data) })
  return driver.name === 'file' || driver.name === 'host_device' ? jsonObject({ type: 'file', data: new Map() }) : undefined
}
