/** Nodes: adding, deleting, reopening, making images, changing lengths. */
import { BlockBackend, BlockError, type BlockGraph, type BlockNode, checkUnblocked, Permission } from '../../block'
import { activateAll, activateNode, inactivateAll, inactivateNode } from '../../block/activation'
import { setWriteThreshold } from '../../block/write_threshold'
import {
  addBlockdev,
  amendBlockdev,
  createBlockdev,
  deleteBlockdev,
  findDriver,
  isAmendable,
  reopenBlockdevs,
} from '../../blockdev'
import { type Co, OK, strerror } from '../../co'
import { changeBackingFile, type JobManager } from '../../jobs'
import type { JsonObject } from '../../json'
import type { CommandTable } from '../command'
import { ImageJob, type ImageJobType } from '../image_job'
import { deviceOrNode, findNode } from '../lookup'

/** Formats that blockdev-create makes. */
const CREATABLE = new Set(['file', 'luks', 'qcow2'])

/** A job that has only its end to tell. Throws BlockError for an id that cannot be. */
function startImageJob(jobs: JobManager, id: string, type: ImageJobType, body: () => Co<void>): void {
  jobs.checkId(id)
  const job = new ImageJob(jobs, id, type, function* () {
    try {
      yield* body()
      return null
    } catch (error) {
      if (error instanceof BlockError) return error
      throw error
    }
  })
  jobs.add(job)
  job.start()
}

export const NODE_COMMANDS: CommandTable = {
  *'blockdev-add'({ context }, args) {
    yield* addBlockdev(context, args.object)
    return undefined
  },
  *'blockdev-del'({ context }, args) {
    yield* deleteBlockdev(context, args.string('node-name'))
    return undefined
  },
  *'blockdev-reopen'({ context }, args) {
    yield* reopenBlockdevs(context, args.list('options') as JsonObject[])
    return undefined
  },
  *'blockdev-create'({ context, jobs }, args) {
    const options = args.below('options')
    const driver = options.string('driver')
    if (findDriver(driver) === null) throw new BlockError(`Block driver '${driver}' not found or not supported`)
    if (!CREATABLE.has(driver)) throw new BlockError('Driver does not support blockdev-create')
    startImageJob(jobs, args.string('job-id'), 'create', () => createBlockdev(context, options.object))
    return undefined
  },
  *'x-blockdev-amend'({ context, jobs, graph }, args) {
    const options = args.below('options')
    const node = deviceOrNode(graph, undefined, args.string('node-name'))
    if (node.driver.name !== options.string('driver')) {
      throw new BlockError("x-blockdev-amend doesn't support changing the block driver")
    }
    if (!isAmendable(node)) throw new BlockError('Driver does not support x-blockdev-amend')
    const force = args.optionalFlag('force') ?? false
    startImageJob(jobs, args.string('job-id'), 'amend', () => amendBlockdev(context, node, options.object, force))
    return undefined
  },
  *block_resize({ graph }, args) {
    const node = deviceOrNode(graph, args.optionalString('device'), args.optionalString('node-name'))
    const sizeBytes = args.integer('size')
    if (sizeBytes < 0) throw new BlockError("Parameter 'size' expects a >0 size")
    checkUnblocked(node.name, node.blockers, 'resize')
    const backend = new BlockBackend(graph, '')
    backend.attach(node, Permission.Resize, Permission.All)
    yield* graph.drainedBegin(node)
    backend.queuesWhileDrained = false
    const errno = yield* backend.truncate(sizeBytes, false, 'off')
    graph.drainedEnd(node)
    backend.detach()
    if (errno !== OK) throw new BlockError(`Could not resize: ${strerror(errno)}`, { errno })
    return undefined
  },
  *'block-set-write-threshold'({ graph, events }, args) {
    const name = args.string('node-name')
    const node = graph.findNode(name)
    if (node === null) throw new BlockError(`Device '${name}' not found`)
    setWriteThreshold(node, args.integer('write-threshold'), ({ event, data }) => events.emit(event, data))
    return undefined
  },
  *'x-blockdev-set-iothread'({ graph, objects }, args) {
    const node = graph.findNode(args.string('node-name'))
    if (node === null) throw new BlockError(`Failed to find node with node-name='${args.string('node-name')}'`)
    const wanted = args.get('iothread')
    if (typeof wanted === 'string' && !objects.ofType('iothread').includes(wanted)) {
      throw new BlockError(`Cannot find iothread ${wanted}`)
    }
    // Everything runs in one thread: the node's place does not change.
    return undefined
  },
  *'x-blockdev-change'({ graph }, args) {
    const parent = graph.lookup(args.string('parent'))
    const childName = args.optionalString('child')
    const nodeName = args.optionalString('node')
    if (childName !== undefined && nodeName !== undefined) {
      throw new BlockError('The parameters child and node are in conflict')
    }
    if (childName !== undefined) yield* removeChild(graph, parent, childName)
    else if (nodeName !== undefined) yield* addChild(graph, parent, nodeName)
    else throw new BlockError('Either child or node must be specified')
    return undefined
  },
  *'blockdev-set-active'({ graph }, args) {
    const name = args.optionalString('node-name')
    const node = name === undefined ? null : graph.findNode(name)
    if (name !== undefined && node === null) throw new BlockError(`Failed to find node with node-name='${name}'`)
    const isActive = args.flag('active')
    if (node === null) yield* isActive ? activateAll(graph) : inactivateAll(graph)
    else yield* isActive ? activateNode(graph, node) : inactivateNode(graph, node)
    return undefined
  },
  *'change-backing-file'({ graph }, args) {
    const device = graph.lookup(args.string('device'))
    yield* changeBackingFile(graph, device, findNode(graph, args.string('image-node-name')), args.string('backing-file'))
    return undefined
  },
}

/** Throws BlockError. */
function* removeChild(graph: BlockGraph, parent: BlockNode, name: string): Co<void> {
  const child = parent.children.get(name)
  if (child === undefined) throw new BlockError(`Node '${parent.name}' does not have child '${name}'`)
  const { node } = child
  yield* graph.drainedBegin(parent)
  try {
    graph.removeChild(child)
  } finally {
    graph.drainedEnd(parent)
  }
  yield* graph.release(node)
}

/** Throws BlockError. */
function* addChild(graph: BlockGraph, parent: BlockNode, name: string): Co<void> {
  const node = graph.findNode(name)
  if (node === null) throw new BlockError(`Node '${name}' not found`)
  yield* graph.drainedBegin(parent)
  yield* graph.drainedBegin(node)
  try {
    // Whoever asks for what no driver of the parent's kind can do hears that first.
    parent.driver.nextChildName(node)
    if (node.parents.size > 0) throw new BlockError(`The node ${name} already has a parent`)
    graph.addChild(parent, node)
  } finally {
    graph.drainedEnd(node)
    graph.drainedEnd(parent)
  }
}
