/** Starting a commit: everything is checked, the base becomes writable, the filter goes above the top layer. */
import { type BlockGraph, Permission } from '../../block'
import { assert, type Co } from '../../co'
import { holdLayers } from '../chain_hold'
import { JobHold } from '../hold'
import type { JobManager } from '../job_manager'
import type { MirrorJob } from '../mirror'
import { startActiveCommit } from './active'
import { CommitFilter } from './filter'
import { type CommitHoldings, CommitJob } from './job'
import { type CommitOptions, type CommitPlaces, checkCommit } from './options'

/** Starts committing. Throws BlockError, with the graph as it was, if that is not possible. */
export function* startCommit(graph: BlockGraph, jobs: JobManager, options: CommitOptions): Co<CommitJob | MirrorJob> {
  const { speedBytesPerSecond, jobId: id, autoFinalize, autoDismiss } = options
  const places = checkCommit(options)
  jobs.checkId(id)
  if (places.isActive) return yield* startActiveCommit(graph, jobs, options, places)
  const job = new CommitJob(jobs, { id, speedBytesPerSecond, autoFinalize, autoDismiss }, options)
  yield* graph.drainedBegin(places.base)
  yield* graph.drainedBegin(places.top)
  try {
    // Others may have come while the guests were being stopped.
    const now = checkCommit(options)
    jobs.checkId(id)
    assert(!now.isActive && now.base === places.base, 'commit-places-stay')
    job.settleDown(yield* insert(graph, options, job, places))
    jobs.add(job)
    job.start()
  } finally {
    graph.drainedEnd(places.top)
    graph.drainedEnd(places.base)
  }
  return job
}

function* insert(graph: BlockGraph, options: CommitOptions, job: CommitJob, places: CommitPlaces): Co<CommitHoldings> {
  const { base } = places
  const baseWasReadOnly = base.options.readOnly
  if (baseWasReadOnly) yield* graph.setReadOnly(base, false)
  try {
    return { ...(yield* insertFilter(graph, options, job, places)), baseWasReadOnly }
  } catch (error) {
    if (baseWasReadOnly) yield* graph.trySetReadOnly(base, true)
    throw error
  }
}

function* insertFilter(
  graph: BlockGraph,
  options: CommitOptions,
  job: CommitJob,
  { device, top, base }: CommitPlaces,
): Co<Omit<CommitHoldings, 'baseWasReadOnly'>> {
  const { filterNodeName: name } = options
  const filter = graph.addNode({
    ...(name === undefined ? {} : { name }),
    driver: new CommitFilter(),
    children: [{ name: 'backing', role: 'filtered', node: top }],
    options: { readOnly: true },
  })
  filter.isImplicit = name === undefined
  filter.neverFrozen = true
  const hold = new JobHold(job)
  let isFrozen = false
  try {
    graph.insertFilter(filter, top)
    const topEdge = holdLayers(hold, top, base)
    hold.block(device)
    graph.freezeChain(filter, base)
    isFrozen = true
    const resize = base.lengthBytes < top.lengthBytes ? Permission.Resize : Permission.None
    const shared = Permission.ConsistentRead | Permission.WriteUnchanged
    const baseEdge = hold.take('base', base, Permission.ConsistentRead | Permission.Write | resize, shared)
    return { filter, top, base, topEdge, baseEdge, hold }
  } catch (error) {
    if (isFrozen) graph.thawChain(filter, base)
    hold.giveAll()
    if (filter.parents.size > 0) graph.removeFilter(filter)
    yield* graph.removeNode(filter)
    throw error
  }
}
