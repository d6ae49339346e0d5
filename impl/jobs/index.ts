export { type BlockJobInfo, type IoStatus, Job, type JobInfo, type JobStatus, type JobVerb } from './job'
export { type JobEvent, JobManager } from './job_manager'
export { type CopyMode, type ErrorPolicy, MirrorJob, type MirrorOptions, type MirrorView, startMirror } from './mirror'
