/** The other commands that can be part of a transaction: backups, changes of dirty bitmaps, and one that always fails. */
import {
  addBitmap,
  BitmapRefusal,
  BlockError,
  type BlockGraph,
  type BlockNode,
  clearBitmap,
  type DirtyBitmap,
  enableBitmap,
  findBitmap,
  mergeBitmaps,
  type NamedBitmap,
  type NewBitmap,
  removeBitmap,
} from '../../block'
import { assert, type Co } from '../../co'
import { type BackupJob, type BackupOptions, createBackup } from '../backup'
import type { JobGroup } from '../job_group'
import type { JobManager } from '../job_manager'
import type { TransactionAction } from './transaction'

/** `abort`: fails, so that nothing of a transaction takes effect. */
export function abortAction(): TransactionAction {
  return {
    type: 'abort',
    joinsGroups: true,
    *prepare() {
      throw new BlockError('Transaction aborted using Abort action')
    },
    *commit() {},
    *abort() {},
  }
}

/** `blockdev-backup`: all backups of a transaction keep the state of one moment. */
export class BackupAction implements TransactionAction {
  readonly type = 'blockdev-backup'
  readonly joinsGroups = true
  private readonly graph: BlockGraph
  private readonly jobs: JobManager
  private readonly options: BackupOptions
  private job: BackupJob | null = null

  constructor(graph: BlockGraph, jobs: JobManager, options: BackupOptions) {
    this.graph = graph
    this.jobs = jobs
    this.options = options
  }

  *prepare(group: JobGroup | null): Co<void> {
    const { graph, options } = this
    yield* graph.drainedBegin(options.source)
    try {
      this.job = yield* createBackup(graph, this.jobs, options)
      if (group !== null) this.job.join(group)
    } catch (error) {
      graph.drainedEnd(options.source)
      throw error
    }
  }
  *commit(): Co<void> {
    assert(this.job !== null, 'backup-prepared')
    this.job.start()
  }
  *abort(): Co<void> {
    assert(this.job !== null, 'backup-prepared')
    yield* this.job.discard()
  }
  *clean(): Co<void> {
    this.graph.drainedEnd(this.options.source)
  }
}

/** `block-dirty-bitmap-add`. */
export function addBitmapAction(node: BlockNode, wanted: NewBitmap): TransactionAction {
  return {
    type: 'block-dirty-bitmap-add',
    *prepare() {
      yield* addBitmap(node, wanted)
    },
    *commit() {},
    *abort() {
      yield* removeBitmap(node, wanted.name)
    },
  }
}

/** `block-dirty-bitmap-remove`: the bitmap is busy until it is gone. */
export function removeBitmapAction(node: BlockNode, name: string): TransactionAction {
  let bitmap: NamedBitmap | null = null
  const free = (): void => {
    assert(bitmap !== null, 'bitmap-prepared')
    bitmap.setBusy(false)
  }
  return {
    type: 'block-dirty-bitmap-remove',
    *prepare() {
      bitmap = findBitmap(node, name)
      bitmap.demand(BitmapRefusal.Busy | BitmapRefusal.ReadOnly)
      bitmap.setBusy(true)
    },
    *commit() {
      free()
      yield* removeBitmap(node, name)
    },
    *abort() {
      free()
    },
  }
}

/** A change of what is dirty, which `change` makes and of which it gives what was. */
function changeAction(type: string, node: BlockNode, name: string, change: () => DirtyBitmap): TransactionAction {
  let before: DirtyBitmap | null = null
  return {
    type,
    *prepare() {
      before = change()
    },
    *commit() {},
    *abort() {
      assert(before !== null, 'bitmap-prepared')
      findBitmap(node, name).restore(before)
    },
  }
}

/** `block-dirty-bitmap-clear`. */
export function clearBitmapAction(node: BlockNode, name: string): TransactionAction {
  return changeAction('block-dirty-bitmap-clear', node, name, () => clearBitmap(node, name))
}

/** `block-dirty-bitmap-merge`. */
export function mergeBitmapsAction(
  node: BlockNode,
  target: string,
  sources: ReadonlyArray<{ node: BlockNode; name: string }>,
): TransactionAction {
  return changeAction('block-dirty-bitmap-merge', node, target, () => mergeBitmaps(node, target, sources))
}

/** `block-dirty-bitmap-enable` and `-disable`. */
export function enableBitmapAction(node: BlockNode, name: string, isEnabled: boolean): TransactionAction {
  let wasEnabled = false
  return {
    type: isEnabled ? 'block-dirty-bitmap-enable' : 'block-dirty-bitmap-disable',
    *prepare() {
      wasEnabled = findBitmap(node, name).isEnabled
      enableBitmap(node, name, isEnabled)
    },
    *commit() {},
    *abort() {
      findBitmap(node, name).setEnabled(wasEnabled)
    },
  }
}
