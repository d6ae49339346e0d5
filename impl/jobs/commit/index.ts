export { CommitJob } from './job'
export type { CommitOptions } from './options'
export { startCommit } from './start'
