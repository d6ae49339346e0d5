export { BackupJob } from './job'
export type { BackupOptions, BackupSync, BitmapMode } from './options'
export { startBackup } from './start'
