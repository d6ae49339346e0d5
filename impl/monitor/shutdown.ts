/**
 * The end of a program: exports go, jobs are cancelled, nodes are closed.
 *
 * What may fail: requests that never end, which hold the jobs and exports that wait for them. Nothing here waits longer than
 * its bound; what is left then is named.
 */
import type { BlockNode } from '../block'
import { flushNode } from '../block/io_flush'
import { closeAll } from '../blockdev'
import type { Co } from '../co'
import type { QmpEnvironment } from './environment'

/** Long enough for a disk that writes back all that a machine has in memory for it. */
export const END_BOUND_NS = 60_000_000_000

/** Ends all exports and all jobs, and waits for them. Gives what has not ended within `boundNs`, in words. */
export function* endActivity(environment: QmpEnvironment, boundNs = END_BOUND_NS): Co<readonly string[]> {
  const { exports, jobs, kernel } = environment
  if (environment.stuck.length > 0) return environment.stuck
  if (!exports.isServing && jobs.jobs.size === 0) return []
  const ending = kernel.spawn(endAll(environment))
  if (yield* kernel.joinUntil(ending, kernel.nowNs() + boundNs)) return []
  const left = [...[...jobs.jobs.keys()].map((id) => `job '${id}'`), ...exports.query().map(({ id }) => `export '${id}'`)]
  environment.stuck = left.length > 0 ? left : ['the NBD server']
  return environment.stuck
}

function* endAll({ exports, jobs }: QmpEnvironment): Co<void> {
  yield* exports.close()
  for (;;) {
    for (const job of [...jobs.jobs.values()]) {
      if (job.status === 'concluded') job.dismiss()
      else if (!job.isCancelRequested && job.status !== 'aborting') job.cancel(true)
    }
    if (jobs.jobs.size === 0) return
    yield* jobs.changed.wait({ describe: () => `waits for the end of ${[...jobs.jobs.keys()].join(', ')}` })
  }
}

/** Closes everything that is open; nothing is active any more. False: it takes longer than `boundNs`. */
export function* closeNodes(environment: QmpEnvironment, boundNs = END_BOUND_NS): Co<boolean> {
  const { kernel } = environment
  return yield* kernel.joinUntil(kernel.spawn(closeEach(environment)), kernel.nowNs() + boundNs)
}

function* closeEach({ context, graph }: QmpEnvironment): Co<void> {
  for (const backend of [...graph.backends.values()]) {
    const node = backend.root?.node ?? null
    if (node !== null && !node.options.readOnly) yield* backend.flush()
    backend.dispose()
    if (node !== null) yield* graph.release(node)
  }
  yield* closeAll(context)
}

/** Where something does not end nothing can be closed, but what images hold back can be written. Gives up after `boundNs`. */
export function* flushNodes({ kernel, graph }: QmpEnvironment, boundNs: number): Co<void> {
  const endNs = kernel.nowNs() + boundNs
  const flushes = [...graph.nodes.values()].filter((node) => !node.options.readOnly).map((node) => kernel.spawn(flushOne(node)))
  for (const each of flushes) yield* kernel.joinUntil(each, endNs)
}
function* flushOne(node: BlockNode): Co<void> {
  yield* flushNode(node)
}
