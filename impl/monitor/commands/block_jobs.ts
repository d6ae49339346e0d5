/** What starts block jobs. */
import { BlockError, type BlockNode } from '../../block'
import { createImage, describeNode, Options, openImage, openNamedBacking } from '../../blockdev'
import type { Co } from '../../co'
import {
  BackupAction,
  type BackupOptions,
  type BitmapMode,
  type CopyMode,
  type ErrorPolicy,
  type MirrorOptions,
  runTransaction,
  SnapshotAction,
  startBackup,
  startCommit,
  startMirror,
  startStream,
  type TransactionAction,
} from '../../jobs'
import type { Arguments } from '../arguments'
import type { CommandTable } from '../command'
import type { QmpEnvironment } from '../environment'
import { deviceName, deviceOrNode, findNode, rootNode } from '../lookup'

/** `auto` is what a device would do; jobs stop where space is missing. */
function policy(args: Arguments, name: string): ErrorPolicy {
  const text = args.optionalString(name) ?? 'report'
  return text === 'auto' ? 'enospc' : (text as ErrorPolicy)
}
function jobId(args: Arguments, node: BlockNode): string {
  return args.optionalString('job-id') ?? deviceName(node)
}
/** What all jobs have in common. */
function common(args: Arguments, node: BlockNode) {
  const filterNodeName = args.optionalString('filter-node-name')
  return {
    jobId: jobId(args, node),
    speedBytesPerSecond: args.optionalInteger('speed') ?? 0,
    autoFinalize: args.optionalFlag('auto-finalize') ?? true,
    autoDismiss: args.optionalFlag('auto-dismiss') ?? true,
    ...(filterNodeName === undefined ? {} : { filterNodeName }),
  }
}

function* mirror(
  environment: QmpEnvironment,
  args: Arguments,
  source: BlockNode,
  target: BlockNode,
  targetIsZero: boolean,
  linkTarget?: () => Co<void>,
): Co<void> {
  const { graph, jobs } = environment
  const wanted = args.string('sync')
  const bitmap = args.optionalString('bitmap')
  const bitmapMode = args.optionalString('bitmap-mode') as BitmapMode | undefined
  // Whoever knows only QEMU's members gets QEMU's answer.
  const isPlain = bitmap === undefined && (wanted === 'incremental' || wanted === 'bitmap')
  if (isPlain) throw new BlockError(`Sync mode '${wanted}' not supported`)
  const sync = wanted === 'top' && source.skipFilters().backing === null ? 'full' : (wanted as MirrorOptions['sync'])
  const granularityBytes = args.optionalInteger('granularity')
  const bufferBytes = args.optionalInteger('buf-size')
  const replaces = args.optionalString('replaces')
  const copyMode = (args.optionalString('copy-mode') ?? 'background') as CopyMode | 'auto'
  const activeSpeedBytesPerSecond = args.optionalInteger('active-speed')
  const hasDetachedBacking = (environment.context.origins.get(target.skipFilters())?.backingName ?? '') !== ''
  yield* startMirror(graph, jobs, {
    ...common(args, source),
    source,
    target,
    sync,
    copyMode,
    unmap: args.optionalFlag('unmap') ?? true,
    targetIsZero,
    onSourceError: policy(args, 'on-source-error'),
    onTargetError: policy(args, 'on-target-error'),
    ...(hasDetachedBacking && target.skipFilters().backing === null ? { targetHasDetachedBacking: true } : {}),
    ...(linkTarget === undefined ? {} : { linkTarget }),
    ...(granularityBytes === undefined ? {} : { granularityBytes }),
    ...(bufferBytes === undefined ? {} : { bufferBytes }),
    ...(activeSpeedBytesPerSecond === undefined ? {} : { activeSpeedBytesPerSecond }),
    ...(replaces === undefined ? {} : { replaces }),
    ...(bitmap === undefined ? {} : { bitmap }),
    ...(bitmapMode === undefined ? {} : { bitmapMode }),
  })
}

