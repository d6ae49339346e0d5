/**
 * Objects beside the block graph, as object-add makes them: throttle groups, secrets, keys and certificates, and I/O threads,
 * which are accepted and do nothing: everything here runs in one thread.
 *
 * What may fail: wrong descriptions and names, as BlockError with QEMU's texts.
 */
import { BlockError } from '../block'
import { getThrottleProperty, setThrottleProperty } from '../block/throttle/groups'
import type { BlockdevContext } from '../blockdev'
import { assert, EEXIST, ENOENT, type TlsCredentials } from '../co'
import type { JsonObject, JsonValue } from '../json'
import { toJson } from './events'

const WELL_FORMED = /^[A-Za-z][A-Za-z0-9._-]*$/

interface StoredObject {
  readonly type: string
  readonly object: JsonObject
}

export class ObjectStore {
  private readonly context: BlockdevContext
  private readonly makeCredentials: (type: string, object: JsonObject) => TlsCredentials
  private readonly objects = new Map<string, StoredObject>()
  private readonly credentials = new Map<string, TlsCredentials>()

  constructor(context: BlockdevContext, makeCredentials: (type: string, object: JsonObject) => TlsCredentials) {
    this.context = context
    this.makeCredentials = makeCredentials
  }

  /** `object` has been checked against ObjectOptions. Throws BlockError. */
  add(object: JsonObject): void {
    const type = object.get('qom-type')
    const id = object.get('id')
    assert(typeof type === 'string' && typeof id === 'string', 'object-checked')
    if (!WELL_FORMED.test(id)) throw new BlockError("Parameter 'id' expects an identifier")
    if (this.objects.has(id)) {
      throw new BlockError(`attempt to add duplicate property '${id}' to object (type 'container')`, { errno: EEXIST })
    }
    if (type === 'throttle-group') this.context.throttleGroups.create(id, propertiesOf(object))
    else if (type === 'secret') this.context.secrets.add(id, object)
    else if (type === 'tls-creds-x509' || type === 'tls-creds-psk') this.credentials.set(id, this.makeCredentials(type, object))
    else if (type !== 'iothread') throw new BlockError(`Objects of type '${type}' are not supported`)
    this.objects.set(id, { type, object: type === 'secret' ? withoutData(object) : object })
  }

  /** Throws BlockError. */
  remove(id: string): void {
    const stored = this.objects.get(id)
    if (stored === undefined) throw new BlockError(`object '${id}' not found`, { errno: ENOENT })
    if (stored.type === 'throttle-group') this.context.throttleGroups.remove(id)
    if (stored.type === 'secret') this.context.secrets.remove(id)
    this.credentials.delete(id)
    this.objects.delete(id)
  }

  tlsCredentials(id: string): TlsCredentials | null {
    return this.credentials.get(id) ?? null
  }
  /** Ids of all objects of a type. */
  ofType(type: string): string[] {
    return [...this.objects].filter(([, stored]) => stored.type === type).map(([id]) => id)
  }
  entries(): Array<[id: string, type: string]> {
    return [...this.objects].map(([id, { type }]) => [id, type])
  }

  /** qom-get. Throws BlockError. */
  get(path: string, property: string): JsonValue {
    const [id, stored] = this.find(path)
    const group = stored.type === 'throttle-group' ? this.context.throttleGroups.find(id) : null
    const value = group === null ? stored.object.get(property) : toJson(getThrottleProperty(group, property))
    if (property === 'type') return stored.type
    if (value === undefined) throw new BlockError(`Property '${stored.type}.${property}' not found`)
    return value
  }
  /** qom-set. Throws BlockError. */
  set(path: string, property: string, value: JsonValue): void {
    const [id, stored] = this.find(path)
    const group = stored.type === 'throttle-group' ? this.context.throttleGroups.find(id) : null
    if (group === null) throw new BlockError(`Property '${stored.type}.${property}' not found`)
    setThrottleProperty(group, property, value instanceof Map ? Object.fromEntries(value) : value)
  }
  private find(path: string): [string, StoredObject] {
    const id = path.replace(/^\/objects\//, '')
    const stored = this.objects.get(id)
    if (stored === undefined) {
      throw new BlockError(`Device '${path}' not found`, { errno: ENOENT, qmpClass: 'DeviceNotFound' })
    }
    return [id, stored]
  }
}

function propertiesOf(object: JsonObject): Record<string, unknown> {
  const properties: Record<string, unknown> = {}
  for (const [name, value] of object) {
    if (name === 'qom-type' || name === 'id') continue
    properties[name] = value instanceof Map ? Object.fromEntries(value) : value
  }
  return properties
}

/** What may be asked about a secret. */
function withoutData(object: JsonObject): JsonObject {
  const told = new Map(object)
  told.delete('data')
  return told
}
