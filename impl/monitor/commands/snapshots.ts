/** Snapshots inside images: they share the image's file, unlike overlays. */
import { BlockError, type BlockNode, checkUnblocked, type SnapshotInfo } from '../../block'
import { snapshotInfo } from '../../blockdev'
import { assert, type Co, type Errno, OK, strerror } from '../../co'
import { runTransaction, type TransactionAction } from '../../jobs'
import type { Arguments } from '../arguments'
import type { CommandTable } from '../command'
import type { QmpEnvironment } from '../environment'
import { rootNode } from '../lookup'

const US_PER_SECOND = 1_000_000

/** The snapshot of the node with this id and name; null stands for any. */
function findSnapshot({ driver }: BlockNode, id: string | null, name: string | null): SnapshotInfo | null {
  const list = driver.snapshots() ?? []
  return list.find((each) => (id === null || each.id === id) && (name === null || each.name === name)) ?? null
}

/** blockdev-snapshot-internal-sync, also as a part of a transaction. */
export class InternalSnapshotAction implements TransactionAction {
  readonly type = 'blockdev-snapshot-internal-sync'
  readonly joinsGroups = false
  private readonly environment: QmpEnvironment
  private readonly args: Arguments
  private node: BlockNode | null = null
  private made: SnapshotInfo | null = null

  constructor(environment: QmpEnvironment, args: Arguments) {
    this.environment = environment
    this.args = args
  }

  *prepare(): Co<void> {
    const { environment } = this
    const device = this.args.string('device')
    const name = this.args.string('name')
    const node = rootNode(environment.graph, device)
    yield* environment.graph.drainedBegin(node)
    this.node = node
    try {
      yield* this.make(node, device, name)
    } catch (error) {
      this.release()
      throw error
    }
  }

  private *make(node: BlockNode, device: string, name: string): Co<void> {
    checkUnblocked(node.name, node.blockers, 'internal-snapshot')
    if (node.options.readOnly) throw new BlockError(`Device '${device}' is read only`)
    if (node.driver.snapshots() === null) {
      throw new BlockError(`Block format '${node.driver.name}' used by device '${device}' does not support internal snapshots`)
    }
    if (name === '') throw new BlockError('Name is empty')
    if (findSnapshot(node, null, name) !== null) {
      throw new BlockError(`Snapshot with name '${name}' already exists on device '${device}'`)
    }
    const nowUs = this.environment.events.realTimeUs()
    const errno = yield* node.driver.snapshotCreate({
      name,
      dateSeconds: Math.floor(nowUs / US_PER_SECOND),
      dateNanoseconds: (nowUs % US_PER_SECOND) * 1000,
      vmClockNs: 0n,
      vmStateBytes: 0,
      icount: null,
    })
    if (errno !== OK) {
      throw new BlockError(`Failed to create snapshot '${name}' on device '${device}': ${strerror(errno)}`, { errno })
    }
    this.made = findSnapshot(node, null, name)
    assert(this.made !== null, 'internal-snapshot-made', () => name)
  }

  *commit(): Co<void> {}

  *abort(): Co<void> {
    const { node, made } = this
    assert(node !== null && made !== null, 'internal-snapshot-prepared')
    // What cannot be taken away stays: the image is sound with it.
    yield* deleteQuietly(node, made)
  }

  *clean(): Co<void> {
    this.release()
  }

  private release(): void {
    if (this.node !== null) this.environment.graph.drainedEnd(this.node)
    this.node = null
  }
}

function* deleteQuietly(node: BlockNode, { id, name }: SnapshotInfo): Co<Errno> {
  try {
    return yield* node.driver.snapshotDelete(id, name)
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
    return error.errno
  }
}

export const SNAPSHOT_COMMANDS: CommandTable = {
  *'blockdev-snapshot-internal-sync'(environment, args) {
    yield* runTransaction([new InternalSnapshotAction(environment, args)])
    return undefined
  },
  *'blockdev-snapshot-delete-internal-sync'({ graph }, args) {
    const device = args.string('device')
    const node = rootNode(graph, device)
    const id = args.optionalString('id') ?? null
    const name = args.optionalString('name') ?? null
    if (id === null && name === null) throw new BlockError('Name or id must be provided')
    checkUnblocked(node.name, node.blockers, 'internal-snapshot')
    const found = findSnapshot(node, id, name)
    if (found === null) {
      const wanted = `Snapshot with id '${id ?? 'null'}' and name '${name ?? 'null'}'`
      throw new BlockError(`${wanted} does not exist on device '${device}'`)
    }
    const told = snapshotInfo(found)
    const errno = yield* node.driver.snapshotDelete(found.id, found.name)
    if (errno !== OK) {
      throw new BlockError(`Failed to delete snapshot '${found.name}' on device '${device}': ${strerror(errno)}`, { errno })
    }
    return told
  },
}
