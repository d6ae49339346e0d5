export type {
  FilterRequestView,
  MirrorOperationView,
  MirrorPhase,
  MirrorView,
} from './inspect'
export { MirrorJob } from './job'
export type { CopyMode, MirrorOptions } from './options'
export { launch, startMirror } from './start'
