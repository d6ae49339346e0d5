/**
 * A commit of layers that are written to: a mirror of the top layer to the base below it, which copies what the layers
 * hold and what guests write meanwhile. It becomes READY; completed, it puts the base in the place of the top layer.
 */
import type { BlockGraph } from '../../block'
import { assert, type Co } from '../../co'
import type { JobManager } from '../job_manager'
import { launch, type MirrorJob, type MirrorOptions } from '../mirror'
import { type CommitOptions, type CommitPlaces, checkCommit } from './options'

/** Everything has been checked. Throws BlockError, with the graph as it was. */
export function* startActiveCommit(
  graph: BlockGraph,
  jobs: JobManager,
  options: CommitOptions,
  { top, base }: CommitPlaces,
): Co<MirrorJob> {
  yield* graph.drainedBegin(base)
  yield* graph.drainedBegin(top)
  const targetWasReadOnly = base.options.readOnly
  try {
    // Others may have come while the guests were being stopped.
    const now = checkCommit(options)
    jobs.checkId(options.jobId)
    assert(now.top === top && now.base === base, 'commit-places-stay')
    if (targetWasReadOnly) yield* graph.setReadOnly(base, false)
    try {
      return yield* launch(graph, jobs, mirrorOptions(options, { ...now, targetWasReadOnly }), top)
    } catch (error) {
      if (targetWasReadOnly) yield* graph.trySetReadOnly(base, true)
      throw error
    }
  } finally {
    graph.drainedEnd(top)
    graph.drainedEnd(base)
  }
}

function mirrorOptions(options: CommitOptions, places: CommitPlaces & { targetWasReadOnly: boolean }): MirrorOptions {
  const { jobId, speedBytesPerSecond, onError, filterNodeName, autoFinalize, autoDismiss } = options
  return {
    jobId,
    source: places.top,
    target: places.base,
    sync: 'top',
    copyMode: 'background',
    speedBytesPerSecond,
    unmap: true,
    targetIsZero: false,
    onSourceError: onError,
    onTargetError: onError,
    ...(filterNodeName === undefined ? {} : { filterNodeName }),
    autoFinalize,
    autoDismiss,
    commit: { targetWasReadOnly: places.targetWasReadOnly },
  }
}