/** What a new image that holds a part of the source stands on. */
function layerBelow(source: BlockNode, sync: string): BlockNode | null {
  const layer = source.skipFilters()
  return sync === 'none' ? layer : (layer.backing?.node ?? null)
}

/** Of a target that the job has made. Throws BlockError. */
function* linkTo({ graph }: QmpEnvironment, target: BlockNode, below: BlockNode | null): Co<void> {
  if (below === (target.backing?.node ?? null)) return
  if (below !== null) yield* graph.drainedBegin(below)
  try {
    graph.setBacking(target, below)
  } finally {
    if (below !== null) graph.drainedEnd(below)
  }
}

/** Of a target that was there: what its header names. Throws BlockError. */
function* linkNamed(environment: QmpEnvironment, target: BlockNode): Co<void> {
  const { context, graph } = environment
  if (target.backing !== null) return
  const below = yield* openNamedBacking(context, target)
  if (below === null) return
  try {
    yield* linkTo(environment, target, below)
  } finally {
    yield* graph.release(below)
  }
}

/** The image that a drive-* command makes or finds, opened for the job alone. */
function* openTarget(environment: QmpEnvironment, args: Arguments, source: BlockNode, hasBacking: boolean): Co<BlockNode> {
  const { context, say } = environment
  const filename = args.string('target')
  const isExisting = args.optionalString('mode') === 'existing'
  const layer = source.skipFilters()
  const format = args.optionalString('format') ?? (isExisting ? undefined : layer.driver.name)
  if (!isExisting) {
    const below = layerBelow(source, args.string('sync'))
    yield* createImage(context, {
      filename,
      format: format!,
      sizeBytes: source.lengthBytes,
      ...(hasBacking && below !== null
        ? { backingFilename: describeNode(context, below), backingFormat: below.skipFilters().driver.name }
        : {}),
      announce: (text) => say(`${text}\n`),
    })
  }
  const options = new Options()
  if (format !== undefined) options.set('driver', format)
  const nodeName = args.optionalString('node-name')
  if (nodeName !== undefined) options.set('node-name', nodeName)
  options.set('discard', 'unmap')
  return yield* openImage(context, { filename, options, noBacking: true })
}

function* driveMirror(environment: QmpEnvironment, args: Arguments): Co<undefined> {
  const { graph } = environment
  const source = rootNode(graph, args.string('device'))
  const isExisting = args.optionalString('mode') === 'existing'
  if (args.has('replaces') && !args.has('node-name')) {
    throw new BlockError('a node-name must be provided when replacing a named node of the graph')
  }
  const sync = args.string('sync')
  const isFull = sync === 'full' || (sync === 'top' && source.skipFilters().backing === null)
  const target = yield* openTarget(environment, args, source, !isFull)
  try {
    const isZero = !isExisting && isFull && target.driver.hasZeroInit()
    const below = isFull ? null : layerBelow(source, sync)
    const link = (): Co<void> => (isExisting ? linkNamed(environment, target) : linkTo(environment, target, below))
    yield* mirror(environment, args, source, target, isZero, link)
  } finally {
    // The job holds it, if there is one.
    yield* graph.release(target)
  }
  return undefined
}

export function backupOptions(args: Arguments, source: BlockNode, target: BlockNode): BackupOptions {
  const perf = args.has('x-perf') ? args.below('x-perf') : null
  const given: Record<string, unknown> = {
    bitmap: args.optionalString('bitmap'),
    bitmapMode: args.optionalString('bitmap-mode'),
    isCompressed: args.optionalFlag('compress'),
    discardsSource: args.optionalFlag('discard-source'),
    onCopyError: args.optionalString('on-cbw-error'),
    usesCopyRange: perf?.optionalFlag('use-copy-range'),
    maxWorkers: perf?.optionalInteger('max-workers'),
    maxChunkBytes: perf?.optionalInteger('max-chunk'),
    minClusterBytes: perf?.optionalInteger('min-cluster-size'),
  }
  for (const [name, value] of Object.entries(given)) if (value === undefined) delete given[name]
  return {
    ...common(args, source),
    ...given,
    source,
    target,
    sync: args.string('sync') as BackupOptions['sync'],
    onSourceError: policy(args, 'on-source-error'),
    onTargetError: policy(args, 'on-target-error'),
  }
}

