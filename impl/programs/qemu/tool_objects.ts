/**
 * `--object` of the command lines: secrets, which options of images refer to. Others that QEMU has are taken where they
 * change nothing about an image.
 *
 * What may fail: a description that is wrong, as BlockError with QEMU's texts.
 */
import { BlockError } from '../../block'
import type { Secrets } from '../../blockdev'
import { assert, EEXIST, type TlsCredentials } from '../../co'
import type { HostLoop } from '../../host'
import type { JsonObject } from '../../json'

/** Objects that have no effect on what an image holds. */
const WITHOUT_EFFECT = new Set(['iothread', 'main-loop', 'thread-context', 'throttle-group'])
const REFUSED = new Set(['tls-creds-anon', 'tls-cipher-suites', 'secret_keyring', 'authz-list', 'authz-simple'])

export class ToolObjects {
  private readonly ids = new Map<string, JsonObject>()
  private readonly credentials = new Map<string, TlsCredentials>()

  constructor(
    private readonly loop: HostLoop,
    private readonly secrets: Secrets,
  ) {}

  /** Keys and certificates by the id of their object; null: there is no such object, or it is another thing. */
  tlsCredentials(id: string): TlsCredentials | null {
    return this.credentials.get(id) ?? null
  }

  /** What such an object describes. Throws BlockError. */
  credentialsOf(type: string, object: JsonObject): TlsCredentials {
    return makeCredentials(this.loop, type, object)
  }

  add(object: JsonObject): void {
    const type = object.get('qom-type')
    if (typeof type !== 'string') throw new BlockError("Parameter 'qom-type' is missing")
    const id = object.get('id')
    const isTls = type === 'tls-creds-x509' || type === 'tls-creds-psk'
    const isKnown = type === 'secret' || isTls || WITHOUT_EFFECT.has(type)
    if (REFUSED.has(type)) throw new BlockError(`Objects of type '${type}' are not supported`)
    if (!isKnown) throw new BlockError(`Parameter 'qom-type' does not accept value '${type}'`)
    if (typeof id !== 'string') throw new BlockError("Parameter 'id' is missing")
    if (!/^[A-Za-z][A-Za-z0-9._-]*$/.test(id)) throw new BlockError("Parameter 'id' expects an identifier")
    if (this.ids.has(id)) {
      throw new BlockError(`attempt to add duplicate property '${id}' to object (type 'container')`, { errno: EEXIST })
    }
    if (type === 'secret') this.secrets.add(id, object)
    if (isTls) this.credentials.set(id, makeCredentials(this.loop, type, object))
    this.ids.set(id, object)
    assert(this.ids.has(id), 'object-added')
  }
}

const TLS_MEMBERS = new Set([
  'qom-type',
  'id',
  'dir',
  'endpoint',
  'verify-peer',
  'priority',
  'sanity-check',
  'passwordid',
  'username',
])

function makeCredentials(loop: HostLoop, type: string, object: JsonObject): TlsCredentials {
  for (const key of object.keys()) {
    if (!TLS_MEMBERS.has(key)) throw new BlockError(`Parameter '${key}' is unexpected`)
  }
  const endpoint = object.get('endpoint') ?? 'client'
  if (endpoint !== 'client' && endpoint !== 'server') {
    throw new BlockError(`Parameter 'endpoint' does not accept value '${String(endpoint)}'`)
  }
  const dir = object.get('dir')
  if (typeof dir !== 'string') throw new BlockError("Missing 'dir' property value")
  const verify = object.get('verify-peer')
  const verifyPeer = verify === undefined || verify === true || verify === 'on' || verify === 'yes' || verify === 'true'
  const username = object.get('username')
  const { pskCredentials, x509Credentials }: typeof import('../../host/tls') = require('../../host/tls')
  if (type === 'tls-creds-x509') return x509Credentials(loop, { endpoint, dir, verifyPeer })
  return pskCredentials(loop, { endpoint, dir }, typeof username === 'string' ? username : undefined)
}
