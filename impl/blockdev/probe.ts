/**
 * Which format an image has that nobody named: the driver that is surest of its first bytes. What no format knows is raw.
 *
 * What may fail: reading, as BlockError with QEMU's text.
 */
import { BlockError, type BlockNode, Permission } from '../block'
import { temporaryParent } from '../block/drivers/qcow2/open'
import { assert, type Co, OK, strerror } from '../co'
import type { BlockdevDriver } from './driver'
import { DRIVERS, findDriver } from './registry'

const HEAD_BYTES = 2048

/** The format of the image in `file`. Throws BlockError. */
export function* probeFormat(file: BlockNode): Co<BlockdevDriver> {
  const raw = findDriver('raw')
  assert(raw !== null, 'raw-exists')
  if (file.lengthBytes === 0) return raw
  const head = new Uint8Array(Math.min(HEAD_BYTES, file.lengthBytes))
  const parent = temporaryParent('the probing of an image')
  const edge = file.graph.attach({
    name: 'root',
    parent,
    node: file,
    permission: Permission.ConsistentRead,
    shared: Permission.All,
  })
  const errno = yield* edge.pread(0, head)
  file.graph.detach(edge)
  if (errno !== OK) throw new BlockError(`Could not read image for determining its format: ${strerror(errno)}`, { errno })
  return formatOf(head, file.driver.filename() ?? '')
}

/** The format that bytes from the beginning of an image belong to; a name helps where nothing else does. */
export function formatOf(head: Uint8Array, filename = ''): BlockdevDriver {
  let best = findDriver('raw')!
  let bestScore = 0
  for (const driver of DRIVERS) {
    const score = driver.probe?.(head, filename) ?? 0
    if (score > bestScore) {
      best = driver
      bestScore = score
    }
  }
  return best
}
