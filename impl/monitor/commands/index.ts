/** The commands of each program. */
import type { CommandTable } from '../command'
import { BITMAP_COMMANDS } from './bitmaps'
import { BLOCK_JOB_COMMANDS } from './block_jobs'
import { CONTROL_COMMANDS, queryIothreads } from './control'
import { DESCRIPTOR_COMMANDS } from './descriptors'
import { EXPORT_COMMANDS } from './exports'
import { JOB_COMMANDS } from './jobs'
import { MACHINE_COMMANDS } from './machine'
import { MEDIA_COMMANDS } from './media'
import { MIGRATION_COMMANDS } from './migration'
import { NODE_COMMANDS } from './nodes'
import { QUERY_COMMANDS } from './queries'
import { SNAPSHOT_COMMANDS } from './snapshots'

const ALL: CommandTable = {
  ...CONTROL_COMMANDS,
  ...NODE_COMMANDS,
  ...QUERY_COMMANDS,
  ...JOB_COMMANDS,
  ...BLOCK_JOB_COMMANDS,
  ...SNAPSHOT_COMMANDS,
  ...BITMAP_COMMANDS,
  ...EXPORT_COMMANDS,
}

export const DAEMON_COMMANDS: CommandTable = ALL

/** What only a machine has comes last. */
export const SYSTEM_COMMANDS: CommandTable = {
  ...ALL,
  ...MACHINE_COMMANDS,
  ...MEDIA_COMMANDS,
  ...DESCRIPTOR_COMMANDS,
  ...MIGRATION_COMMANDS,
  'query-iothreads': queryIothreads,
}
