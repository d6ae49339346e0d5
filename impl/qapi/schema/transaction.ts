/** Several actions that happen together or not at all. */
import { command, enumeration, type QapiModule, struct, union } from '../types'

export const TRANSACTION: QapiModule = {
  types: {
    TransactionAction: union({ type: 'TransactionActionKind' }, 'type', {
      abort: 'AbortWrapper',
      'block-dirty-bitmap-add': 'BlockDirtyBitmapAddWrapper',
      'block-dirty-bitmap-remove': 'BlockDirtyBitmapWrapper',
      'block-dirty-bitmap-clear': 'BlockDirtyBitmapWrapper',
      'block-dirty-bitmap-enable': 'BlockDirtyBitmapWrapper',
      'block-dirty-bitmap-disable': 'BlockDirtyBitmapWrapper',
      'block-dirty-bitmap-merge': 'BlockDirtyBitmapMergeWrapper',
      'blockdev-backup': 'BlockdevBackupWrapper',
      'blockdev-snapshot': 'BlockdevSnapshotWrapper',
      'blockdev-snapshot-internal-sync': 'BlockdevSnapshotInternalWrapper',
      'blockdev-snapshot-sync': 'BlockdevSnapshotSyncWrapper',
      'drive-backup': 'DriveBackupWrapper',
    }),
    TransactionActionKind: enumeration(
      [
        'abort',
        'block-dirty-bitmap-add',
        'block-dirty-bitmap-remove',
        'block-dirty-bitmap-clear',
        'block-dirty-bitmap-enable',
        'block-dirty-bitmap-disable',
        'block-dirty-bitmap-merge',
        'blockdev-backup',
        'blockdev-snapshot',
        'blockdev-snapshot-internal-sync',
        'blockdev-snapshot-sync',
        'drive-backup',
      ],
      { 'drive-backup': ['deprecated'] },
    ),
    AbortWrapper: struct({ data: 'Abort' }),
    Abort: struct({}),
    BlockDirtyBitmapAddWrapper: struct({ data: 'BlockDirtyBitmapAdd' }),
    BlockDirtyBitmapWrapper: struct({ data: 'BlockDirtyBitmap' }),
    BlockDirtyBitmapMergeWrapper: struct({ data: 'BlockDirtyBitmapMerge' }),
    BlockdevBackupWrapper: struct({ data: 'BlockdevBackup' }),
    BlockdevSnapshotWrapper: struct({ data: 'BlockdevSnapshot' }),
    BlockdevSnapshotInternalWrapper: struct({ data: 'BlockdevSnapshotInternal' }),
    BlockdevSnapshotSyncWrapper: struct({ data: 'BlockdevSnapshotSync' }),
    DriveBackupWrapper: struct({ data: 'DriveBackup' }),
    TransactionProperties: struct({ '?completion-mode': 'ActionCompletionMode' }),
    ActionCompletionMode: enumeration(['individual', 'grouped']),
  },
  commands: {
    transaction: command({ actions: '[TransactionAction]', '?properties': 'TransactionProperties' }),
  },
}
