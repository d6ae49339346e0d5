/** write, writev, aio_write, discard: data, zeroes or nothing over a range. */
import { Permission } from '../block'
import { type Co, EINVAL, type Errno, OK } from '../co'
import { parsePattern, parseQuantity } from './quantity'
import { type IoCommand, IoComplaint, type IoSession } from './session'
import {
  canBeOnDisk,
  counted,
  demandSectors,
  lengthOperand,
  outOfReach,
  sourceBytes,
  tellFailure,
  tellResult,
  vectorOperands,
  WRITE_FILL,
  writeRequest,
  zeroFlags,
} from './transfer'
import { saveVmState } from './vm_state'

const MANY = Number.POSITIVE_INFINITY

interface Letters {
  given: Set<string>
  byte: number
  source: string | null
  operands: string[]
}

function parseLetters(session: IoSession, name: string, args: readonly string[], letters: string): Letters {
  const parsed: Letters = { given: new Set(), byte: WRITE_FILL, source: null, operands: [] }
  parsed.operands = session.options(name, args, letters, (letter, value) => {
    parsed.given.add(letter)
    if (letter === 'P') parsed.byte = parsePattern(value)
    if (letter === 's') parsed.source = value
  })
  return parsed
}

/** Throws IoComplaint for letters that exclude each other. */
function checkWrite(given: ReadonlySet<string>): void {
  const refuse = (condition: boolean, text: string): void => {
    if (condition) throw new IoComplaint(text)
  }
  refuse(given.has('b') && given.has('z'), '-b and -z cannot be specified at the same time')
  refuse(given.has('f') && (given.has('b') || given.has('c')), '-f and -b or -c cannot be specified at the same time')
  refuse(given.has('n') && !given.has('z'), '-n requires -z to be specified')
  refuse(given.has('u') && !given.has('z'), '-u requires -z to be specified')
  refuse(given.has('r') && given.has('z'), 'cannot combine zero write with registered I/O buffer')
  const contents = Number(given.has('z')) + Number(given.has('P')) + Number(given.has('s'))
  refuse(contents > 1, 'Only one of -z, -P, and -s can be specified at the same time')
}

function* write(session: IoSession, args: readonly string[]): Co<Errno> {
  const { given, byte, source, operands } = parseLetters(session, 'write', args, 'bcCfnpP:qrs:uz')
  if (operands.length !== 2) throw session.usage('write')
  checkWrite(given)
  const offsetBytes = parseQuantity(operands[0]!)
  const lengthBytes = lengthOperand(operands[1]!)
  if (given.has('b') || given.has('c')) demandSectors(offsetBytes, lengthBytes)
  let data: Uint8Array | number = lengthBytes
  if (!given.has('z')) {
    const bytes = source === null ? new Uint8Array(lengthBytes).fill(byte) : yield* sourceBytes(session, source, lengthBytes)
    if (bytes === null) return EINVAL
    data = bytes
  }
  const startNs = session.host.nowNs()
  const { disk } = session
  const errno =
    given.has('b') && typeof data !== 'number'
      ? yield* saveVmState(disk, offsetBytes, data)
      : yield* writeRequest(disk, offsetBytes, data, zeroFlags(given))
  const endNs = session.host.nowNs()
  session.deliver()
  if (errno !== OK) return tellFailure(session, 'write', errno)
  tellResult(session, { verb: 'wrote', offsetBytes, lengthBytes, startNs, endNs, given })
  return OK
}

function* writev(session: IoSession, args: readonly string[]): Co<Errno> {
  const { given, byte, operands } = parseLetters(session, 'writev', args, 'CfqrP:')
  if (operands.length < 2) throw session.usage('writev')
  const offsetBytes = parseQuantity(operands[0]!)
  const lengthBytes = vectorOperands(operands.slice(1))
  const data = new Uint8Array(lengthBytes).fill(byte)
  const startNs = session.host.nowNs()
  const errno = yield* writeRequest(session.disk, offsetBytes, data, zeroFlags(given))
  const endNs = session.host.nowNs()
  session.deliver()
  if (errno !== OK) return tellFailure(session, 'writev', errno)
  tellResult(session, { verb: 'wrote', offsetBytes, lengthBytes, startNs, endNs, given })
  return OK
}

