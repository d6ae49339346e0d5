/** What the other rooms use of the block layer. */
export { type BackendHooks, BlockBackend } from './backend'
export { chainContains, findLastLayer, findOverlay, nodesAbove } from './chain'
export { DirtyBitmap } from './dirty_bitmap'
export {
  BlockDriver,
  type BlockStatus,
  type CheckFix,
  type CheckResult,
  type DriverInfo,
  type NewSnapshot,
  type PreallocationMode,
  type SnapshotInfo,
  type StatusMode,
  statusError,
  statusOf,
} from './driver'
export { BlockError, type QmpErrorClass } from './error'
export { type BlockLimits, defaultLimits, Permission, REQUEST_MAX_BYTES, RequestFlag, StatusFlag } from './flags'
export { BlockGraph, type NewEdge, type NewNode } from './graph'
export type { FileTraits, HostExtent, HostFile, HostFiles, OpenFileOptions } from './hostfile'
export {
  addBitmap,
  type BitmapInfo,
  BitmapRefusal,
  clearBitmap,
  defaultGranularity,
  enableBitmap,
  findBitmap,
  listBitmaps,
  mergeBitmaps,
  NamedBitmap,
  type NewBitmap,
  removeBitmap,
} from './named_bitmap'
export { BlockChild, BlockNode, type BlockParent, type ChildRole, type NodeOptions, type RequestGate } from './node'
export { type BlockOperation, checkUnblocked, type OperationBlocker } from './op_blockers'
export { type Allocation, isAllocatedAbove, probeAllZero } from './status'
export { type PartialTransfer, readWhole, writeWhole } from './whole_transfer'
export { isZero, ZERO_PIECE_BYTES, zeroBytes } from './zero_detect'
