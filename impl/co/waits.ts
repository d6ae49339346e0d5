/** The wait-for graph of the parked coroutines, for liveness reports: who waits for whom, and the cycle if there is one. */
import type { Coroutine } from './kernel'

/**
 * A shortest-first cycle in the wait-for graph of `coroutines`, as the list of its members, or null if there is none.
 * Only waits that name their holders take part. Linear in the number of edges.
 */
export function findWaitCycle(coroutines: Iterable<Coroutine>): Coroutine[] | null {
  const finished = new Set<Coroutine>()
  for (const start of coroutines) {
    const path: Coroutine[] = []
    const cycle = walk(start, path, finished)
    if (cycle !== null) return cycle
  }
  return null
}

function walk(coroutine: Coroutine, path: Coroutine[], finished: Set<Coroutine>): Coroutine[] | null {
  if (finished.has(coroutine)) return null
  const at = path.indexOf(coroutine)
  if (at >= 0) return path.slice(at)
  path.push(coroutine)
  for (const holder of coroutine.waitsFor?.heldBy?.() ?? []) {
    const cycle = walk(holder, path, finished)
    if (cycle !== null) return cycle
  }
  path.pop()
  finished.add(coroutine)
  return null
}
