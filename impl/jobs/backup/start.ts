/** Starting a backup: everything is checked, the bitmap gets a successor, the filter goes above the source. */
import { type BlockGraph, type BlockNode, Permission } from '../../block'
import { BlockCopy } from '../../block/block_copy'
import { CopyBeforeWriteDriver } from '../../block/drivers/copy_before_write'
import { assert, type Co } from '../../co'
import { makeFilter } from '../errors'
import { JobHold } from '../hold'
import type { JobManager } from '../job_manager'
import { type BackupHoldings, BackupJob } from './job'
import { type BackupOptions, checkBackup } from './options'

/** Starts a backup. Throws BlockError, with the graph as it was, if that is not possible. */
export function* startBackup(graph: BlockGraph, jobs: JobManager, options: BackupOptions): Co<BackupJob> {
  checkStart(jobs, options)
  yield* graph.drainedBegin(options.source)
  try {
    const job = yield* createBackup(graph, jobs, options)
    job.start()
    return job
  } finally {
    graph.drainedEnd(options.source)
  }
}

function checkStart(jobs: JobManager, options: BackupOptions): ReturnType<typeof checkBackup> {
  const plan = checkBackup(options)
  jobs.checkId(options.jobId)
  return plan
}

/** Makes a backup with its source drained, the moment whose state is kept; it is still to be started. Throws BlockError. */
export function* createBackup(graph: BlockGraph, jobs: JobManager, options: BackupOptions): Co<BackupJob> {
  const { speedBytesPerSecond, jobId: id, autoFinalize, autoDismiss, source } = options
  assert(source.quiesceCount > 0, 'backup-starts-drained')
  const plan = checkStart(jobs, options)
  const job = new BackupJob(jobs, { id, speedBytesPerSecond, autoFinalize, autoDismiss }, options, plan)
  plan.bitmap?.createSuccessor()
  try {
    job.settleDown(options.isImmutable === true ? attach(options, job) : yield* insert(graph, options, job))
  } catch (error) {
    plan.bitmap?.reclaim()
    throw error
  }
  jobs.add(job)
  assert(job.isMoving && source.blockers.size > 0, 'backup-takes-hold')
  return job
}

const READING = Permission.ConsistentRead | Permission.WriteUnchanged
const UNRESIZED = Permission.All & ~Permission.Resize

/** Without a filter: nobody may write to the source as long as the job lasts. */
function attach(options: BackupOptions, job: BackupJob): BackupHoldings {
  const { source, target, discardsSource = false } = options
  const hold = new JobHold(job)
  try {
    const own = discardsSource ? Permission.Write : Permission.None
    const sourceEdge = hold.take('source', source, Permission.ConsistentRead | own, READING)
    const targetEdge = hold.take('target', target, Permission.Write, UNRESIZED)
    return { copy: new BlockCopy({ ...options, source: sourceEdge, target: targetEdge }), filter: null, driver: null, hold }
  } catch (error) {
    hold.giveAll()
    throw error
  }
}

function* insert(graph: BlockGraph, options: BackupOptions, job: BackupJob): Co<BackupHoldings> {
  const { source, target, onCopyError, isCompressed, usesCopyRange, discardsSource, minClusterBytes } = options
  const driver = new CopyBeforeWriteDriver({
    ...(onCopyError === undefined ? {} : { onError: onCopyError }),
    ...(minClusterBytes === undefined ? {} : { minClusterBytes }),
    isCompressed: isCompressed ?? false,
    usesCopyRange: usesCopyRange ?? false,
    discardsSource: discardsSource ?? false,
  })
  const filter = addFilter(graph, options, driver)
  const hold = new JobHold(job)
  try {
    driver.start()
    graph.insertFilter(filter, source)
    hold.take('main node', filter, Permission.None, Permission.All)
    hold.take('target', target, Permission.None, Permission.All)
    hold.block(source)
    assert(filter.filtered?.node === source && driver.copy.isIdle, 'filter-in-place')
    return { copy: driver.copy, filter, driver, hold }
  } catch (error) {
    hold.giveAll()
    if (filter.parents.size > 0) graph.removeFilter(filter)
    yield* graph.removeNode(filter)
    throw error
  }
}

function addFilter(graph: BlockGraph, options: BackupOptions, driver: CopyBeforeWriteDriver): BlockNode {
  const { source, target, filterNodeName: name } = options
  const filter = makeFilter(() =>
    graph.addNode({
      ...(name === undefined ? {} : { name }),
      driver,
      children: [
        { name: 'file', role: 'filtered', node: source },
        { name: 'target', role: 'image', node: target },
      ],
      options: { discard: 'unmap', readOnly: source.options.readOnly },
    }),
  )
  filter.isImplicit = name === undefined
  return filter
}
