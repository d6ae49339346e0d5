/** Exports and the NBD server. */
import { command, enumeration, event, type QapiModule, struct, union } from '../types'

export const EXPORTS: QapiModule = {
  types: {
    /** Of the command line `--nbd-server`. */
    NbdServerOptions: struct({ addr: 'SocketAddress' }, 'NbdServerOptionsBase'),
    NbdServerOptionsLegacy: struct({ addr: 'SocketAddressLegacy' }, 'NbdServerOptionsBase'),
    NbdServerOptionsBase: struct({
      '?handshake-max-seconds': 'uint32',
      '?tls-creds': 'str',
      '?tls-authz': 'str',
      '?max-connections': 'uint32',
    }),
    NbdServerAddOptions: struct({ device: 'str', '?writable': 'bool', '?bitmap': 'str' }, 'BlockExportOptionsNbdBase'),
    BlockExportOptionsNbdBase: struct({ '?name': 'str', '?description': 'str' }),
    BlockExportRemoveMode: enumeration(['safe', 'hard']),
    BlockExportOptions: union(
      {
        type: 'BlockExportType',
        id: 'str',
        '?fixed-iothread': 'bool',
        '?iothread': 'str',
        'node-name': 'str',
        '?writable': 'bool',
        '?writethrough': 'bool',
        '?allow-inactive': 'bool',
      },
      'type',
      { nbd: 'BlockExportOptionsNbd' },
    ),
    BlockExportType: enumeration(['nbd']),
    BlockExportOptionsNbd: struct(
      { '?bitmaps': '[BlockDirtyBitmapOrStr]', '?allocation-depth': 'bool' },
      'BlockExportOptionsNbdBase',
    ),
    BlockExportInfo: struct({ id: 'str', type: 'BlockExportType', 'node-name': 'str', 'shutting-down': 'bool' }),
  },
  commands: {
    'nbd-server-start': command('NbdServerOptionsLegacy', null, { allowsPreconfig: true }),
    'nbd-server-add': command('NbdServerAddOptions', null, { allowsPreconfig: true, features: ['deprecated'] }),
    'nbd-server-remove': command({ name: 'str', '?mode': 'BlockExportRemoveMode' }, null, {
      allowsPreconfig: true,
      features: ['deprecated'],
    }),
    'nbd-server-stop': command({}, null, { allowsPreconfig: true }),
    'block-export-add': command('BlockExportOptions', null, { allowsPreconfig: true }),
    'block-export-del': command({ id: 'str', '?mode': 'BlockExportRemoveMode' }, null, { allowsPreconfig: true }),
    'query-block-exports': command({}, '[BlockExportInfo]', { allowsPreconfig: true }),
  },
  events: {
    BLOCK_EXPORT_DELETED: event({ id: 'str' }),
  },
}
