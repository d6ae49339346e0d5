/** Character devices. */
import { command, type QapiModule, struct } from '../types'

export const CHAR: QapiModule = {
  types: {
    ChardevInfo: struct({ label: 'str', filename: 'str', 'frontend-open': 'bool' }),
  },
  commands: {
    'query-chardev': command({}, '[ChardevInfo]', { allowsPreconfig: true }),
  },
}
