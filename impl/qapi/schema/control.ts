/** The monitor itself. */
import { command, enumeration, type QapiModule, struct } from '../types'

export const CONTROL: QapiModule = {
  types: {
    QMPCapability: enumeration(['oob']),
    VersionInfo: struct({ qemu: 'VersionTriple', package: 'str' }),
    VersionTriple: struct({ major: 'int', minor: 'int', micro: 'int' }),
    CommandInfo: struct({ name: 'str' }),
  },
  commands: {
    qmp_capabilities: command({ '?enable': '[QMPCapability]' }, null, { allowsPreconfig: true }),
    'query-version': command({}, 'VersionInfo', { allowsPreconfig: true }),
    'query-commands': command({}, '[CommandInfo]', { allowsPreconfig: true }),
    quit: command({}, null, { allowsPreconfig: true }),
  },
}
