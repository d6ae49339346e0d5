export { BackupJob } from './job'
export type { BackupOptions, BackupSync } from './options'
export { createBackup, startBackup } from './start'
