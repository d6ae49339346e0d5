/** What several topics use. */
import { alternate, enumeration, type QapiModule } from '../types'

export const COMMON: QapiModule = {
  types: {
    OnOffAuto: enumeration(['auto', 'on', 'off']),
    StrOrNull: alternate({ s: 'str', n: 'null' }),
    IoOperationType: enumeration(['read', 'write']),
  },
}
