export { BackupJob } from './job'
export type { BackupOptions, BackupSync, BitmapMode } from './options'
export { createBackup, startBackup } from './start'
