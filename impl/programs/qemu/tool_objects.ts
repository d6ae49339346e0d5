/**
 * `--object` of the command lines: secrets, which options of images refer to. Others that QEMU has are taken where they
 * change nothing about an image.
 *
 * What may fail: a description that is wrong, as BlockError with QEMU's texts.
 */
import { BlockError } from '../../block'
import { assert, EEXIST } from '../../co'
import type { JsonObject } from '../../json'

/** Objects that have no effect on what an image holds. */
const WITHOUT_EFFECT = new Set(['iothread', 'main-loop', 'thread-context', 'throttle-group'])
const REFUSED = new Set([
  'tls-creds-anon',
  'tls-creds-psk',
  'tls-creds-x509',
  'tls-cipher-suites',
  'secret_keyring',
  'authz-list',
  'authz-simple',
])

export class ToolObjects {
  private readonly ids = new Map<string, JsonObject>()

  add(object: JsonObject): void {
    const type = object.get('qom-type')
    if (typeof type !== 'string') throw new BlockError("Parameter 'qom-type' is missing")
    const id = object.get('id')
    const isKnown = type === 'secret' || WITHOUT_EFFECT.has(type)
    if (REFUSED.has(type)) throw new BlockError(`Objects of type '${type}' are not supported`)
    if (!isKnown) throw new BlockError(`Parameter 'qom-type' does not accept value '${type}'`)
    if (typeof id !== 'string') throw new BlockError("Parameter 'id' is missing")
    if (!/^[A-Za-z][A-Za-z0-9._-]*$/.test(id)) throw new BlockError("Parameter 'id' expects an identifier")
    if (type === 'secret') checkSecret(object)
    if (this.ids.has(id)) {
      throw new BlockError(`attempt to add duplicate property '${id}' to object (type 'container')`, { errno: EEXIST })
    }
    this.ids.set(id, object)
    assert(this.ids.has(id), 'object-added')
  }
}

const SECRET_MEMBERS = new Set(['qom-type', 'id', 'data', 'file', 'format', 'keyid', 'iv'])

function checkSecret(object: JsonObject): void {
  for (const key of object.keys()) {
    if (!SECRET_MEMBERS.has(key)) throw new BlockError(`Parameter '${key}' is unexpected`)
  }
  if (object.has('data') && object.has('file')) throw new BlockError("'file' and 'data' are mutually exclusive")
  if (!object.has('data') && !object.has('file')) throw new BlockError("Must provide 'file' or 'data'")
}
