/**
 * Names of exports: `nbd://host:port/export`, `nbd+unix:///export?socket=/path`, `nbds://…` for TLS, and QEMU's older
 * `nbd:host:port:exportname=…`, `nbd:unix:/path:exportname=…`.
 *
 * What may fail: a name that is none, as a BlockError with QEMU's text.
 */
import { BlockError } from '../block'
import { EINVAL, type SocketAddress } from '../co'
import { DEFAULT_PORT } from './protocol'

export interface NbdTarget {
  readonly server: SocketAddress
  readonly exportName: string
  /** The name asks for TLS. */
  readonly isTls: boolean
}

const URI = /^(nbd|nbds)(?:\+(tcp|unix))?:\/\/([^/?#]*)(\/[^?#]*)?(?:\?([^#]*))?$/
const AUTHORITY = /^(?:[^@]*@)?(\[[^\]]*\]|[^:[\]]*)(?::(\d*))?$/
const EXPORT_MARK = ':exportname='

/** `filename` with its prefix. Throws BlockError. */
export function parseNbdName(filename: string): NbdTarget {
  if (filename.includes('://')) return parseUri(filename)
  const mark = filename.indexOf(EXPORT_MARK)
  const exportName = mark < 0 ? '' : filename.slice(mark + EXPORT_MARK.length)
  const address = (mark < 0 ? filename : filename.slice(0, mark)).slice('nbd:'.length)
  if (address === '') throw new BlockError('NBD server address missing', { errno: EINVAL })
  if (address.startsWith('unix:')) {
    return { server: { type: 'unix', path: address.slice('unix:'.length) }, exportName, isTls: false }
  }
  return { server: parseInet(address), exportName, isTls: false }
}

/** `host:port`, or `[host]:port`. Throws BlockError. */
export function parseInet(text: string): SocketAddress {
  const match = /^(\[[^\]]*\]|[^:]*):(\d+)$/.exec(text)
  if (match === null) throw new BlockError(`error parsing address '${text}'`, { errno: EINVAL })
  return { type: 'inet', host: unbracket(match[1]!), port: portOf(match[2]!) }
}

function parseUri(uri: string): NbdTarget {
  const match = URI.exec(uri)
  const target = match === null ? null : targetOf(match)
  if (target === null) throw new BlockError('No valid URL specified', { errno: EINVAL })
  return target
}

function targetOf([, scheme, transport, authority = '', path = '', query = '']: RegExpExecArray): NbdTarget | null {
  const exportName = decode(path.startsWith('/') ? path.slice(1) : path)
  const isTls = scheme === 'nbds'
  if (exportName === null) return null
  if (transport === 'unix') {
    const socket = /^socket=([^&]+)$/.exec(query)
    const socketPath = socket === null ? null : decode(socket[1]!)
    if (socketPath === null || authority !== '') return null
    return { server: { type: 'unix', path: socketPath }, exportName, isTls }
  }
  const where = AUTHORITY.exec(authority)
  if (where === null || query !== '' || where[1] === '') return null
  const port = where[2] === undefined || where[2] === '' ? DEFAULT_PORT : portOf(where[2])
  const host = decode(unbracket(where[1]!))
  return host === null ? null : { server: { type: 'inet', host, port }, exportName, isTls }
}

function unbracket(host: string): string {
  return host.startsWith('[') ? host.slice(1, -1) : host
}
function portOf(text: string): number {
  return Math.min(Number(text), Number.MAX_SAFE_INTEGER)
}
function decode(text: string): string | null {
  try {
    return decodeURIComponent(text)
  } catch {
    return null
  }
}

/** The name under which `target` is found again. */
export function nbdName({ server, exportName, isTls }: NbdTarget): string {
  const scheme = isTls ? 'nbds' : 'nbd'
  const name = encodeURI(exportName).replace(/[?#]/g, encodeURIComponent)
  if (server.type === 'unix') return `${scheme}+unix://${name === '' ? '' : `/${name}`}?socket=${server.path}`
  if (server.type === 'fd') return `${scheme}:fd:${server.descriptor}`
  const host = server.host.includes(':') ? `[${server.host}]` : server.host
  return `${scheme}://${host}:${server.port}${name === '' ? '' : `/${name}`}`
}
