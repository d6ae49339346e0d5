export type {
  FilterRequestView,
  MirrorOperationView,
  MirrorPhase,
  MirrorView,
} from './inspect'
export { MirrorJob } from './job'
export type { CopyMode, ErrorPolicy, MirrorOptions } from './options'
export { startMirror } from './start'
