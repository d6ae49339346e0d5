/** The command `reopen` of qemu-io: other options for an image that is open. */
import { BlockError, Permission } from '../../block'
import { Options } from '../../blockdev'
import { type Co, EINVAL, ENOMEDIUM, type Errno, OK, strerror } from '../../co'
import type { IoCommand, IoSession } from '../../io'
import { type CacheMode, parseCacheMode, type Tool } from './tool'

interface Wanted {
  isWritable: boolean | null
  cache: CacheMode | null
  options: Options
}

function parse(tool: Tool, session: IoSession, args: readonly string[]): Wanted | null {
  const wanted: Wanted = { isWritable: null, cache: null, options: new Options() }
  let complaint: string | null = null
  const operands = session.options('reopen', args, 'c:o:rw', (letter, value) => {
    if (complaint !== null) return
    if (letter === 'c') {
      wanted.cache = parseCacheMode(value)
      if (wanted.cache === null) complaint = `Invalid cache option: ${value}`
    } else if (letter === 'o') wanted.options.join(tool.imageOptions(value))
    else if (wanted.isWritable !== null) complaint = 'Only one -r/-w option may be given'
    else wanted.isWritable = letter === 'w'
  })
  if (complaint !== null) {
    session.host.report(complaint)
    return null
  }
  if (operands.length > 0) throw session.usage('reopen')
  return wanted
}

function* run(tool: Tool, session: IoSession, args: readonly string[]): Co<Errno> {
  const wanted = parse(tool, session, args)
  if (wanted === null) return EINVAL
  const { disk } = session
  const node = disk.root?.node
  if (node === undefined) throw new BlockError(strerror(ENOMEDIUM))
  if (wanted.isWritable !== null && wanted.options.has('read-only')) {
    throw new BlockError("Cannot set both -r/-w and 'read-only'")
  }
  const writable = wanted.options.takeFlag('read-only')
  const isWritable = writable === undefined ? wanted.isWritable : !writable
  const left = wanted.options.firstLeft()
  if (left !== null) throw new BlockError(`Cannot change the option '${left}'`)
  yield* session.settle()
  if (isWritable === null || isWritable === !node.options.readOnly) return OK
  const { permission, shared } = disk.root!
  if (!isWritable) disk.setPermissions(permission & ~(Permission.Write | Permission.Resize), Permission.All)
  yield* tool.graph.drainedBegin(node)
  try {
    yield* tool.graph.setReadOnly(node, !isWritable)
  } finally {
    tool.graph.drainedEnd(node)
  }
  if (isWritable) {
    disk.setPermissions(permission | Permission.Write, shared & ~Permission.Write)
  }
  return OK
}

export function reopenCommand(tool: Tool): IoCommand {
  return {
    name: 'reopen',
    usage: '[(-r|-w)] [-c cache] [-o options]',
    summary: 'reopens an image with new options',
    help: `
 Changes how the open image is used.

 'reopen -r' makes it read-only
 -r, -- for reading only
 -w, -- for reading and writing
 -c, -- cache mode
 -o, -- options of the block drivers
`,
    wordsMin: 0,
    wordsMax: Number.POSITIVE_INFINITY,
    run: (session, args) => run(tool, session, args),
  }
}
