/** Dirty bitmaps, and transactions of them and of other commands. */
import {
  addBitmap,
  BlockError,
  type BlockGraph,
  type BlockNode,
  clearBitmap,
  type DirtyBitmap,
  enableBitmap,
  findBitmap,
  mergeBitmaps,
  type NewBitmap,
  removeBitmap,
} from '../../block'
import {
  abortAction,
  addBitmapAction,
  BackupAction,
  clearBitmapAction,
  enableBitmapAction,
  mergeBitmapsAction,
  removeBitmapAction,
  runTransaction,
  type TransactionAction,
} from '../../jobs'
import { type JsonObject, type JsonValue, jsonObject } from '../../json'
import { Arguments } from '../arguments'
import type { CommandTable } from '../command'
import type { QmpEnvironment } from '../environment'
import { backupOptions, DriveBackupAction, snapshotAction, snapshotSyncAction } from './block_jobs'
import { InternalSnapshotAction } from './snapshots'

function newBitmap(args: Arguments): NewBitmap {
  const granularityBytes = args.optionalInteger('granularity')
  return {
    name: args.string('name'),
    persistent: args.optionalFlag('persistent') ?? false,
    disabled: args.optionalFlag('disabled') ?? false,
    ...(granularityBytes === undefined ? {} : { granularityBytes }),
  }
}

/** Names of bitmaps of `node`, or of other nodes. */
export function bitmapSources(
  graph: BlockGraph,
  node: BlockNode,
  list: readonly JsonValue[],
): Array<{ node: BlockNode; name: string }> {
  return list.map((item) => {
    if (typeof item === 'string') return { node, name: item }
    const args = new Arguments(item as JsonObject)
    return { node: graph.lookup(args.string('node')), name: args.string('name') }
  })
}

function actionOf(environment: QmpEnvironment, type: string, args: Arguments): TransactionAction {
  const { graph, jobs } = environment
  const node = (): BlockNode => graph.lookup(args.string('node'))
  switch (type) {
    case 'abort':
      return abortAction()
    case 'block-dirty-bitmap-add':
      return addBitmapAction(node(), newBitmap(args))
    case 'block-dirty-bitmap-remove':
      return removeBitmapAction(node(), args.string('name'))
    case 'block-dirty-bitmap-clear':
      return clearBitmapAction(node(), args.string('name'))
    case 'block-dirty-bitmap-enable':
    case 'block-dirty-bitmap-disable':
      return enableBitmapAction(node(), args.string('name'), type.endsWith('enable'))
    case 'block-dirty-bitmap-merge':
      return mergeBitmapsAction(node(), args.string('target'), bitmapSources(graph, node(), args.list('bitmaps')))
    case 'blockdev-backup': {
      const source = graph.lookup(args.string('device'))
      return new BackupAction(graph, jobs, backupOptions(args, source, graph.lookup(args.string('target'))))
    }
    case 'drive-backup':
      return new DriveBackupAction(environment, args)
    case 'blockdev-snapshot-internal-sync':
      return new InternalSnapshotAction(environment, args)
    case 'blockdev-snapshot':
      return snapshotAction(environment, args)
    case 'blockdev-snapshot-sync':
      return snapshotSyncAction(environment, args)
    default:
      throw new BlockError(`Action '${type}' is not supported in transactions`)
  }
}

export const BITMAP_COMMANDS: CommandTable = {
  *'block-dirty-bitmap-add'({ graph }, args) {
    yield* addBitmap(graph.lookup(args.string('node')), newBitmap(args))
    return undefined
  },
  *'block-dirty-bitmap-remove'({ graph }, args) {
    yield* removeBitmap(graph.lookup(args.string('node')), args.string('name'))
    return undefined
  },
  *'block-dirty-bitmap-clear'({ graph }, args) {
    clearBitmap(graph.lookup(args.string('node')), args.string('name'))
    return undefined
  },
  *'block-dirty-bitmap-enable'({ graph }, args) {
    enableBitmap(graph.lookup(args.string('node')), args.string('name'), true)
    return undefined
  },
  *'block-dirty-bitmap-disable'({ graph }, args) {
    enableBitmap(graph.lookup(args.string('node')), args.string('name'), false)
    return undefined
  },
  *'block-dirty-bitmap-merge'({ graph }, args) {
    const node = graph.lookup(args.string('node'))
    findBitmap(node, args.string('target'))
    mergeBitmaps(node, args.string('target'), bitmapSources(graph, node, args.list('bitmaps')))
    return undefined
  },
  *'x-debug-block-dirty-bitmap-sha256'({ graph, sha256 }, args) {
    const { bits } = findBitmap(graph.lookup(args.string('node')), args.string('name'))
    if (sha256 === null) throw new BlockError('Digests of bitmaps are not supported here')
    return jsonObject({ sha256: sha256(longWords(bits)) })
  },
  *transaction(environment, args) {
    const grouped = args.has('properties') && args.below('properties').optionalString('completion-mode') === 'grouped'
    // Each is looked up when its turn comes: it may stand on what an earlier one has made.
    const actions = args.list('actions').map((item) => {
      const action = new Arguments(item as JsonObject)
      return new LateAction(action.string('type'), () => actionOf(environment, action.string('type'), action.below('data')))
    })
    yield* runTransaction(actions, grouped ? 'grouped' : 'individual')
    return undefined
  },
}

/** The bits as QEMU keeps them: words of 64 bits, at least one. */
function longWords(bits: DirtyBitmap): Uint8Array {
  const { words, bitCount } = bits
  const bytes = new Uint8Array(Math.max(1, Math.ceil(bitCount / 64)) * 8)
  const used = new Uint8Array(words.buffer, words.byteOffset, Math.min(words.byteLength, bytes.length))
  bytes.set(used)
  return bytes
}

const GROUPABLE = new Set(['abort', 'blockdev-backup', 'drive-backup'])

/** An action that is made when it is prepared. */
class LateAction implements TransactionAction {
  readonly type: string
  readonly joinsGroups: boolean
  private readonly make: () => TransactionAction
  private made: TransactionAction | null = null

  constructor(type: string, make: () => TransactionAction) {
    this.type = type
    this.joinsGroups = GROUPABLE.has(type)
    this.make = make
  }
  *prepare(group: Parameters<TransactionAction['prepare']>[0]) {
    const made = this.make()
    yield* made.prepare(group)
    this.made = made
  }
  *commit() {
    yield* this.made!.commit()
  }
  *abort() {
    yield* this.made!.abort()
  }
  *clean() {
    yield* this.made?.clean?.() ?? nothing()
  }
}

function* nothing(): Generator<undefined, void, undefined> {}
