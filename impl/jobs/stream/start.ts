/** Starting a stream: everything is checked, the image becomes writable, a copy-on-read filter goes above it. */
import { type BlockGraph, type BlockNode, nodesAbove, Permission } from '../../block'
import { CopyOnReadDriver } from '../../block/drivers/copy_on_read'
import { assert, type Co } from '../../co'
import { makeFilter } from '../errors'
import { JobHold } from '../hold'
import type { JobManager } from '../job_manager'
import { type StreamHoldings, StreamJob } from './job'
import { checkStream, type StreamOptions, type StreamPlaces } from './options'

/** Starts streaming. Throws BlockError, with the graph as it was, if that is not possible. */
export function* startStream(graph: BlockGraph, jobs: JobManager, options: StreamOptions): Co<StreamJob> {
  const { speedBytesPerSecond, jobId: id, autoFinalize, autoDismiss, device } = options
  checkStream(options)
  jobs.checkId(id)
  const job = new StreamJob(jobs, { id, speedBytesPerSecond, autoFinalize, autoDismiss }, options)
  yield* graph.drainedBegin(device)
  try {
    // Others may have come while the guests were being stopped.
    const places = checkStream(options)
    jobs.checkId(id)
    job.settleDown(yield* insert(graph, options, job, places))
    jobs.add(job)
    job.start()
  } finally {
    graph.drainedEnd(device)
  }
  return job
}

function* insert(graph: BlockGraph, options: StreamOptions, job: StreamJob, places: StreamPlaces): Co<StreamHoldings> {
  const { device } = places
  const wasReadOnly = device.options.readOnly
  if (wasReadOnly) yield* graph.setReadOnly(device, false)
  try {
    return { ...places, ...(yield* insertFilter(graph, options, job, places)), wasReadOnly }
  } catch (error) {
    if (wasReadOnly) yield* graph.trySetReadOnly(device, true)
    throw error
  }
}

const READING = Permission.ConsistentRead | Permission.WriteUnchanged

function* insertFilter(
  graph: BlockGraph,
  { filterNodeName: name }: StreamOptions,
  job: StreamJob,
  { device, lastLayer, aboveBase }: StreamPlaces,
): Co<Pick<StreamHoldings, 'filter' | 'filterEdge' | 'driver' | 'hold'>> {
  const driver = new CopyOnReadDriver(lastLayer)
  const filter = makeFilter(() =>
    graph.addNode({
      ...(name === undefined ? {} : { name }),
      driver,
      children: [{ name: 'file', role: 'filtered', node: device }],
      options: { discard: 'unmap' },
    }),
  )
  filter.isImplicit = name === undefined
  const hold = new JobHold(job)
  let isFrozen = false
  try {
    graph.insertFilter(filter, device)
    graph.freezeChain(filter, aboveBase)
    isFrozen = true
    const filterEdge = hold.take('main node', filter, Permission.ConsistentRead, READING | Permission.Write)
    // Of unchanged length, which the job has looked at only once.
    hold.take('active node', device, Permission.None, READING | Permission.Write)
    for (const node of layersBelow(device, aboveBase)) hold.take('intermediate node', node, Permission.None, READING)
    return { filter, filterEdge, driver, hold }
  } catch (error) {
    if (isFrozen) graph.thawChain(filter, aboveBase)
    hold.giveAll()
    if (filter.parents.size > 0) graph.removeFilter(filter)
    yield* graph.removeNode(filter)
    throw error
  }
}

/** What vanishes from the chain: it is read only once, so nobody may write to it. */
function layersBelow(device: BlockNode, aboveBase: BlockNode): BlockNode[] {
  const nodes = nodesAbove(device, aboveBase.below()).slice(1)
  assert(device === aboveBase || nodes.includes(aboveBase), 'base-stays')
  return nodes
}
