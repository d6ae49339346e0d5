/** Starting a mirror: everything is checked, then the filter goes into the graph, then the job starts. */
import { BlockBackend, type BlockGraph, type BlockNode, type OperationBlocker, Permission } from '../../block'
import { assert, type Co } from '../../co'
import type { JobManager } from '../job_manager'
import { CommitLayers } from './commit_layers'
import type { MirrorPlaces } from './completion'
import { MirrorFilter } from './filter'
import { MirrorJob } from './job'
import { checkOptions, findReplaced, type MirrorOptions } from './options'
import { MirrorState } from './state'

/**
 * Starts mirroring. Throws BlockError, with the graph as it was, if that is not possible. Images of different length are
 * no such error: the job itself ends with it, as QEMU's does.
 */
export function* startMirror(graph: BlockGraph, jobs: JobManager, options: MirrorOptions): Co<MirrorJob> {
  checkOptions(options)
  const replaced = findReplaced(options)
  jobs.checkId(options.jobId)
  const { source } = options
  yield* graph.drainedBegin(source)
  try {
    // Others may have come while the guests were being stopped.
    checkOptions(options)
    jobs.checkId(options.jobId)
    return yield* launch(graph, jobs, options, replaced)
  } finally {
    graph.drainedEnd(source)
  }
}

/** Starts a mirror of which everything has been checked, with the source drained. Throws BlockError as `startMirror`. */
export function* launch(graph: BlockGraph, jobs: JobManager, options: MirrorOptions, replaced: BlockNode): Co<MirrorJob> {
  const { jobId: id, speedBytesPerSecond, autoFinalize, autoDismiss, source, target, commit } = options
  const type = commit === undefined ? 'mirror' : 'commit'
  const job = new MirrorJob(jobs, { id, speedBytesPerSecond, autoFinalize, autoDismiss }, type)
  const blocker: OperationBlocker = { reason: `block device is in use by block job: ${type}`, allows: new Set() }
  const { state, places } = yield* insert(graph, options, job, { replaced, blocker })
  source.blockers.add(blocker)
  target.blockers.add(blocker)
  assert(places.filter.filtered?.node === source, 'filter-in-place')
  jobs.add(job)
  assert(job.view === state, 'view-of-state')
  job.start()
  return job
}

type Chosen = Pick<MirrorPlaces, 'replaced' | 'blocker'>

/** Puts the filter above the source and takes hold of both ends, or leaves the graph as it was. */
function* insert(
  graph: BlockGraph,
  options: MirrorOptions,
  job: MirrorJob,
  chosen: Chosen,
): Co<{ state: MirrorState; places: MirrorPlaces }> {
  const { source, target, filterNodeName, commit } = options
  const driver = new MirrorFilter()
  const filter = graph.addNode({
    ...(filterNodeName === undefined ? {} : { name: filterNodeName }),
    driver,
    children: [{ name: 'backing', role: 'filtered', node: source }],
    // Discards must come through; the source's own option decides about them.
    options: { discard: 'unmap', readOnly: source.options.readOnly },
  })
  filter.isImplicit = filterNodeName === undefined
  filter.neverFrozen = true
  const targetBackend = new BlockBackend(graph, '', job.targetHooks())
  // A copy that is complete rests with the machine when that moves: nothing is dirty that could still be written.
  targetBackend.letsGo = commit === undefined
  targetBackend.queuesWhileDrained = false
  const jobBackend = new BlockBackend(graph, '', job.sourceHooks())
  assert(filter.filtered !== null, 'filter-filters')
  const state = new MirrorState(options, filter.filtered, targetBackend)
  const layers = commit === undefined ? null : new CommitLayers(job, target, commit.targetWasReadOnly)
  const places: MirrorPlaces = { filter, jobBackend, layers, ...chosen }
  job.settleDown(state, places)
  driver.serve(state)
  filter.jobBitmaps.add(state.dirty)
  try {
    if (layers === null) targetBackend.attach(target, Permission.Write, Permission.WriteUnchanged)
    graph.insertFilter(filter, source)
    jobBackend.attach(filter, Permission.None, Permission.All & ~Permission.Resize)
    // Only the filter makes those above the target share it.
    if (layers !== null) attachBelow(state, layers, filter)
    state.takeBitmap()
  } catch (error) {
    layers?.release()
    if (targetBackend.root !== null) targetBackend.detach()
    if (jobBackend.root !== null) jobBackend.detach()
    if (filter.parents.size > 0) graph.removeFilter(filter)
    yield* graph.removeNode(filter)
    throw error
  }
  return { state, places }
}

function attachBelow({ source, target, targetBackend }: MirrorState, layers: CommitLayers, filter: BlockNode): void {
  layers.take(filter, source)
  const resize = target.lengthBytes < source.lengthBytes ? Permission.Resize : Permission.None
  const shared = Permission.WriteUnchanged | Permission.ConsistentRead | Permission.Write
  targetBackend.attach(target, Permission.Write | resize, shared)
}
