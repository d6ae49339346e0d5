/** qemu-img map: which layer each part of an image comes from, and where it lies there. */
import { type BlockNode, StatusFlag } from '../../../block'
import { Qcow2Driver } from '../../../block/drivers/qcow2'
import { assert, type Co, strerror } from '../../../co'
import { filenameOf } from '../image_info'
import type { Tool } from '../tool'
import { type ImgCommand, longOptions, type OutputFormat, outputFormat, parseOptions, sizeArgument, usageError } from './command'

const LONG = longOptions('format=f:', 'image-opts', 'force-share=U', 'output:', 'start-offset=s:', 'max-length=l:')
const ASKED_MAX_BYTES = 2 ** 30

/** Formats whose data lies nowhere as it is only where it is compressed. */
const PACKING_FORMATS: readonly string[] = ['qcow', 'vmdk']

interface MapEntry {
  startBytes: number
  lengthBytes: number
  depth: number
  isPresent: boolean
  isZero: boolean
  isData: boolean
  isCompressed: boolean
  offsetBytes: number | null
  filename: string | null
}

/** The first layer that knows something about the start of a range. Throws ToolExit. */
function* entryAt(tool: Tool, top: BlockNode, startBytes: number, askedBytes: number): Co<MapEntry> {
  let node: BlockNode | null = top.skipFilters()
  let lengthBytes = askedBytes
  let flags: number = StatusFlag.None
  let depth = 0
  let map: { node: BlockNode | null; offsetBytes: number } = { node: null, offsetBytes: 0 }
  for (;;) {
    const status = yield* node.blockStatus('want-zero', startBytes, lengthBytes)
    if (status.errno !== 0) tool.fail(`Could not read file metadata: ${strerror(status.errno)}`)
    flags = status.flags
    // A layer that ends before the range leaves it to the next one.
    if (status.bytes > 0) lengthBytes = Math.min(lengthBytes, status.bytes)
    map = { node: status.mapNode, offsetBytes: status.mapOffsetBytes }
    if ((flags & (StatusFlag.Data | StatusFlag.Zero)) !== 0) break
    const below: BlockNode | null = node.backing?.node.skipFilters() ?? null
    if (below === null) {
      flags = StatusFlag.None
      break
    }
    node = below
    depth++
  }
  assert(lengthBytes > 0, 'map-progress')
  const hasOffset = (flags & StatusFlag.OffsetValid) !== 0
  const mayBeCompressed = (flags & StatusFlag.Data) !== 0 && !hasOffset
  const { driver } = node
  const isPacked = driver instanceof Qcow2Driver ? driver.isCompressed(startBytes) : PACKING_FORMATS.includes(driver.name)
  const isCompressed = mayBeCompressed && (typeof isPacked === 'boolean' ? isPacked : yield* isPacked)
  return {
    startBytes,
    lengthBytes,
    depth,
    isPresent: (flags & StatusFlag.Allocated) !== 0,
    isZero: (flags & StatusFlag.Zero) !== 0,
    isData: (flags & StatusFlag.Data) !== 0,
    isCompressed,
    offsetBytes: hasOffset ? map.offsetBytes : null,
    filename: hasOffset && map.node !== null ? filenameOf(tool.context, map.node) : null,
  }
}

function isSame(a: MapEntry, b: MapEntry): boolean {
  if (a.isPresent !== b.isPresent || a.isZero !== b.isZero || a.isData !== b.isData || a.depth !== b.depth) return false
  if (a.isCompressed !== b.isCompressed || a.filename !== b.filename) return false
  if ((a.offsetBytes === null) !== (b.offsetBytes === null)) return false
  return a.offsetBytes === null || a.offsetBytes + a.lengthBytes === b.offsetBytes
}

function hex(value: number): string {
  return (value === 0 ? '0' : `0x${value.toString(16)}`).padEnd(16)
}

/** Throws ToolExit where the table for people has no place for it. */
function humanLine(tool: Tool, entry: MapEntry): string {
  if (entry.isData && entry.offsetBytes === null) {
    tool.fail('File contains external, encrypted or compressed clusters.')
  }
  if (!entry.isData || entry.isZero) return ''
  return `${hex(entry.startBytes)}${hex(entry.lengthBytes)}${hex(entry.offsetBytes ?? 0)}${entry.filename ?? ''}\n`
}

function jsonLine(entry: MapEntry, isLast: boolean): string {
  const offset = entry.offsetBytes === null ? '' : `, "offset": ${entry.offsetBytes}`
  const { startBytes, lengthBytes, depth, isPresent, isZero, isData, isCompressed } = entry
  return (
    `{ "start": ${startBytes}, "length": ${lengthBytes}, "depth": ${depth}, "present": ${isPresent}, "zero": ${isZero}, ` +
    `"data": ${isData}, "compressed": ${isCompressed}${offset}}${isLast ? '' : ',\n'}`
  )
}

const NOTHING = { lengthBytes: 0, depth: 0, isPresent: false, isZero: false, isData: false, isCompressed: false } as const

function* run(tool: Tool, args: readonly string[]): Co<number> {
  let format: string | null = null
  let isOptions = false
  let forceShare = false
  let output: OutputFormat = 'human'
  let startBytes = 0
  let maxBytes: number | null = null
  const operands = parseOptions(tool, MAP, args, 'f:s:l:U', LONG, (key, value) => {
    if (key === 'f') format = value
    if (key === 'U') forceShare = true
    if (key === 'image-opts') isOptions = true
    if (key === 'output') output = outputFormat(tool, 'map', value)
    if (key === 's') startBytes = sizeArgument(tool, 'start offset', value)
    if (key === 'l') maxBytes = sizeArgument(tool, 'max length', value)
  })
  if (operands.length !== 1) usageError(tool, 'map', 'Expecting one image file name')
  const image = yield* tool.demandImage({ filename: operands[0]!, format, isOptions, forceShare })
  const isJson = (output as OutputFormat) === 'json'
  if (isJson) tool.print('[')
  else tool.print(`${'Offset'.padEnd(16)}${'Length'.padEnd(16)}${'Mapped to'.padEnd(16)}File\n`)
  const endBytes = Math.min(image.backend.lengthBytes, maxBytes === null ? Number.MAX_SAFE_INTEGER : startBytes + maxBytes)
  let current: MapEntry = { ...NOTHING, startBytes, offsetBytes: null, filename: null }
  for (let at = startBytes; at < endBytes; ) {
    const next = yield* entryAt(tool, image.node, at, Math.min(ASKED_MAX_BYTES, endBytes - at))
    at += next.lengthBytes
    if (current.lengthBytes > 0 && isSame(current, next)) {
      current.lengthBytes += next.lengthBytes
      continue
    }
    if (current.lengthBytes > 0) tool.print(isJson ? jsonLine(current, false) : humanLine(tool, current))
    current = next
  }
  tool.print(isJson ? `${jsonLine(current, true)}]\n` : humanLine(tool, current))
  yield* tool.close(image)
  return 0
}

export const MAP: ImgCommand = {
  name: 'map',
  summary: 'Shows where the parts of an image lie.',
  usage: '[-f FMT | --image-opts] [-s OFFSET] [-l LENGTH] [-U] [--output human|json]\n        [--object OBJDEF] FILE',
  run,
}
