/** Everything that is declared, topic by topic. */
import type { QapiModule } from '../types'
import { BITMAPS } from './bitmaps'
import { BLOCK } from './block'
import { BLOCK_JOBS } from './block_jobs'
import { CHAR } from './char'
import { COMMON } from './common'
import { CONTROL } from './control'
import { CREATE } from './create'
import { DESCRIPTORS } from './descriptors'
import { DEVICES } from './devices'
import { EXPORTS } from './exports'
import { INTROSPECT } from './introspect'
import { JOB } from './job'
import { MACHINE } from './machine'
import { MIGRATION } from './migration'
import { NODES } from './nodes'
import { QOM } from './qom'
import { SOCKETS } from './sockets'
import { TRANSACTION } from './transaction'

export const QMP_MODULES: readonly QapiModule[] = [
  COMMON,
  SOCKETS,
  BLOCK,
  BLOCK_JOBS,
  BITMAPS,
  NODES,
  CREATE,
  JOB,
  EXPORTS,
  CHAR,
  CONTROL,
  INTROSPECT,
  QOM,
  TRANSACTION,
  MACHINE,
  DEVICES,
  DESCRIPTORS,
  MIGRATION,
]
