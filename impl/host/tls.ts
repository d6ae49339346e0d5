/**
 * TLS on sockets of this machine, with credentials as QEMU's objects `tls-creds-x509` and `tls-creds-psk` have them: a folder
 * of files with fixed names.
 *
 * What may fail: files that are missing or broken, and handshakes, as a BlockError. What never may: a peer that is taken
 * for verified without having been.
 */
import * as fs from 'node:fs'
import * as net from 'node:net'
import * as path from 'node:path'
import * as tls from 'node:tls'
import { BlockError } from '../block'
import { assert, type ByteStream, type Co, EACCES, EINVAL, EIO, type Errno, OK, strerror, type TlsCredentials } from '../co'
import { errnoOf } from './errors'
import type { HostLoop } from './loop'
import { NodeStream } from './node_stream'
import { socketOf } from './sockets'
import { callBack } from './transfers'

export interface TlsOptions {
  readonly endpoint: 'server' | 'client'
  readonly dir: string
  /** Of x509: the other end needs a certificate that the authority has signed. True if absent. */
  readonly verifyPeer?: boolean
}

const X509_FILES = {
  server: ['server-cert.pem', 'server-key.pem'],
  client: ['client-cert.pem', 'client-key.pem'],
} as const
const PSK_FILE = 'keys.psk'
const PSK_USER = 'qemu'
/** With keys that both ends know, and certificates of neither. */
const PSK_CIPHERS =
  'ECDHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES256-GCM-SHA384:DHE-PSK-AES128-GCM-SHA256:PSK-AES256-GCM-SHA384:PSK-AES128-GCM-SHA256'

/** Certificates and keys of `dir`. Throws BlockError. */
export function x509Credentials(loop: HostLoop, options: TlsOptions): TlsCredentials {
  const { endpoint, dir, verifyPeer = true } = options
  const [certFile, keyFile] = X509_FILES[endpoint]
  const ca = readFile(dir, 'ca-cert.pem')
  const crl = fs.existsSync(path.join(dir, 'ca-crl.pem')) ? readFile(dir, 'ca-crl.pem') : undefined
  // A client may have no certificate of its own.
  const hasOwn = endpoint === 'server' || fs.existsSync(path.join(dir, certFile))
  const own = hasOwn ? { cert: readFile(dir, certFile), key: readFile(dir, keyFile) } : {}
  const context: tls.SecureContextOptions = { ca, ...own, ...(crl === undefined ? {} : { crl }), minVersion: 'TLSv1.2' }
  checkContext(context, dir)
  if (endpoint === 'server')
    return serverCredentials(loop, { ...context, requestCert: verifyPeer, rejectUnauthorized: verifyPeer })
  return clientCredentials(loop, (hostname) => ({
    ...context,
    rejectUnauthorized: verifyPeer,
    ...(hostname !== null && net.isIP(hostname) === 0 ? { servername: hostname } : {}),
    // Without a name there is nothing to compare with; the authority has signed it all the same.
    checkServerIdentity: (_host, cert) => (hostname === null ? undefined : tls.checkServerIdentity(hostname, cert)),
  }))
}

/** Keys that both ends know: `keys.psk` of `dir` has lines `user:key`, the key in hexadecimal. Throws BlockError. */
export function pskCredentials(loop: HostLoop, { endpoint, dir }: TlsOptions, username = PSK_USER): TlsCredentials {
  const keys = parseKeys(dir, readFile(dir, PSK_FILE).toString('latin1'))
  const common: tls.SecureContextOptions = { ciphers: PSK_CIPHERS, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' }
  if (endpoint === 'server') {
    return serverCredentials(loop, { ...common, pskCallback: (_socket, identity) => keys.get(identity) ?? null })
  }
  const psk = keys.get(username)
  if (psk === undefined) throw new BlockError(`PSK file ${path.join(dir, PSK_FILE)}: Username ${username} not found`)
  return clientCredentials(loop, () => ({
    ...common,
    pskCallback: () => ({ psk, identity: username }),
    checkServerIdentity: () => undefined,
  }))
}

function readFile(dir: string, name: string): Buffer {
  const file = path.join(dir, name)
  try {
    return fs.readFileSync(file)
  } catch (error) {
    throw new BlockError(`Unable to access credentials ${file}: ${strerror(errnoOf(error))}`, { errno: errnoOf(error) })
  }
}

function checkContext(context: tls.SecureContextOptions, dir: string): void {
  try {
    tls.createSecureContext(context)
  } catch (error) {
    throw new BlockError(`Cannot load certificates from ${dir}: ${(error as Error).message}`, { errno: EINVAL })
  }
}

function parseKeys(dir: string, text: string): Map<string, Buffer> {
  const keys = new Map<string, Buffer>()
  for (const line of text.split('\n')) {
    if (line.trim() === '' || line.startsWith('#')) continue
    const match = /^([^:]+):([0-9a-fA-F]+)\s*$/.exec(line)
    if (match === null || match[2]!.length % 2 !== 0)
      throw new BlockError(`PSK file ${path.join(dir, PSK_FILE)} has a malformed line`)
    keys.set(match[1]!, Buffer.from(match[2]!, 'hex'))
  }
  return keys
}

type Finish = (failure: Error | null, socket: tls.TLSSocket | null) => void

function serverCredentials(loop: HostLoop, options: tls.TlsOptions): TlsCredentials {
  return {
    endpoint: 'server',
    upgrade: (stream) =>
      upgrade(loop, stream, (socket, finish) => {
        // It listens to nothing: it only knows how to shake hands, and whom to trust.
        const server = tls.createServer(options)
        server.once('secureConnection', (inner) => finish(null, inner))
        server.once('tlsClientError', (error) => finish(error, null))
        server.emit('connection', socket)
      }),
  }
}

function clientCredentials(loop: HostLoop, optionsFor: (hostname: string | null) => tls.ConnectionOptions): TlsCredentials {
  return {
    endpoint: 'client',
    upgrade: (stream, hostname) =>
      upgrade(loop, stream, (socket, finish) => {
        const inner = tls.connect({ ...optionsFor(hostname), socket })
        inner.once('secureConnect', () => finish(null, inner))
        inner.once('error', (error) => finish(error, null))
      }),
  }
}

function* upgrade(loop: HostLoop, stream: ByteStream, begin: (socket: net.Socket, finish: Finish) => void): Co<ByteStream> {
  const socket = socketOf(stream)
  if (socket === null || !(stream instanceof NodeStream) || !stream.handOver()) {
    stream.close()
    throw new BlockError('TLS cannot start on this stream', { errno: EINVAL })
  }
  // TLS says for itself that an end has come; a peer that goes without a word is to be noticed.
  socket.allowHalfOpen = false
  let inner: tls.TLSSocket | null = null
  let text = ''
  const errno = yield* callBack(loop, (done) => {
    let isDone = false
    const finish = (result: Errno): void => {
      if (!isDone) done(result)
      isDone = true
    }
    socket.once('close', () => finish(EIO))
    begin(socket, (failure, made) => {
      inner = made
      text = failure?.message ?? ''
      finish(failure === null ? OK : EACCES)
    })
  })
  if (errno !== OK || inner === null) {
    socket.destroy()
    throw new BlockError(`TLS handshake failed: ${text === '' ? 'The connection was closed' : text}`, { errno })
  }
  const made: tls.TLSSocket = inner
  assert(made.encrypted, 'tls-is-on')
  return new NodeStream({ loop, peer: stream.peer, readable: made, writable: made, destroy: () => made.destroy() })
}
