/**
 * Drained sections. `quiesce` tells everybody above a node to stop, each parent once per edge however often the section
 * is nested; `waitDrained` waits until what had been started has ended. Requests that are in flight already may still
 * send new ones downwards: that is why the wait looks at the parents too, and why a quiesced node takes requests from
 * parents that have been told to stop.
 *
 * What never may happen: a count that goes below zero, an edge whose parent is told to stop twice or not at all, a wait
 * that nobody ends (whatever makes `isBusy` false calls `BlockGraph.drainProgress`).
 */
import { assert, type Co, type Coroutine } from '../co'
import type { BlockChild, BlockNode } from './node'

/** Stops `node`: no new requests from outside until the matching `unquiesce`. */
export function quiesce(node: BlockNode): void {
  assert(node.quiesceCount >= 0, 'quiesce-count', () => node.name)
  node.quiesceCount++
  if (node.quiesceCount > 1) return
  for (const edge of node.parents) settleEdge(edge)
  node.driver.drainBegin()
}

export function unquiesce(node: BlockNode): void {
  assert(node.quiesceCount > 0, 'quiesce-count', () => node.name)
  node.quiesceCount--
  if (node.quiesceCount > 0) return
  node.driver.drainEnd()
  for (const edge of node.parents) settleEdge(edge)
}

/** Tells the parent of one edge what its node's state asks for; also after the edge has moved to another node. */
export function settleEdge(edge: BlockChild): void {
  const wanted = edge.isAttached && edge.node.quiesceCount > 0
  if (edge.hasQuiescedParent === wanted) return
  edge.hasQuiescedParent = wanted
  if (wanted) edge.parent.drainBegin()
  else edge.parent.drainEnd()
}

/** True while something in flight at `node`, or above it, can still reach it. */
export function isBusy(node: BlockNode): boolean {
  if (node.inFlight > 0) return true
  for (const edge of node.parents) if (edge.parent.drainBusy()) return true
  return false
}

/** Parks until `node` is quiet. It must be quiesced, otherwise that may never come. */
export function* waitDrained(node: BlockNode): Co<void> {
  assert(node.quiesceCount > 0, 'drain-wait-quiesced', () => node.name)
  while (isBusy(node)) {
    yield* node.graph.drainQueue.wait({
      describe: () => `waits until ${node.describe()} is drained: ${busyNames(node).join(', ')}`,
      heldBy: () => busyOwners(node),
    })
  }
  assert(node.inFlight === 0, 'drained-idle', () => node.name)
}

function busyNames(node: BlockNode): string[] {
  const names = node.inFlight > 0 ? [`${node.inFlight} in flight at ${node.describe()}`] : []
  for (const { parent } of node.parents) {
    if (parent.node !== null) names.push(...busyNames(parent.node))
    else if (parent.drainBusy()) names.push(`${parent.describe()} is busy`)
  }
  return names
}

function* busyOwners(node: BlockNode): Iterable<Coroutine> {
  yield* node.requests.owners()
  for (const { parent } of node.parents) if (parent.node !== null) yield* busyOwners(parent.node)
}