/** drive-backup, also as a part of a transaction: the target is opened when its turn comes. */
export class DriveBackupAction implements TransactionAction {
  readonly type = 'drive-backup'
  readonly joinsGroups = true
  private readonly environment: QmpEnvironment
  private readonly args: Arguments
  private backup: BackupAction | null = null

  constructor(environment: QmpEnvironment, args: Arguments) {
    this.environment = environment
    this.args = args
  }

  *prepare(group: Parameters<TransactionAction['prepare']>[0]): Co<void> {
    const environment = this.environment
    const args = this.args
    const { graph, jobs } = environment
    const source = graph.lookup(args.string('device'))
    const wanted = args.string('sync')
    // Without an image below, the top is all.
    const sync = wanted === 'top' && source.skipFilters().backing === null ? 'full' : (wanted as BackupOptions['sync'])
    const target = yield* openTarget(environment, args, source, sync === 'none' || sync === 'top')
    try {
      const backup = new BackupAction(graph, jobs, { ...backupOptions(args, source, target), sync })
      yield* backup.prepare(group)
      this.backup = backup
    } finally {
      // The job holds it, if there is one.
      yield* graph.release(target)
    }
  }
  *commit(): Co<void> {
    yield* this.backup!.commit()
  }
  *abort(): Co<void> {
    yield* this.backup!.abort()
  }
  *clean(): Co<void> {
    yield* this.backup!.clean()
  }
}

/** A layer of a chain by the name of its file, as it is called in the graph. */
function byFilename(environment: QmpEnvironment, top: BlockNode, filename: string): BlockNode | null {
  for (let node: BlockNode | null = top.below(); node !== null; node = node.below()) {
    if (node.filtered === null && environment.graph.filenameOf(node) === filename) return node
  }
  return null
}

function* commit(environment: QmpEnvironment, args: Arguments): Co<undefined> {
  const { graph, jobs } = environment
  const deviceText = args.string('device')
  if (!graph.backends.has(deviceText) && graph.findNode(deviceText) === null) {
    throw new BlockError(`Device '${deviceText}' not found`, { qmpClass: 'DeviceNotFound' })
  }
  const device = graph.lookup(deviceText)
  const topNode = args.optionalString('top-node')
  const topName = args.optionalString('top')
  const baseNode = args.optionalString('base-node')
  const baseName = args.optionalString('base')
  let top = device
  if (topNode !== undefined && topName !== undefined) throw new BlockError("'top-node' and 'top' are mutually exclusive")
  if (topNode !== undefined) top = findNode(graph, topNode)
  else if (topName !== undefined && graph.filenameOf(device) !== topName) {
    const found = byFilename(environment, device, topName)
    if (found === null) throw new BlockError(`Top image file ${topName} not found`)
    top = found
  }
  if (baseNode !== undefined && baseName !== undefined) throw new BlockError("'base-node' and 'base' are mutually exclusive")
  let base: BlockNode | null = null
  if (baseNode !== undefined) base = findNode(graph, baseNode)
  else if (baseName !== undefined) {
    base = byFilename(environment, top, baseName)
    if (base === null) throw new BlockError(`Can't find '${baseName}' in the backing chain`)
  }
  const backingFile = args.optionalString('backing-file')
  yield* startCommit(graph, jobs, {
    ...common(args, device),
    device,
    top,
    onError: policy(args, 'on-error'),
    ...(base === null ? {} : { base }),
    ...(backingFile === undefined ? {} : { backingFile }),
  })
  return undefined
}

