/** Character devices. */
import { command, enumeration, type QapiModule, struct } from '../types'

export const CHAR: QapiModule = {
  types: {
    /** Of the command line `--monitor`. */
    MonitorOptions: struct({ '?id': 'str', '?mode': 'MonitorMode', '?pretty': 'bool', chardev: 'str' }),
    MonitorMode: enumeration(['readline', 'control']),
    ChardevInfo: struct({ label: 'str', filename: 'str', 'frontend-open': 'bool' }),
  },
  commands: {
    'query-chardev': command({}, '[ChardevInfo]', { allowsPreconfig: true }),
  },
}
