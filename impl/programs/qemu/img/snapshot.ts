/** qemu-img snapshot: internal snapshots. */
import { BlockError } from '../../../block'
import { snapshotInfos } from '../../../blockdev'
import { type Co, ENOENT, ENOTSUP, OK, strerror } from '../../../co'
import { snapshotLines } from '../image_info'
import type { OpenImage, Tool } from '../tool'
import { type ImgCommand, longOptions, parseOptions, usageError } from './command'

const LONG = longOptions('format=f:', 'image-opts', 'list=l', 'create=c:', 'apply=a:', 'delete=d:', 'force-share=U', 'quiet=q')
const NS_PER_S = 1_000_000_000n

interface Action {
  verb: 'list' | 'create' | 'apply' | 'delete'
  name: string
}

function* create(tool: Tool, image: OpenImage, name: string): Co<number> {
  const now = BigInt(Date.now()) * 1_000_000n
  const errno = yield* image.node.driver.snapshotCreate({
    name,
    dateSeconds: Number(now / NS_PER_S),
    dateNanoseconds: Number(now % NS_PER_S),
    vmClockNs: 0n,
    vmStateBytes: 0,
    icount: 0n,
  })
  if (errno === OK) return 0
  tool.complain(`Could not create snapshot '${name}': -${errno} (${strerror(errno)})`)
  return 1
}

function* apply(tool: Tool, image: OpenImage, name: string): Co<number> {
  const failed = (why: string): number => {
    tool.complain(`Could not apply snapshot '${name}': ${why}`)
    return 1
  }
  try {
    const errno = yield* image.node.driver.snapshotApply(name)
    if (errno === OK) return 0
    if (errno === ENOTSUP) return failed('Block driver does not support snapshots')
    return failed(`Failed to load snapshot: ${strerror(errno)}`)
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
    return failed(error.errno === ENOENT ? `Failed to load snapshot: ${strerror(ENOENT)}` : error.message)
  }
}

function* remove(tool: Tool, image: OpenImage, name: string): Co<number> {
  const { driver } = image.node
  const list = driver.snapshots() ?? []
  const found = list.find(({ id }) => id === name) ?? list.find((snapshot) => snapshot.name === name)
  if (found === undefined) {
    tool.complain(`Could not delete snapshot '${name}': snapshot not found`)
    return 1
  }
  try {
    const errno = yield* driver.snapshotDelete(found.id, found.name)
    if (errno === OK) return 0
    tool.complain(`Could not delete snapshot '${name}': ${strerror(errno)}`)
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
    tool.complainOf(error, `Could not delete snapshot '${name}': `)
  }
  return 1
}

function* perform(tool: Tool, image: OpenImage, action: Action): Co<number> {
  if (action.verb === 'create') return yield* create(tool, image, action.name)
  if (action.verb === 'apply') return yield* apply(tool, image, action.name)
  if (action.verb === 'delete') return yield* remove(tool, image, action.name)
  const members = snapshotInfos(image.node)
  if (members.length > 0) tool.print(snapshotLines(members))
  return 0
}

function* run(tool: Tool, args: readonly string[]): Co<number> {
  let format: string | null = null
  let isOptions = false
  let forceShare = false
  let action: Action | null = null
  const choose = (verb: Action['verb'], name: string): void => {
    if (action !== null) usageError(tool, 'snapshot', "Cannot mix '-l', '-a', '-c', '-d'")
    action = { verb, name }
  }
  const operands = parseOptions(tool, SNAPSHOT, args, 'f:la:c:d:qU', LONG, (key, value) => {
    if (key === 'f') format = value
    if (key === 'U') forceShare = true
    if (key === 'image-opts') isOptions = true
    if (key === 'l') choose('list', '')
    if (key === 'a') choose('apply', value)
    if (key === 'c') choose('create', value)
    if (key === 'd') choose('delete', value)
  })
  if (operands.length !== 1) usageError(tool, 'snapshot', 'Expecting one image file name')
  const chosen: Action = action ?? { verb: 'list', name: '' }
  const isWritable = chosen.verb !== 'list'
  const image = yield* tool.demandImage({
    ...{ filename: operands[0]!, format, isOptions, forceShare, isWritable },
    // Taking a disk back may change its length.
    mayResize: isWritable,
  })
  const code = yield* perform(tool, image, chosen)
  return yield* tool.closeWith(image, code)
}

export const SNAPSHOT: ImgCommand = {
  name: 'snapshot',
  summary: 'Lists, makes, applies or deletes internal snapshots.',
  usage: '[-f FMT | --image-opts] [-l | -a|-c|-d SNAPSHOT] [-U] [-q]\n        [--object OBJDEF] FILE',
  run,
}
