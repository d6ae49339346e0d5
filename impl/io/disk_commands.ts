/** flush, aio_flush, length, truncate, info, alloc, map: the disk as a whole, and where it holds data. */
import { BlockError, Permission, type PreallocationMode, StatusFlag } from '../block'
import { type Co, ENOMEDIUM, ENOTSUP, type Errno, OK, strerror } from '../co'
import { amountText, parseQuantity } from './quantity'
import { type IoCommand, IoComplaint, type IoSession } from './session'

const SECTOR_BYTES = 512
const PREALLOCATIONS: readonly PreallocationMode[] = ['off', 'metadata', 'falloc', 'full']

/** Throws BlockError with QEMU's text. */
export function parsePreallocation(text: string): PreallocationMode {
  const mode = PREALLOCATIONS.find((known) => known === text)
  if (mode === undefined) throw new BlockError(`Invalid preallocation mode '${text}'`)
  return mode
}

function* flush(session: IoSession): Co<Errno> {
  const errno = yield* session.disk.flush()
  session.deliver()
  return errno
}

function* aioFlush(session: IoSession): Co<Errno> {
  yield* session.settle()
  return OK
}

function* length(session: IoSession): Co<Errno> {
  if (session.disk.root === null) throw new IoComplaint(`getlength: ${strerror(ENOMEDIUM)}`)
  session.host.out(`${amountText(session.disk.lengthBytes)}\n`)
  return OK
}

function* truncate(session: IoSession, args: readonly string[]): Co<Errno> {
  let preallocation: PreallocationMode = 'off'
  const operands = session.options('truncate', args, 'm:', (_letter, value) => {
    preallocation = parsePreallocation(value)
  })
  if (operands.length !== 1) throw session.usage('truncate')
  const lengthBytes = parseQuantity(operands[0]!)
  const errno = yield* session.disk.truncate(lengthBytes, false, preallocation)
  session.deliver()
  if (errno !== OK) session.host.report(session.host.truncateText?.(session.disk, errno, preallocation) ?? strerror(errno))
  return errno
}

/** Those that have nothing to tell of themselves. */
const SILENT_DRIVERS: ReadonlySet<string> = new Set(['nbd', 'null-aio', 'null-co', 'quorum'])

function* info(session: IoSession): Co<Errno> {
  const { disk, host } = session
  const node = disk.root?.node
  if (node === undefined) throw new IoComplaint('No medium found')
  host.out(`format name: ${node.driver.name}\n`)
  if (SILENT_DRIVERS.has(node.skipFilters().driver.name)) return ENOTSUP
  const { clusterBytes } = node.driver.info()
  host.out(`cluster size: ${amountText(clusterBytes)}\n`)
  host.out(`vm state offset: ${amountText(host.vmStateOffset?.(disk) ?? 0)}\n`)
  host.out(host.specificInfo?.(disk) ?? '')
  return OK
}

interface Extent {
  errno: Errno
  isAllocated: boolean
  bytes: number
}

/** What the top layer says of the range's start, as far as it stays the same. */
function* extentAt(session: IoSession, offsetBytes: number, lengthBytes: number): Co<Extent> {
  const node = session.disk.root!.node.skipFilters()
  let isAllocated = false
  let doneBytes = 0
  while (doneBytes < lengthBytes) {
    const status = yield* node.blockStatus('allocation-only', offsetBytes + doneBytes, lengthBytes - doneBytes)
    if (status.errno !== OK) return { errno: status.errno, isAllocated, bytes: doneBytes }
    const isHere = (status.flags & StatusFlag.Allocated) !== 0
    if (doneBytes > 0 && isHere !== isAllocated) break
    isAllocated = isHere
    if (status.bytes === 0) break
    doneBytes += status.bytes
  }
  return { errno: OK, isAllocated, bytes: doneBytes }
}

function* alloc(session: IoSession, args: readonly string[]): Co<Errno> {
  const offsetBytes = parseQuantity(args[0]!)
  const askedBytes = args.length > 1 ? parseQuantity(args[1]!) : SECTOR_BYTES
  const { host, disk } = session
  if (disk.root === null) throw new IoComplaint(`getlength: ${strerror(ENOMEDIUM)}`)
  const endBytes = disk.lengthBytes
  if (offsetBytes > endBytes) throw new IoComplaint(`offset ${offsetBytes} is beyond the end of the file`)
  const countBytes = Math.min(askedBytes, endBytes - offsetBytes)
  let allocatedBytes = 0
  for (let at = offsetBytes; at < offsetBytes + countBytes; ) {
    const extent = yield* extentAt(session, at, offsetBytes + countBytes - at)
    if (extent.errno !== OK) throw new IoComplaint(`is_allocated failed: ${strerror(extent.errno)}`)
    if (extent.isAllocated) allocatedBytes += extent.bytes
    if (extent.bytes === 0) break
    at += extent.bytes
  }
  session.deliver()
  host.out(`${allocatedBytes}/${countBytes} bytes allocated at offset ${amountText(offsetBytes)}\n`)
  return OK
}

function* map(session: IoSession): Co<Errno> {
  const { host, disk } = session
  if (disk.root === null) throw new IoComplaint(`Failed to query image length: ${strerror(ENOMEDIUM)}`)
  const endBytes = disk.lengthBytes
  if (endBytes === 0) return OK
  for (let at = 0; at < endBytes; ) {
    const { errno, isAllocated, bytes } = yield* extentAt(session, at, endBytes - at)
    if (errno !== OK) throw new IoComplaint(`Failed to get allocation status: ${strerror(errno)}`)
    if (bytes === 0) throw new IoComplaint('Unexpected end of image')
    const word = isAllocated ? '    allocated' : 'not allocated'
    host.out(`${amountText(bytes)} (0x${bytes.toString(16)}) bytes ${word} at offset ${amountText(at)} (0x${at.toString(16)})\n`)
    at += bytes
  }
  session.deliver()
  return OK
}

export const DISK_COMMANDS: readonly IoCommand[] = [
  { name: 'flush', short: 'f', summary: 'flush all in-core file state to disk', wordsMin: 0, wordsMax: 0, run: flush },
  { name: 'aio_flush', summary: 'completes all outstanding aio requests', wordsMin: 0, wordsMax: 0, run: aioFlush },
  { name: 'length', short: 'l', summary: 'gets the length of the current file', wordsMin: 0, wordsMax: 0, run: length },
  {
    name: 'truncate',
    short: 't',
    usage: '[-m prealloc_mode] off',
    summary: 'truncates the current file at the given offset',
    wordsMin: 1,
    wordsMax: 3,
    permission: Permission.Write | Permission.Resize,
    run: truncate,
  },
  { name: 'info', short: 'i', summary: 'prints information about the current file', wordsMin: 0, wordsMax: 0, run: info },
  {
    name: 'alloc',
    short: 'a',
    usage: 'offset [count]',
    summary: 'checks if offset is allocated in the file',
    wordsMin: 1,
    wordsMax: 2,
    run: alloc,
  },
  { name: 'map', usage: '', summary: 'prints the allocated areas of a file', wordsMin: 0, wordsMax: 0, run: map },
]
