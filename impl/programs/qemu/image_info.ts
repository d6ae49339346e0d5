/**
 * What an image tells of itself: one object in the form of QMP's BlockGraphInfo, and the same for people. Members are in
 * the order in which QEMU visits them, because the printed order follows from it.
 *
 * Never fails: what is not known is left out.
 */
import type { BlockNode } from '../../block'
import { LuksDriver } from '../../block/drivers/luks'
import { Qcow2Driver } from '../../block/drivers/qcow2'
import { type BlockdevContext, backingNameOf, describeNode, isFullName, snapshotInfos } from '../../blockdev'
import { JsonDouble, type JsonObject, type JsonValue, jsonObject, printedOrder } from '../../json'
import { sizeText } from './size_text'

/** In the order of QAPI's ImageInfoSpecificQCow2. */
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

/** Plain objects and lists as JSON values; members keep their order. */
function toJson(value: unknown): JsonValue {
  if (Array.isArray(value)) return value.map(toJson)
  if (typeof value !== 'object' || value === null) return value as JsonValue
  const object: JsonObject = new Map()
  for (const [key, member] of Object.entries(value)) if (member !== undefined) object.set(key, toJson(member))
  return object
}

/** What the format tells about itself, or null. */
export function specificInfo(node: BlockNode): JsonObject | null {
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
  if (driver.name === 'file') return jsonObject({ type: 'file', data: new Map() })
  return null
}

/** Where the state of virtual machines begins: behind what the tables of the disk can reach. 0: the format has none. */
export function vmStateOffset(node: BlockNode): number {
  if (!(node.driver instanceof Qcow2Driver)) return 0
  const { l2CoversBytes } = node.driver.image.geometry
  return Math.ceil(node.lengthBytes / l2CoversBytes) * l2CoversBytes
}

/** The lines of the format, as `qemu-img info` and qemu-io's `info` show them; empty if there is nothing to tell. */
export function humanSpecificInfo(node: BlockNode, indent = ''): string {
  const data = specificInfo(node)?.get('data')
  if (!(data instanceof Map) || data.size === 0) return ''
  return `${indent}Format specific information:\n${dump(data, `${indent}    `)}`
}

function scalarText(value: JsonValue): string {
  return value instanceof JsonDouble ? String(value.value) : String(value)
}

function dump(value: JsonObject | JsonValue[], indent: string): string {
  const names = value instanceof Map ? printedOrder(value) : value.map((_, index) => `[${index}]`)
  let text = ''
  names.forEach((name, index) => {
    const member = value instanceof Map ? value.get(name)! : value[index]!
    const isContainer = member instanceof Map || Array.isArray(member)
    const shown = value instanceof Map ? name.replaceAll('-', ' ') : name
    text += `${indent}${shown}:${isContainer ? '\n' : ` ${scalarText(member)}\n`}`
    if (isContainer) text += dump(member, `${indent}    `)
  })
  return text
}

/** What was written in the image as the name of the one below it. */
function backingMembers(context: BlockdevContext, node: BlockNode): Record<string, JsonValue | undefined> {
  const origin = context.origins.get(node)
  const name = origin?.backingName ?? ''
  if (name === '') return {}
  let full: string | undefined
  try {
    full = isFullName(name) ? name : backingNameOf(context, node, name)
  } catch {
    full = undefined
  }
  const format = origin?.backingFormat ?? ''
  return {
    'backing-filename': name,
    'full-backing-filename': full,
    'backing-filename-format': format === '' ? undefined : format,
  }
}

/** What a node takes on the host: by itself, or by the files that it stores its data in. */
function allocatedOf(node: BlockNode): number | null {
  const bytes = node.driver.allocatedBytes()
  if (bytes !== null) return bytes
  let sumBytes: number | null = null
  for (const { node: child, role } of node.children.values()) {
    if (role !== 'cow') sumBytes = (sumBytes ?? 0) + (allocatedOf(child) ?? 0)
  }
  return sumBytes
}

/** Formats that tell nothing about themselves (`bdrv_get_info`). */
const SAYING_NOTHING: readonly string[] = ['bochs', 'cloop', 'dmg', 'parallels']

/** BlockNodeInfo with `children`. */
export function imageInfo(context: BlockdevContext, node: BlockNode): JsonObject {
  const allocatedBytes = allocatedOf(node)
  const { clusterBytes } = node.driver.info()
  const isFormat = !node.driver.isProtocol && node.filtered === null
  const snapshots = snapshotInfos(node)
  const children: JsonValue[] = []
  for (const child of node.children.values()) {
    if (child.role === 'cow') continue
    children.push(jsonObject({ name: child.name, info: imageInfo(context, child.node) }))
  }
  return jsonObject({
    filename: shownName(context, node),
    format: node.driver.name,
    'dirty-flag': SAYING_NOTHING.includes(node.driver.name)
      ? undefined
      : node.driver instanceof Qcow2Driver && isDirty(node.driver),
    'actual-size': allocatedBytes ?? undefined,
    'virtual-size': node.lengthBytes,
    encrypted: isEncrypted(node) ? true : undefined,
    'cluster-size': isFormat && clusterBytes > 0 && node.driver.name !== 'raw' ? clusterBytes : undefined,
    ...backingMembers(context, node),
    snapshots: snapshots.length === 0 ? undefined : snapshots,
    'format-specific': specificInfo(node) ?? undefined,
    children,
  })
}

