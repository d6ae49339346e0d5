/**
 * The text that describes a VMDK image: its identity (CID), that of the image below, the kind of image, its extents. It is a
 * file of its own, or lies in the one file of the image.
 *
 * What may fail: text that is no description, as BlockError with QEMU's text.
 */
import { assert } from '../../../co'
import { BlockError } from '../../error'
import { nameOf } from '../clusters/bytes'

/** So much of a description is read and written: 20 sectors. */
export const DESCRIPTOR_BYTES = 20 * 512
/** No image below. */
export const NO_PARENT = 0xffffffff
/** More extents than this are not opened. */
const EXTENTS_MAX = 4096
const SECTOR_BYTES = 512

export type ExtentType = 'FLAT' | 'VMFS' | 'SPARSE'

export interface ExtentLine {
  type: ExtentType
  lengthBytes: number
  filename: string
  /** Where a flat extent begins in its file. */
  offsetBytes: number
}

export interface Descriptor {
  cid: number
  parentCid: number
  createType: string
  parentFilename: string | null
  extents: ExtentLine[]
}

/** The value of a line `name=value`; QEMU wants neither blanks nor another order of lines. */
function lineValue(text: string, name: string): string | null {
  for (const line of text.split(/[\r\n\0]/)) {
    if (line.startsWith(`${name}=`)) return line.slice(name.length + 1)
  }
  return null
}
function quoted(text: string, name: string): string | null {
  const value = lineValue(text, name)
  const match = value === null ? null : /^"([^"]*)"/.exec(value)
  return match === null ? null : match[1]!
}
function identity(text: string, name: string): number | null {
  const match = /^[0-9a-fA-F]{1,16}/.exec(lineValue(text, name) ?? '')
  return match === null ? null : Number(BigInt.asUintN(32, BigInt(`0x${match[0]}`)))
}

/** `hasExtents`: extents are files of their own. Throws BlockError. */
export function parseDescriptor(text: string, hasExtents: boolean): Descriptor {
  const createType = quoted(text, 'createType')
  if (createType === null && hasExtents) throw new BlockError('invalid VMDK image descriptor')
  const cid = identity(text, 'CID')
  if (cid === null && hasExtents) throw new BlockError('invalid VMDK image descriptor (no CID)')
  const parentFilename = quoted(text, 'parentFileNameHint')
  const extents = hasExtents ? extentLines(text) : []
  assert(extents.length <= EXTENTS_MAX, 'vmdk-extents')
  return {
    cid: cid ?? 0,
    parentCid: identity(text, 'parentCID') ?? 0,
    createType: createType ?? '',
    parentFilename: parentFilename === null ? null : nameOf(Buffer.from(parentFilename, 'latin1')),
    extents,
  }
}

const EXTENT = /^(\S{1,4})\s+(-?\d+)\s+(\S{1,9})\s+"([^"]{1,511})"(?:\s+(-?\d+))?/

function extentLines(text: string): ExtentLine[] {
  const extents: ExtentLine[] = []
  for (const line of text.split(/[\r\n\0]+/)) {
    const match = EXTENT.exec(line)
    if (match === null || match[1] !== 'RW') continue
    const [, , sectorsText, type, filename, offsetText] = match
    const sectors = Number(sectorsText)
    const offsetSectors = offsetText === undefined ? null : Number(offsetText)
    const isFlat = type === 'FLAT'
    const takesOffset = isFlat || type === 'VMFS'
    const isInvalid = isFlat ? offsetSectors === null || offsetSectors < 0 : !takesOffset && offsetSectors !== null
    if (isInvalid) throw new BlockError(`Invalid extent line: ${line}`)
    if (sectors <= 0) continue
    if (type === 'VMFSSPARSE' || type === 'SESPARSE') throw new BlockError(`Unsupported extent type '${type}'`)
    if (type !== 'FLAT' && type !== 'VMFS' && type !== 'SPARSE') continue
    const lengthBytes = sectors * SECTOR_BYTES
    const offsetBytes = (offsetSectors ?? 0) * SECTOR_BYTES
    if (!Number.isSafeInteger(lengthBytes) || !Number.isSafeInteger(offsetBytes) || extents.length === EXTENTS_MAX) {
      throw new BlockError(`Invalid extent line: ${line}`)
    }
    extents.push({ type, lengthBytes, filename: nameOf(Buffer.from(filename!, 'latin1')), offsetBytes })
  }
  return extents
}

/** Whether a file begins as a description does: comments and empty lines, then the version. */
export function looksLikeDescriptor(head: string): boolean {
  for (const line of head.split('\n')) {
    const bare = line.replace(/\r$/, '')
    if (bare.startsWith('#') || /^ *$/.test(bare)) continue
    return /^version=[123]$/.test(bare)
  }
  return false
}

/** The text with another identity, at least as long as before so that it covers the old one. */
export function withIdentity(text: string, cid: number): string {
  const end = text.indexOf('\0')
  const bare = end === -1 ? text : text.slice(0, end)
  const changed = bare.replace(
    /(^|\n)CID=[0-9a-fA-F]*/,
    (_, before: string) => `${before}CID=${cid.toString(16).padStart(8, '0')}`,
  )
  const whole = changed.padEnd(bare.length, '\0')
  assert(whole.length >= bare.length, 'vmdk-text-covers')
  return whole
}

export interface NewDescriptor {
  cid: number
  parentCid: number
  createType: string
  parentFilename: string | null
  extents: readonly ExtentLine[]
  hardwareVersion: string
  adapterType: string
  toolsVersion: string
  lengthBytes: number
}

export function descriptorText(given: NewDescriptor): string {
  assert(given.lengthBytes % SECTOR_BYTES === 0 && given.extents.length > 0, 'vmdk-described')
  const heads = given.adapterType === 'ide' ? 16 : 255
  const cylinders = Math.floor(given.lengthBytes / (63 * heads * SECTOR_BYTES))
  const parent = given.parentFilename === null ? '' : `parentFileNameHint="${given.parentFilename}"\n`
  const extents = given.extents.map(({ type, lengthBytes, filename, offsetBytes }) => {
    const offset = type === 'FLAT' ? ` ${offsetBytes / SECTOR_BYTES}` : ''
    return `RW ${lengthBytes / SECTOR_BYTES} ${type} "${filename}"${offset}\n`
  })
  return [
    '# Disk DescriptorFile\nversion=1\n',
    `CID=${given.cid.toString(16)}\nparentCID=${given.parentCid.toString(16)}\n`,
    `createType="${given.createType}"\n${parent}\n`,
    `# Extent description\n${extents.join('')}\n`,
    '# The Disk Data Base\n#DDB\n\n',
    `ddb.virtualHWVersion = "${given.hardwareVersion}"\n`,
    `ddb.geometry.cylinders = "${cylinders}"\n`,
    `ddb.geometry.heads = "${heads}"\n`,
    'ddb.geometry.sectors = "63"\n',
    `ddb.adapterType = "${given.adapterType}"\n`,
    `ddb.toolsVersion = "${given.toolsVersion}"\n`,
  ].join('')
}
