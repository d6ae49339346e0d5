/** The commands of each program. */
import type { CommandTable } from '../command'
import { BITMAP_COMMANDS } from './bitmaps'
import { BLOCK_JOB_COMMANDS } from './block_jobs'
import { CONTROL_COMMANDS } from './control'
import { EXPORT_COMMANDS } from './exports'
import { JOB_COMMANDS } from './jobs'
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

/** What only a machine has. */
const OF_MACHINES: ReadonlySet<string> = new Set(['query-status', 'query-name', 'query-iothreads', 'block_set_io_throttle'])

export const DAEMON_COMMANDS: CommandTable = Object.fromEntries(Object.entries(ALL).filter(([name]) => !OF_MACHINES.has(name)))
export const SYSTEM_COMMANDS: CommandTable = ALL