function* stream(environment: QmpEnvironment, args: Arguments): Co<undefined> {
  const { graph, jobs } = environment
  const exclusive = ['base', 'base-node', 'bottom'].filter((name) => args.has(name))
  if (exclusive.length > 1) throw new BlockError(`'${exclusive[0]}' and '${exclusive[1]}' cannot be specified at the same time`)
  const device = graph.lookup(args.string('device'))
  let base: BlockNode | null = null
  if (args.has('base')) {
    base = byFilename(environment, device, args.string('base'))
    if (base === null) throw new BlockError(`Can't find '${args.string('base')}' in the backing chain`)
  } else if (args.has('base-node')) base = findNode(graph, args.string('base-node'))
  const backingFile = args.optionalString('backing-file')
  yield* startStream(graph, jobs, {
    ...common(args, device),
    device,
    onError: policy(args, 'on-error'),
    base,
    ...(args.has('bottom') ? { bottom: findNode(graph, args.string('bottom')) } : {}),
    ...(backingFile === undefined ? {} : { backingFile }),
  })
  return undefined
}

/** blockdev-snapshot-sync: the overlay is made first, unless it is there. */
export function snapshotSyncAction(environment: QmpEnvironment, args: Arguments): SnapshotAction {
  const { graph, context } = environment
  const below = deviceOrNode(graph, args.optionalString('device'), args.optionalString('node-name'))
  const filename = args.string('snapshot-file')
  const nodeName = args.optionalString('snapshot-node-name')
  if (args.has('node-name') && nodeName === undefined) throw new BlockError('New overlay node-name missing')
  const format = args.optionalString('format') ?? 'qcow2'
  return new SnapshotAction(
    graph,
    below,
    function* () {
      if (nodeName !== undefined && graph.findNode(nodeName) !== null)
        throw new BlockError('New overlay node-name already in use')
      if (args.optionalString('mode') !== 'existing') {
        yield* createImage(context, {
          filename,
          format,
          sizeBytes: below.lengthBytes,
          backingFilename: graph.filenameOf(below.skipFilters()),
          backingFormat: below.skipFilters().driver.name,
          isBackingUnchecked: true,
          announce: (text) => environment.say(`${text}\n`),
        })
      }
      const options = new Options([['driver', format]])
      if (nodeName !== undefined) options.set('node-name', nodeName)
      return yield* openImage(context, { filename, options, noBacking: true })
    },
    'blockdev-snapshot-sync',
  )
}

export function snapshotAction({ graph }: QmpEnvironment, args: Arguments): SnapshotAction {
  const below = graph.lookup(args.string('node'))
  return new SnapshotAction(graph, below, function* () {
    return graph.lookup(args.string('overlay'))
  })
}

export const BLOCK_JOB_COMMANDS: CommandTable = {
  *'blockdev-mirror'(environment, args) {
    const { graph } = environment
    const source = rootNode(graph, args.string('device'))
    const target = graph.lookup(args.string('target'))
    yield* mirror(environment, args, source, target, args.optionalFlag('target-is-zero') ?? false)
    return undefined
  },
  'drive-mirror': driveMirror,
  *'blockdev-backup'({ graph, jobs }, args) {
    const source = graph.lookup(args.string('device'))
    const target = graph.lookup(args.string('target'))
    yield* startBackup(graph, jobs, backupOptions(args, source, target))
    return undefined
  },
  *'drive-backup'(environment, args) {
    yield* runTransaction([new DriveBackupAction(environment, args)])
    return undefined
  },
  'block-commit': commit,
  'block-stream': stream,
  *'blockdev-snapshot'(environment, args) {
    yield* runTransaction([snapshotAction(environment, args)])
    return undefined
  },
  *'blockdev-snapshot-sync'(environment, args) {
    yield* runTransaction([snapshotSyncAction(environment, args)])
    return undefined
  },
}
