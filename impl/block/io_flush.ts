/**
 * Flush: everything that completed before it started is durable afterwards, at this node and in all children that it may
 * have written to. Flushes of one node run one after another; the one that waited finds most often that nothing has been
 * written since the other began, and sends none of its own.
 *
 * What may fail: the driver or a child; the generation counts as not flushed then, so the next flush tries again.
 */
import { assert, type Co, ENOMEDIUM, type Errno, OK } from '../co'
import { Permission } from './flags'
import type { BlockChild, BlockNode } from './node'

/** See `BlockChild.flush`. */
export function* flushThrough(child: BlockChild): Co<Errno> {
  const gate = child.gate
  if (gate !== null) {
    if (gate.isShut()) yield* gate.waitOpen()
    gate.inFlight++
  }
  const errno = child.isAttached ? yield* flushNode(child.node) : ENOMEDIUM
  if (gate !== null) gate.leave()
  return errno
}

/** Flushes a node on behalf of the block layer itself (Fua, closing). A read-only node has nothing to flush. */
export function* flushNode(node: BlockNode): Co<Errno> {
  if (node.options.readOnly || node.isInactive) return OK
  const generation = node.writeGeneration
  node.enter()
  while (node.isFlushing) {
    yield* node.flushQueue.wait({ describe: () => `waits for another flush of ${node.describe()}` })
  }
  assert(node.flushedGeneration <= node.writeGeneration, 'flush-generation')
  node.isFlushing = true
  const storage = node.filtered?.node ?? node.children.get('file')?.node
  if (storage?.hearsEvents === true) {
    yield* storage.debugEvent('flush_to_os')
    if (node.flushedGeneration < generation) yield* storage.debugEvent('flush_to_disk')
  }
  let errno = node.flushedGeneration < generation ? yield* node.driver.flush() : OK
  // A child may have been written to by others: each node knows for itself whether there is something to flush.
  for (const child of node.children.values()) {
    if ((child.permission & (Permission.Write | Permission.WriteUnchanged)) === 0 || !node.driver.flushes(child)) continue
    const childErrno = yield* flushNode(child.node)
    if (errno === OK) errno = childErrno
  }
  if (errno === OK && node.flushedGeneration < generation) node.flushedGeneration = generation
  node.isFlushing = false
  node.flushQueue.wakeOne()
  node.leave()
  return errno
}