function* aioWrite(session: IoSession, args: readonly string[]): Co<Errno> {
  const { given, byte, operands } = parseLetters(session, 'aio_write', args, 'CfiP:qruz')
  if (given.has('i')) {
    session.host.out('injecting invalid write request\n')
    session.disk.accounting?.invalid('write')
    return OK
  }
  if (operands.length < 2) throw session.usage('aio_write')
  if (given.has('z') && operands.length !== 2) throw new IoComplaint('-z supports only a single length parameter')
  if (given.has('u') && !given.has('z')) throw new IoComplaint('-u requires -z to be specified')
  const offsetBytes = parseQuantity(operands[0]!)
  const lengthBytes = given.has('z') ? parseQuantity(operands[1]!) : vectorOperands(operands.slice(1))
  const data = given.has('z') ? lengthBytes : new Uint8Array(lengthBytes).fill(byte)
  const startNs = session.host.nowNs()
  const request = writeRequest(session.disk, offsetBytes, data, zeroFlags(given))
  // QEMU counts no zero writes here.
  yield* session.start(given.has('z') ? request : counted(session, 'write', lengthBytes, request), (errno) => {
    const endNs = session.host.nowNs()
    if (errno !== OK) tellFailure(session, 'aio_write', errno)
    else tellResult(session, { verb: 'wrote', offsetBytes, lengthBytes, startNs, endNs, given })
  })
  return OK
}

function* discard(session: IoSession, args: readonly string[]): Co<Errno> {
  const { given, operands } = parseLetters(session, 'discard', args, 'Cq')
  if (operands.length !== 2) throw session.usage('discard')
  const offsetBytes = parseQuantity(operands[0]!)
  const lengthBytes = lengthOperand(operands[1]!)
  const startNs = session.host.nowNs()
  const { disk } = session
  const errno = yield* canBeOnDisk(offsetBytes, lengthBytes) ? disk.pdiscard(offsetBytes, lengthBytes) : outOfReach()
  const endNs = session.host.nowNs()
  session.deliver()
  if (errno !== OK) return tellFailure(session, 'discard', errno)
  tellResult(session, { verb: 'discard', offsetBytes, lengthBytes, startNs, endNs, given })
  return OK
}

const COMMON_HELP = ` -P, -- write this byte, not 0xcd
 -f, -- the data must be durable before the command ends
 -q, -- print no result
 -r, -- register the buffer, which changes nothing here
 -C, -- print the result as numbers only
`

export const WRITE_COMMANDS: readonly IoCommand[] = [
  {
    name: 'write',
    short: 'w',
    usage: '[-bcCfnqruz] [-P pattern | -s source_file] off len',
    summary: 'writes a number of bytes at a specified offset',
    help: `
 Writes a range of the open image.

 'write -P 7 512 1k' fills the second and third sector with sevens
 -b, -- write the state of a virtual machine, not the disk
 -c, -- store whole clusters compressed
 -s, -- write what this file holds, over and over
 -z, -- write zeroes, without a buffer
 -u, -- with -z, the space may be given back
 -n, -- with -z, fail rather than write zeroes as data
 -p, -- accepted, without effect
${COMMON_HELP}`,
    wordsMin: 2,
    wordsMax: MANY,
    permission: Permission.Write,
    run: write,
  },
  {
    name: 'writev',
    usage: '[-Cfqr] [-P pattern] off len [len..]',
    summary: 'writes a number of bytes at a specified offset',
    help: `
 Writes one range from as many buffers as there are lengths.

 'writev 512 1k 1k' writes 2 KiB from the second sector on
${COMMON_HELP}`,
    wordsMin: 2,
    wordsMax: MANY,
    permission: Permission.Write,
    run: writev,
  },
  {
    name: 'aio_write',
    usage: '[-Cfiqruz] [-P pattern] off len [len..]',
    summary: 'asynchronously writes a number of bytes',
    help: `
 Starts a write and goes on; its result is told when it is there. aio_flush waits for all of them.
 This command has succeeded when the write has been started, whatever becomes of it.

 -i, -- count an invalid request, and make none
 -z, -- write zeroes, without a buffer
 -u, -- with -z, the space may be given back
${COMMON_HELP}`,
    wordsMin: 2,
    wordsMax: MANY,
    permission: Permission.Write,
    run: aioWrite,
  },
  {
    name: 'discard',
    short: 'd',
    usage: '[-Cq] off len',
    summary: 'discards a number of bytes at a specified offset',
    help: `
 Tells the image that nobody needs what a range holds.

 'discard 512 1k' gives the second and third sector up
 -q, -- print no result
 -C, -- print the result as numbers only
`,
    wordsMin: 2,
    wordsMax: MANY,
    permission: Permission.Write,
    run: discard,
  },
]
