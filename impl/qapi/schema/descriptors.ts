/** Descriptors in sets, and by names. */
import { command, type QapiModule, struct } from '../types'

export const DESCRIPTORS: QapiModule = {
  types: {
    AddfdInfo: struct({ 'fdset-id': 'int', fd: 'int' }),
    FdsetFdInfo: struct({ fd: 'int', '?opaque': 'str' }),
    FdsetInfo: struct({ 'fdset-id': 'int', fds: '[FdsetFdInfo]' }),
  },
  commands: {
    getfd: command({ fdname: 'str' }),
    closefd: command({ fdname: 'str' }),
    'add-fd': command({ '?fdset-id': 'int', '?opaque': 'str' }, 'AddfdInfo'),
    'remove-fd': command({ 'fdset-id': 'int', '?fd': 'int' }),
    'query-fdsets': command({}, '[FdsetInfo]'),
  },
}