/** Whether what a node stores is encrypted. */
function isEncrypted({ driver }: BlockNode): boolean {
  return driver instanceof LuksDriver || (driver instanceof Qcow2Driver && driver.image.encryption !== null)
}

function isDirty({ header }: Qcow2Driver): boolean {
  return (header.incompatible & 1n) !== 0n
}

/** The name alone, unless options say how the file is to be read. The image below is left out here, which is none of them. */
function shownName(context: BlockdevContext, node: BlockNode): string {
  const origin = context.origins.get(node)
  const isCutOff = node.backing === null && (origin?.backingName ?? '') !== ''
  const { strongOptions = [], protocol = null } = origin?.driver ?? {}
  const isSpecial = protocol === null && strongOptions.some((name) => origin?.options.has(name) === true)
  return isSpecial && !isCutOff ? describeNode(context, node) : filenameOf(context, node)
}

export function filenameOf(context: BlockdevContext, node: BlockNode): string {
  const origin = context.origins.get(node)
  if (origin !== undefined && origin.filename !== '') return origin.filename
  const below = node.filtered ?? node.children.get('file')
  return below === undefined ? '' : filenameOf(context, below.node)
}

/** One image for people: the block of lines, its children below it. */
export function humanInfo(info: JsonObject, node: BlockNode, indent = '', childPath = '', hasChildren = true): string {
  const isChild = childPath !== ''
  const isProtocol = node.driver.isProtocol
  const lines: string[] = []
  const put = (text: string): void => {
    lines.push(`${indent}${text}\n`)
  }
  const get = (key: string): JsonValue | undefined => info.get(key)
  const bytes = Number(get('virtual-size'))
  put(`${isChild ? 'filename' : 'image'}: ${scalarText(get('filename') ?? '')}`)
  put(`${isProtocol ? 'protocol type' : 'file format'}: ${scalarText(get('format')!)}`)
  put(`${isProtocol ? 'file length' : 'virtual size'}: ${sizeText(bytes)} (${bytes} bytes)`)
  const allocated = get('actual-size')
  put(`disk size: ${allocated === undefined ? 'unavailable' : sizeText(Number(allocated))}`)
  if (get('encrypted') === true) put('encrypted: yes')
  if (get('cluster-size') !== undefined) put(`cluster_size: ${scalarText(get('cluster-size')!)}`)
  if (get('dirty-flag') === true) put('cleanly shut down: no')
  const backing = get('backing-filename')
  if (backing !== undefined) {
    const full = get('full-backing-filename')
    const cannot = full === undefined ? ' (cannot determine actual path)' : ''
    const actual = full !== undefined && full !== backing ? ` (actual path: ${scalarText(full)})` : ''
    put(`backing file: ${scalarText(backing)}${cannot}${actual}`)
    const format = get('backing-filename-format')
    if (format !== undefined) put(`backing file format: ${scalarText(format)}`)
  }
  let text = lines.join('')
  const snapshots = get('snapshots')
  if (Array.isArray(snapshots)) text += snapshotLines(snapshots as JsonObject[], indent)
  text += humanSpecificInfo(node, indent)
  if (!hasChildren) return text
  for (const child of node.children.values()) {
    if (child.role === 'cow') continue
    const path = `${childPath}/${child.name}`
    const below = (get('children') as JsonValue[]).find((entry) => (entry as JsonObject).get('name') === child.name)
    const belowInfo = (below as JsonObject).get('info') as JsonObject
    text += `${indent}Child node '${path}':\n${humanInfo(belowInfo, child.node, `${indent}    `, path)}`
  }
  return text
}

/** The table of internal snapshots. */
export function snapshotLines(snapshots: readonly JsonObject[], indent = ''): string {
  return `${indent}Snapshot list:\n${snapshotTable(snapshots, indent)}`
}
export function snapshotTable(snapshots: readonly JsonObject[], indent = ''): string {
  const rows = snapshots.map((snapshot) => `${indent}${snapshotRow(snapshot)}\n`)
  return `${indent}${snapshotHeader()}\n${rows.join('')}`
}

function snapshotHeader(): string {
  return columns('ID', 'TAG', 'VM_SIZE', 'DATE', 'VM_CLOCK', 'ICOUNT')
}

function columns(id: string, tag: string, size: string, date: string, clock: string, icount: string): string {
  return `${id.padEnd(7)} ${tag.padEnd(16)} ${size.padStart(8)} ${date.padStart(19)} ${clock.padStart(15)} ${icount.padStart(10)}`
}

function snapshotRow(snapshot: JsonObject): string {
  const number = (key: string): number => Number(snapshot.get(key) ?? 0)
  const date = new Date(number('date-sec') * 1000)
  const two = (value: number, width = 2): string => String(value).padStart(width, '0')
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
  const seconds = number('vm-clock-sec')
  const clock = `${two(Math.floor(seconds / 3600), 4)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`
  const milliseconds = two(Math.floor(number('vm-clock-nsec') / 1e6), 3)
  const icount = snapshot.get('icount')
  return columns(
    String(snapshot.get('id')),
    String(snapshot.get('name')),
    sizeText(number('vm-state-size')),
    `${day} ${time}`,
    `${clock}.${milliseconds}`,
    icount === undefined ? '--' : String(icount),
  )
}
