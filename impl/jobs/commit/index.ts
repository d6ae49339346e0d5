export { type CopyDownOptions, commitDown, copyDown } from './commit_down'
export { CommitJob } from './job'
export type { CommitOptions } from './options'
export { startCommit } from './start'
