/** read, readv, aio_read: data into a buffer, compared with a pattern, printed, or only timed. */
import { type Co, EINVAL, type Errno, OK } from '../co'
import { parsePattern, parseQuantity } from './quantity'
import { type IoCommand, IoComplaint, type IoSession } from './session'
import {
  counted,
  demandSectors,
  lengthOperand,
  READ_FILL,
  readRequest,
  tellFailure,
  tellResult,
  vectorOperands,
  verify,
} from './transfer'
import { loadVmState } from './vm_state'

const MANY = Number.POSITIVE_INFINITY

function* read(session: IoSession, args: readonly string[]): Co<Errno> {
  const given = new Set<string>()
  let byte: number | null = null
  let startBytes = 0
  let wantedBytes: number | null = null
  const operands = session.options('read', args, 'abCl:pP:qrs:v', (letter, value) => {
    given.add(letter)
    if (letter === 'l') wantedBytes = parseQuantity(value)
    if (letter === 'P') byte = parsePattern(value)
    if (letter === 's') startBytes = parseQuantity(value)
  })
  if (operands.length !== 2) throw session.usage('read')
  const offsetBytes = parseQuantity(operands[0]!)
  const countBytes = lengthOperand(operands[1]!)
  if (byte === null && (given.has('l') || given.has('s'))) throw session.usage('read')
  const lengthBytes = wantedBytes ?? countBytes - startBytes
  if (lengthBytes < 0 || startBytes + lengthBytes > countBytes) {
    throw new IoComplaint('pattern verification range exceeds end of read data')
  }
  if (given.has('b')) demandSectors(offsetBytes, countBytes)
  const buffer = new Uint8Array(countBytes).fill(READ_FILL)
  const startNs = session.host.nowNs()
  const { disk } = session
  const errno = given.has('b') ? yield* loadVmState(disk, offsetBytes, buffer) : yield* readRequest(disk, offsetBytes, buffer)
  const endNs = session.host.nowNs()
  session.deliver()
  if (errno !== OK) return tellFailure(session, 'read', errno)
  const verdict = byte === null ? OK : verify(session, offsetBytes, buffer, { byte, startBytes, lengthBytes })
  tellResult(session, { verb: 'read', offsetBytes, lengthBytes: countBytes, startNs, endNs, given, buffer })
  return verdict
}

interface VectorRead {
  given: ReadonlySet<string>
  byte: number | null
  offsetBytes: number
  buffer: Uint8Array
}

function parseVector(session: IoSession, name: string, args: readonly string[], letters: string): VectorRead | null {
  const given = new Set<string>()
  let byte: number | null = null
  const operands = session.options(name, args, letters, (letter, value) => {
    given.add(letter)
    if (letter === 'P') byte = parsePattern(value)
  })
  if (given.has('i')) {
    session.host.out('injecting invalid read request\n')
    session.disk.accounting?.invalid('read')
    return null
  }
  if (operands.length < 2) throw session.usage(name)
  const offsetBytes = parseQuantity(operands[0]!)
  const buffer = new Uint8Array(vectorOperands(operands.slice(1))).fill(READ_FILL)
  return { given, byte, offsetBytes, buffer }
}

function finishVector(
  session: IoSession,
  { given, byte, offsetBytes, buffer }: VectorRead,
  startNs: number,
  endNs: number,
): Errno {
  const lengthBytes = buffer.length
  const verdict = byte === null ? OK : verify(session, offsetBytes, buffer, { byte, startBytes: 0, lengthBytes })
  tellResult(session, { verb: 'read', offsetBytes, lengthBytes, startNs, endNs, given, buffer })
  return verdict
}

function* readv(session: IoSession, args: readonly string[]): Co<Errno> {
  const wanted = parseVector(session, 'readv', args, 'CP:qrv')
  if (wanted === null) return EINVAL
  const startNs = session.host.nowNs()
  const errno = yield* readRequest(session.disk, wanted.offsetBytes, wanted.buffer)
  const endNs = session.host.nowNs()
  session.deliver()
  return errno === OK ? finishVector(session, wanted, startNs, endNs) : tellFailure(session, 'readv', errno)
}

function* aioRead(session: IoSession, args: readonly string[]): Co<Errno> {
  const wanted = parseVector(session, 'aio_read', args, 'CP:iqrv')
  if (wanted === null) return OK
  const startNs = session.host.nowNs()
  const request = readRequest(session.disk, wanted.offsetBytes, wanted.buffer)
  yield* session.start(counted(session, 'read', wanted.buffer.length, request), (errno) => {
    if (errno === OK) finishVector(session, wanted, startNs, session.host.nowNs())
    else tellFailure(session, 'readv', errno)
  })
  return OK
}

const PATTERN_HELP = ` -P, -- expect this byte everywhere
 -q, -- print no result
 -r, -- register the buffer, which changes nothing here
 -v, -- print the bytes
 -C, -- print the result as numbers only
`

export const READ_COMMANDS: readonly IoCommand[] = [
  {
    name: 'read',
    short: 'r',
    usage: '[-abCqrv] [-P pattern [-s off] [-l len]] off len',
    summary: 'reads a number of bytes at a specified offset',
    help: `
 Reads a range of the open image.

 'read -v 512 1k' prints the second and third sector
 -b, -- read the state of a virtual machine, not the disk
 -l, -- how many bytes have the pattern (with -P)
 -s, -- where the pattern begins (with -P)
 -p, -- accepted, without effect
${PATTERN_HELP}`,
    wordsMin: 2,
    wordsMax: MANY,
    run: read,
  },
  {
    name: 'readv',
    usage: '[-Cqrv] [-P pattern] off len [len..]',
    summary: 'reads a number of bytes at a specified offset',
    help: `
 Reads one range into as many buffers as there are lengths.

 'readv -v 512 1k 1k' prints 2 KiB from the second sector on
${PATTERN_HELP}`,
    wordsMin: 2,
    wordsMax: MANY,
    run: readv,
  },
  {
    name: 'aio_read',
    usage: '[-Ciqrv] [-P pattern] off len [len..]',
    summary: 'asynchronously reads a number of bytes',
    help: `
 Starts a read and goes on; its result is told when it is there. aio_flush waits for all of them.
 This command has succeeded when the read has been started, whatever becomes of it.

 -i, -- count an invalid request, and make none
${PATTERN_HELP}`,
    wordsMin: 2,
    wordsMax: MANY,
    run: aioRead,
  },
]
