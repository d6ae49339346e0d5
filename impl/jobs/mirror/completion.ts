/**
 * The end of a mirror: its filter leaves the graph and, if asked for, the target takes the place of the source. Both are
 * drained, so no guest notices the moment.
 *
 * What may fail: the switch-over, when the graph has become one that does not allow it (EPERM); the filter leaves all the
 * same.
 */
import { type BlockBackend, BlockError, type BlockNode, type DirtyBitmap, type OperationBlocker } from '../../block'
import { assert, type Co, EPERM, type Errno, OK } from '../../co'
import { finishMirrored } from '../sync_bitmap'
import type { CommitLayers } from './commit_layers'
import { checkReplaceable } from './options'
import type { MirrorState } from './state'

/** What a mirror holds in the graph. */
export interface MirrorPlaces {
  readonly filter: BlockNode
  /** On the filter: forbids a change of length, and stops the job in drained sections. */
  readonly jobBackend: BlockBackend
  /** The node that the target replaces. */
  readonly replaced: BlockNode
  readonly blocker: OperationBlocker
  /** Of an active commit; null: none. */
  readonly layers: CommitLayers | null
}

/** How a mirror has ended. */
export interface MirrorEnd {
  readonly isDone: boolean
  readonly switchesOver: boolean
  /** Where the target may still differ; null: nobody knows. */
  readonly left: DirtyBitmap | null
}

/** Call with the source drained; it is not any more afterwards. */
export function* leaveGraph(state: MirrorState, places: MirrorPlaces, end: MirrorEnd): Co<Errno> {
  const { source, target } = state
  const { graph } = source
  const { isDone, switchesOver, left } = end
  const { filter, jobBackend, replaced, blocker, layers } = places
  assert(source.quiesceCount > 0, 'leave-drained')
  assert(state.backgroundCount === 0 && state.activeCount === 0 && state.operationsInFlight.isEmpty, 'leave-at-rest')
  yield* graph.drainedBegin(target)
  if (replaced !== source) yield* graph.drainedBegin(replaced)
  state.phase = 'finished'
  state.isReleased = true
  state.targetBackend.detach()
  layers?.release()
  source.blockers.delete(blocker)
  target.blockers.delete(blocker)
  const linkErrno = isDone ? yield* linkTarget(state) : OK
  const errno = switchesOver && linkErrno === OK ? yield* switchOver(state, replaced) : linkErrno
  if (layers?.targetWasReadOnly === true && !(switchesOver && errno === OK)) yield* graph.trySetReadOnly(target, true)
  // Before guests go on: from now on the bitmap takes in what they change.
  finishMirrored(state.kept, state.copiesBitmap, isDone && errno === OK, left)
  jobBackend.detach()
  graph.removeFilter(filter)
  yield* graph.removeNode(filter)
  if (replaced !== source) graph.drainedEnd(replaced)
  graph.drainedEnd(target)
  graph.drainedEnd(source)
  yield* graph.release(replaced)
  yield* graph.release(target)
  return errno
}

/** The image below the target comes before the guests, who would miss what it shows. */
function* linkTarget({ options }: MirrorState): Co<Errno> {
  try {
    if (options.linkTarget !== undefined) yield* options.linkTarget()
    return OK
  } catch (error) {
    assert(error instanceof BlockError, 'link-refused-in-words', () => String(error))
    return EPERM
  }
}

function* switchOver(state: MirrorState, replaced: BlockNode): Co<Errno> {
  const { source, target } = state
  const { graph } = source
  assert(target.quiesceCount > 0 && replaced.quiesceCount > 0, 'switch-over-drained')
  const wasReadOnly = target.options.readOnly
  try {
    if (graph.nodes.get(replaced.name) !== replaced) return EPERM
    checkReplaceable(source, replaced)
    // Guests of a read-only disk keep a read-only one.
    yield* graph.setReadOnly(target, replaced.options.readOnly)
    graph.replaceNode(replaced, target)
    return OK
  } catch (error) {
    assert(error instanceof BlockError, 'graph-refuses-in-words', () => String(error))
    yield* graph.trySetReadOnly(target, wasReadOnly)
    return EPERM
  }
}
