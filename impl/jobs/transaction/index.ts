export {
  abortAction,
  addBitmapAction,
  BackupAction,
  clearBitmapAction,
  enableBitmapAction,
  mergeBitmapsAction,
  removeBitmapAction,
} from './actions'
export { changeBackingFile, type OverlaySource, SnapshotAction } from './snapshot'
export { type CompletionMode, runTransaction, type TransactionAction } from './transaction'
