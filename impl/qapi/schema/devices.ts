/** Block devices of a machine. */
import { command, enumeration, event, type QapiModule, struct } from '../types'

export const DEVICES: QapiModule = {
  types: {
    BlockIOThrottle: struct({
      '?device': { type: 'str', features: ['deprecated'] },
      '?id': 'str',
      bps: 'int',
      bps_rd: 'int',
      bps_wr: 'int',
      iops: 'int',
      iops_rd: 'int',
      iops_wr: 'int',
      '?bps_max': 'int',
      '?bps_rd_max': 'int',
      '?bps_wr_max': 'int',
      '?iops_max': 'int',
      '?iops_rd_max': 'int',
      '?iops_wr_max': 'int',
      '?bps_max_length': 'int',
      '?bps_rd_max_length': 'int',
      '?bps_wr_max_length': 'int',
      '?iops_max_length': 'int',
      '?iops_rd_max_length': 'int',
      '?iops_wr_max_length': 'int',
      '?iops_size': 'int',
      '?group': 'str',
    }),
    BlockdevChangeReadOnlyMode: enumeration(['retain', 'read-only', 'read-write']),
  },
  commands: {
    block_set_io_throttle: command('BlockIOThrottle', null, { allowsPreconfig: true }),
    eject: command({ '?device': { type: 'str', features: ['deprecated'] }, '?id': 'str', '?force': 'bool' }),
    'blockdev-open-tray': command({ '?device': { type: 'str', features: ['deprecated'] }, '?id': 'str', '?force': 'bool' }),
    'blockdev-close-tray': command({ '?device': { type: 'str', features: ['deprecated'] }, '?id': 'str' }),
    'blockdev-remove-medium': command({ id: 'str' }),
    'blockdev-insert-medium': command({ id: 'str', 'node-name': 'str' }),
    'blockdev-change-medium': command({
      '?device': { type: 'str', features: ['deprecated'] },
      '?id': 'str',
      filename: 'str',
      '?format': 'str',
      '?force': 'bool',
      '?read-only-mode': 'BlockdevChangeReadOnlyMode',
    }),
  },
  events: {
    DEVICE_TRAY_MOVED: event({ device: 'str', id: 'str', 'tray-open': 'bool' }),
  },
}
