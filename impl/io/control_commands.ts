/** break, resume, wait_break: requests that stop at named points (blkdebug); sleep, sigraise, abort, help, zones. */
import { BlockError } from '../block'
import { findBlkdebug } from '../block/drivers/blkdebug'
import { type Co, EINVAL, ENOTSUP, type Errno, OK, strerror } from '../co'
import { type IoCommand, IoComplaint, type IoSession, oneLine } from './session'

const NS_PER_MS = 1_000_000
const POLL_NS = 200_000
const SIGABRT = 6

function debuggerOf(session: IoSession): ReturnType<typeof findBlkdebug> {
  const node = session.disk.root?.node
  return node === undefined ? null : findBlkdebug(node)
}

function* setBreak(session: IoSession, [event = '', tag = '']: readonly string[]): Co<Errno> {
  const blkdebug = debuggerOf(session)
  if (blkdebug === null) throw new IoComplaint(`Could not set breakpoint: ${strerror(ENOTSUP)}`)
  try {
    blkdebug.addBreakpoint(event, tag)
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
    throw new IoComplaint('Could not set breakpoint: No such file or directory')
  }
  return OK
}

function* removeBreak(session: IoSession, [tag = '']: readonly string[]): Co<Errno> {
  const errno = debuggerOf(session)?.removeBreakpoint(tag) ?? ENOTSUP
  if (errno !== OK) throw new IoComplaint(`Could not remove breakpoint ${tag}: ${strerror(errno)}`)
  yield* session.kernel.sleepNs(0)
  return OK
}

function* resume(session: IoSession, [tag = '']: readonly string[]): Co<Errno> {
  const errno = debuggerOf(session)?.resume(tag) ?? ENOTSUP
  if (errno !== OK) throw new IoComplaint(`Could not resume request: ${strerror(errno)}`)
  yield* session.kernel.sleepNs(0)
  return OK
}

function* waitBreak(session: IoSession, [tag = '']: readonly string[]): Co<Errno> {
  const blkdebug = debuggerOf(session)
  // Without a debugger no request will ever stop.
  while (blkdebug === null || !blkdebug.isSuspended(tag)) yield* session.kernel.sleepNs(POLL_NS)
  session.deliver()
  return OK
}

function* sleep(session: IoSession, [text = '']: readonly string[]): Co<Errno> {
  if (!/^\s*[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)$/.test(text)) throw new IoComplaint(`${text} is not a valid number`)
  const durationMs = Math.min(Math.max(0, Number(text)), 2 ** 31)
  yield* session.kernel.sleepNs(durationMs * NS_PER_MS)
  session.deliver()
  return OK
}

function* raise(session: IoSession, [text = '']: readonly string[]): Co<Errno> {
  const { host } = session
  const match = /^([+-]?)(0[xX][0-9a-fA-F]+|[0-9]+)$/.exec(text)
  if (match === null) {
    throw new IoComplaint(`Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- ${text}`)
  }
  if (host.raise === undefined) throw new IoComplaint('signals are not supported here')
  host.raise(Number(match[2]))
  return OK
}

function* abort(session: IoSession): Co<Errno> {
  if (session.host.raise === undefined) throw new IoComplaint('signals are not supported here')
  session.host.raise(SIGABRT)
  return OK
}

function* help(session: IoSession, [name]: readonly string[]): Co<Errno> {
  const { host } = session
  if (name === undefined) {
    const all = [...session.commands.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
    for (const command of all) host.out(`${oneLine(command)}\n`)
    host.out("\nUse 'help commandname' for extended help.\n")
    return OK
  }
  const command = session.find(name)
  if (command === null) {
    host.out(`command ${name} not found\n`)
    return EINVAL
  }
  host.out(`${oneLine(command)}\n`)
  if (command.help !== undefined) host.out(`${command.help}\n`)
  return OK
}

/** Zoned disks are none of ours: the commands say so. */
function zoneCommand(verb: string, short: string, usage: string, summary: string, words: number): IoCommand {
  return {
    name: `zone_${verb}`,
    short,
    usage,
    summary,
    wordsMin: words,
    wordsMax: words,
    *run() {
      throw new IoComplaint(`zone ${verb} failed: ${strerror(ENOTSUP)}`)
    },
  }
}

export const CONTROL_COMMANDS: readonly IoCommand[] = [
  { name: 'abort', summary: 'simulate a program crash using abort(3)', wordsMin: 0, wordsMax: 0, runsClosed: true, run: abort },
  {
    name: 'break',
    usage: 'event tag',
    summary: 'sets a breakpoint on event and tags the stopped request as tag',
    wordsMin: 2,
    wordsMax: 2,
    run: setBreak,
  },
  { name: 'remove_break', usage: 'tag', summary: 'remove a breakpoint by tag', wordsMin: 1, wordsMax: 1, run: removeBreak },
  { name: 'resume', usage: 'tag', summary: 'resumes the request tagged as tag', wordsMin: 1, wordsMax: 1, run: resume },
  {
    name: 'wait_break',
    usage: 'tag',
    summary: 'waits for the suspension of a request',
    wordsMin: 1,
    wordsMax: 1,
    run: waitBreak,
  },
  {
    name: 'sleep',
    summary: 'waits for the given value in milliseconds',
    wordsMin: 1,
    wordsMax: 1,
    runsClosed: true,
    run: sleep,
  },
  {
    name: 'sigraise',
    usage: 'signal',
    summary: 'raises a signal',
    help: `
 Sends a signal to the program itself.

 'sigraise 15' raises SIGTERM
`,
    wordsMin: 1,
    wordsMax: 1,
    runsClosed: true,
    run: raise,
  },
  {
    name: 'help',
    short: '?',
    usage: '[command]',
    summary: 'help for one or all commands',
    wordsMin: 0,
    wordsMax: 1,
    runsClosed: true,
    run: help,
  },
  zoneCommand('report', 'zrp', 'offset number', 'report zone information', 2),
  zoneCommand('open', 'zo', 'offset len', 'explicit open a range of zones in zone block device', 2),
  zoneCommand('close', 'zc', 'offset len', 'close a range of zones in zone block device', 2),
  zoneCommand('finish', 'zf', 'offset len', 'finish a range of zones in zone block device', 2),
  zoneCommand('reset', 'zrs', 'offset len', 'reset a zone write pointer in zone block device', 2),
  zoneCommand('append', 'zap', 'offset len [len..]', 'append write a number of bytes at a specified offset', 2),
]
