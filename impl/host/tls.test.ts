import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockError } from '../block'
import { type ByteStream, type Co, makeLabel, OK, type TlsCredentials } from '../co'
import { HostLoop } from './loop'
import { Sockets } from './sockets'
import { pskCredentials, type TlsOptions, x509Credentials } from './tls'

const LABEL = makeLabel('test')
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tls-'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))

const openssl = (...args: string[]): void => {
  execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' })
}
const hasOpenssl = ((): boolean => {
  try {
    openssl('version')
    return true
  } catch {
    return false
  }
})()
const x509Test = hasOpenssl ? test : test.skip

/** An authority, and certificates for `localhost` and for a client that it has signed. */
function makeCertificates(name: string): string {
  const dir = path.join(folder, name)
  fs.mkdirSync(dir)
  const at = (file: string): string => path.join(dir, file)
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  openssl('req', '-x509', ...key, '-keyout', at('ca-key.pem'), '-out', at('ca-cert.pem'), '-subj', `/CN=${name}`)
  for (const end of ['server', 'client']) {
    openssl('req', ...key, '-keyout', at(`${end}-key.pem`), '-out', at('csr.pem'), '-subj', `/CN=${end}`)
    fs.writeFileSync(at('ext'), 'subjectAltName=DNS:localhost')
    const signed = ['-CA', at('ca-cert.pem'), '-CAkey', at('ca-key.pem'), '-CAcreateserial', '-extfile', at('ext')]
    openssl('x509', '-req', '-in', at('csr.pem'), '-out', at(`${end}-cert.pem`), ...signed)
  }
  return dir
}

/** Shakes hands on a socket and sends some bytes through; gives what went wrong at the client, or ''. */
async function shake(make: (loop: HostLoop) => [TlsCredentials, TlsCredentials], hostname: string | null): Promise<string> {
  const loop = new HostLoop()
  const sockets = new Sockets(loop)
  const [server, client] = make(loop)
  let text = ''
  function* serve(stream: ByteStream): Co<void> {
    try {
      const inner = yield* server.upgrade(stream, null)
      const buffer = new Uint8Array(100_000)
      for (let count = yield* inner.read(buffer); count > 0; count = yield* inner.read(buffer)) {
        assert.is(yield* inner.write(buffer.slice(0, count)), OK)
      }
      inner.close()
    } catch (error) {
      assert.instance(error, BlockError)
    }
  }
  function* call(stream: ByteStream): Co<void> {
    try {
      const inner = yield* client.upgrade(stream, hostname)
      const sent = Buffer.alloc(300_000, 'secret')
      function* send(): Co<void> {
        assert.is(yield* inner.write(sent), OK)
      }
      loop.kernel.spawn(send(), LABEL)
      const parts: Buffer[] = []
      const buffer = new Uint8Array(100_000)
      for (let bytes = 0; bytes < sent.length; ) {
        const count = yield* inner.read(buffer)
        // TLS 1.3 lets a client hear only later that it was refused.
        if (count <= 0) throw new BlockError(`read: ${count}`)
        parts.push(Buffer.from(buffer.subarray(0, count)))
        bytes += count
      }
      assert.ok(Buffer.concat(parts).equals(sent))
      inner.close()
    } catch (error) {
      assert.instance(error, BlockError)
      text = (error as Error).message
    }
  }
  function* main(): Co<void> {
    const listener = yield* sockets.listen({ type: 'inet', host: '127.0.0.1', port: 0 })
    const outgoing = yield* sockets.connect(listener.address)
    const incoming = yield* listener.accept()
    const serving = loop.kernel.spawn(serve(incoming!), LABEL)
    yield* call(outgoing)
    outgoing.close()
    incoming!.close()
    yield* loop.kernel.join(serving)
    listener.close()
  }
  await loop.run(main())
  return text
}

x509Test('certificates of one authority shake hands, and carry what is sent', async () => {
  const dir = makeCertificates('one')
  const pair =
    (client: Partial<TlsOptions> = {}) =>
    (loop: HostLoop): [TlsCredentials, TlsCredentials] => [
      x509Credentials(loop, { endpoint: 'server', dir }),
      x509Credentials(loop, { endpoint: 'client', dir, ...client }),
    ]
  assert.is(await shake(pair(), 'localhost'), '')
  assert.is(await shake(pair(), null), '')
  assert.match(await shake(pair(), 'elsewhere'), /TLS handshake failed: .*elsewhere/)
  // A client without a certificate is not let in where one is demanded.
  const bare = path.join(folder, 'bare')
  fs.mkdirSync(bare)
  fs.copyFileSync(path.join(dir, 'ca-cert.pem'), path.join(bare, 'ca-cert.pem'))
  assert.is.not(await shake(pair({ dir: bare }), 'localhost'), '')
  const other = makeCertificates('two')
  assert.is.not(await shake(pair({ dir: other }), 'localhost'), '')
})

test('keys that both know shake hands, others do not', async () => {
  const dirs = ['same', 'different'].map((name) => path.join(folder, name))
  for (const [index, dir] of dirs.entries()) {
    fs.mkdirSync(dir)
    fs.writeFileSync(path.join(dir, 'keys.psk'), `qemu:${`0${index}`.repeat(32)}\n`)
  }
  const pair =
    (dir: string) =>
    (loop: HostLoop): [TlsCredentials, TlsCredentials] => [
      pskCredentials(loop, { endpoint: 'server', dir: dirs[0]! }),
      pskCredentials(loop, { endpoint: 'client', dir }),
    ]
  assert.is(await shake(pair(dirs[0]!), null), '')
  assert.match(await shake(pair(dirs[1]!), null), /TLS handshake failed/)
})

test('missing and broken credentials are refused', () => {
  const loop = new HostLoop()
  const dir = path.join(folder, 'empty')
  fs.mkdirSync(dir)
  const messages = [
    () => x509Credentials(loop, { endpoint: 'server', dir }),
    () => pskCredentials(loop, { endpoint: 'client', dir }),
  ].map((attempt) => {
    try {
      attempt()
      return ''
    } catch (error) {
      return (error as Error).message
    }
  })
  assert.equal(messages, [
    `Unable to access credentials ${dir}/ca-cert.pem: No such file or directory`,
    `Unable to access credentials ${dir}/keys.psk: No such file or directory`,
  ])
})

test.run()
