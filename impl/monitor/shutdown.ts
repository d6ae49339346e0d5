/** The end of a program: exports go, jobs are cancelled, nodes are closed. */
import { closeAll } from '../blockdev'
import type { Co } from '../co'
import type { QmpEnvironment } from './environment'

const POLL_NS = 1_000_000

/** Ends all exports and all jobs; waits for the jobs. */
export function* endActivity(environment: QmpEnvironment): Co<void> {
  const { exports, jobs, kernel } = environment
  yield* exports.close()
  for (;;) {
    const left = [...jobs.jobs.values()]
    for (const job of left) {
      if (job.status === 'concluded') job.dismiss()
      else if (!job.isCancelRequested && job.status !== 'aborting') job.cancel(true)
    }
    if (jobs.jobs.size === 0) return
    yield* kernel.sleepNs(POLL_NS)
  }
}

/** Closes everything that is open. */
export function* closeNodes({ context, graph }: QmpEnvironment): Co<void> {
  for (const backend of [...graph.backends.values()]) {
    const node = backend.root?.node ?? null
    if (node !== null && !node.options.readOnly) yield* backend.flush()
    backend.dispose()
    if (node !== null) yield* graph.release(node)
  }
  yield* closeAll(context)
}
