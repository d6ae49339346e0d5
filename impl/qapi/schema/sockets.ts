/** Addresses of sockets. */
import { enumeration, type QapiModule, struct, union } from '../types'

export const SOCKETS: QapiModule = {
  types: {
    SocketAddress: union({ type: 'SocketAddressType' }, 'type', {
      inet: 'InetSocketAddress',
      unix: 'UnixSocketAddress',
      vsock: 'VsockSocketAddress',
      fd: 'FdSocketAddress',
    }),
    SocketAddressType: enumeration(['inet', 'unix', 'vsock', 'fd']),
    InetSocketAddress: struct(
      {
        '?numeric': 'bool',
        '?to': 'uint16',
        '?ipv4': 'bool',
        '?ipv6': 'bool',
        '?keep-alive': 'bool',
        '?keep-alive-count': 'uint32',
        '?keep-alive-idle': 'uint32',
        '?keep-alive-interval': 'uint32',
        '?mptcp': 'bool',
      },
      'InetSocketAddressBase',
    ),
    InetSocketAddressBase: struct({ host: 'str', port: 'str' }),
    UnixSocketAddress: struct({ path: 'str', '?abstract': 'bool', '?tight': 'bool' }),
    VsockSocketAddress: struct({ cid: 'str', port: 'str' }),
    FdSocketAddress: struct({ str: 'str' }),
    SocketAddressLegacy: union({ type: 'SocketAddressType' }, 'type', {
      inet: 'InetSocketAddressWrapper',
      unix: 'UnixSocketAddressWrapper',
      vsock: 'VsockSocketAddressWrapper',
      fd: 'FdSocketAddressWrapper',
    }),
    InetSocketAddressWrapper: struct({ data: 'InetSocketAddress' }),
    UnixSocketAddressWrapper: struct({ data: 'UnixSocketAddress' }),
    VsockSocketAddressWrapper: struct({ data: 'VsockSocketAddress' }),
    FdSocketAddressWrapper: struct({ data: 'FdSocketAddress' }),
  },
}
