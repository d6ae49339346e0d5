/**
 * Where a machine is moved to, or comes from: `unix:PATH`, `tcp:HOST:PORT`, `exec:COMMAND`, `fd:N`.
 *
 * What may fail: other addresses, as BlockError with QEMU's text.
 */
import { BlockError } from '../../block'
import type { SocketAddress } from '../../co'

export type MigrationAddress = SocketAddress | { readonly type: 'exec'; readonly command: string }

export function parseMigrationUri(uri: string): MigrationAddress {
  const colon = uri.indexOf(':')
  const protocol = uri.slice(0, Math.max(colon, 0))
  const rest = uri.slice(colon + 1)
  if (protocol === 'unix') return { type: 'unix', path: rest }
  if (protocol === 'exec') return { type: 'exec', command: rest }
  if (protocol === 'fd') {
    if (!/^\d+$/.test(rest)) throw new BlockError(`File descriptor named '${rest}' has not been found`)
    return { type: 'fd', descriptor: Number(rest) }
  }
  if (protocol === 'tcp') {
    const match = /^(?:\[(.*)\]|([^:]*)):(\d+)(?:,.*)?$/.exec(rest)
    const port = Number(match?.[3])
    if (match === null || port > 65535) throw new BlockError(`error parsing address '${rest}'`)
    // Another address than the loopback has to be asked for.
    return { type: 'inet', host: match[1] ?? (match[2] === '' ? '127.0.0.1' : match[2]!), port }
  }
  throw new BlockError(`unknown migration protocol: ${uri}`)
}
