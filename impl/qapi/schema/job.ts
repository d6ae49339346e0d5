/** Jobs of all kinds. */
import { command, enumeration, event, type QapiModule, struct } from '../types'

export const JOB: QapiModule = {
  types: {
    JobInfo: struct({
      id: 'str',
      type: 'JobType',
      status: 'JobStatus',
      'current-progress': 'int',
      'total-progress': 'int',
      '?error': 'str',
    }),
    JobType: enumeration([
      'commit',
      'stream',
      'mirror',
      'backup',
      'create',
      'amend',
      'snapshot-load',
      'snapshot-save',
      'snapshot-delete',
    ]),
    JobStatus: enumeration([
      'undefined',
      'created',
      'running',
      'paused',
      'ready',
      'standby',
      'waiting',
      'pending',
      'aborting',
      'concluded',
      'null',
    ]),
  },
  commands: {
    'job-pause': command({ id: 'str' }),
    'job-resume': command({ id: 'str' }),
    'job-cancel': command({ id: 'str' }),
    'job-complete': command({ id: 'str' }),
    'job-dismiss': command({ id: 'str' }),
    'job-finalize': command({ id: 'str' }),
    'query-jobs': command({}, '[JobInfo]'),
  },
  events: {
    JOB_STATUS_CHANGE: event({ id: 'str', status: 'JobStatus' }),
  },
}
