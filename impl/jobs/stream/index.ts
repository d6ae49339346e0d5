export { StreamJob } from './job'
export type { StreamOptions } from './options'
export { startStream } from './start'
