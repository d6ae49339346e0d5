/** What queries tell about nodes: BlockDeviceInfo and ImageInfo of QMP. Never fails: what is not known is left out. */
import { type BlockNode, listBitmaps } from '../block'
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
const INCOMPATIBLE_DIRTY = 1n

/** BlockDeviceInfo, of the medium of a backend or of a node. `isFlat` leaves the images below out. */
export function nodeInfo(context: BlockdevContext, node: BlockNode, isFlat: boolean, backend?: BackendState): JsonObject {
  const origin = context.origins.get(node)
  const name = describeNode(context, node)
  const bitmaps = listBitmaps(node)
  const options = origin?.options
  return jsonObject({
    file: name,
    'node-name': node.name,
    ro: node.options.readOnly,
    drv: node.driver.name,
    backing_file:
      (origin?.backingName ?? '') === '' || node.backing === null ? undefined : describeNode(context, node.backing.node),
    backing_file_depth: isFlat ? 0 : chainDepth(node),
    children: [...node.children.values()].map((child) => jsonObject({ child: child.name, 'node-name': child.node.name })),
    active: true,
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
  const { clusterBytes } = node.driver.info()
  const origin = context.origins.get(node)
  const backingName = origin?.backingName ?? ''
  const below = node.below()
  const snapshots = snapshotInfos(node)
  return jsonObject({
    filename: describeNode(context, node),
    format: node.driver.name,
    'dirty-flag': dirtyFlag(node),
    'actual-size': node.filtered === null ? actualBytes(node) : undefined,
    'virtual-size': node.lengthBytes,
    encrypted: isEncrypted(node) ? true : undefined,
    'cluster-size': clusterBytes > 0 && node.filtered === null ? clusterBytes : undefined,
    'backing-filename': backingName === '' ? undefined : backingName,
    'full-backing-filename': backingName === '' ? undefined : fullBackingName(context, node, backingName),
    'backing-filename-format': (origin?.backingFormat ?? '') === '' ? undefined : origin!.backingFormat,
    snapshots: snapshots.length === 0 ? undefined : snapshots,
    limits: limitsInfo(node),
    'format-specific': specificInfo(node),
    'backing-image': isFlat || below === null ? undefined : imageInfo(context, below, false),
  })
}

/** Disks that store nothing take nothing. */
function actualBytes({ driver }: BlockNode): number | undefined {
  return driver.allocatedBytes() ?? (driver.name.startsWith('null-') ? 0 : undefined)
}

function isEncrypted({ driver }: BlockNode): boolean {
  return driver instanceof LuksDriver || (driver instanceof Qcow2Driver && driver.image.encryption !== null)
}

function dirtyFlag({ driver }: BlockNode): boolean | undefined {
  if (driver instanceof Qcow2Driver) return (driver.header.incompatible & INCOMPATIBLE_DIRTY) !== 0n
  return driver.name === 'luks' || driver.name === 'file' || driver.name === 'host_device' || driver.name === 'raw'
    ? false
    : undefined
}

function fullBackingName(context: BlockdevContext, node: BlockNode, name: string): string | undefined {
  try {
    return backingNameOf(context, node.children.get('file')?.node ?? node, name)
  } catch {
    return undefined
  }
}

function limitsInfo({ limits }: BlockNode): JsonObject {
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
    'min-mem-alignment': Math.max(limits.memoryAlignmentBytes, 512),
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
  if (driver.name === 'raw') {
    const file = node.children.get('file')
    return file === undefined ? undefined : specificInfo(file.node)
  }
  return driver.name === 'file' || driver.name === 'host_device' ? jsonObject({ type: 'file', data: new Map() }) : undefined
}
