/**
 * What `query-qmp-schema` tells: the declarations that are reachable from commands and events, with numbers in place of the
 * names of types, since those are no promise.
 */
import { assert } from '../co'
import { type JsonObject, type JsonValue, jsonObject } from '../json'
import { BUILTINS, type Member, type QapiSchema } from './declarations'
import type { Feature, Members, QapiType } from './types'

export function introspect(schema: QapiSchema): JsonValue[] {
  return new Introspection(schema).run()
}

const INTEGER = 'int'

class Introspection {
  private readonly schema: QapiSchema
  private readonly entities: JsonValue[] = []
  /** What each type is called here. */
  private readonly masks = new Map<string, string>()
  private readonly waiting: Array<() => JsonObject> = []
  private nextNumber = 0

  constructor(schema: QapiSchema) {
    this.schema = schema
  }

  run(): JsonValue[] {
    for (const [name, { arguments: args, returns, allowsOutOfBand, features }] of this.schema.commands) {
      this.add({
        name,
        'meta-type': 'command',
        'arg-type': this.object(args, `:${name}-arg`),
        'ret-type': returns === null ? this.object({}, '') : this.mask(returns),
        'allow-oob': allowsOutOfBand || undefined,
        ...featuresOf(features),
      })
    }
    for (const [name, { data, features }] of this.schema.events) {
      this.add({ name, 'meta-type': 'event', 'arg-type': this.object(data, `:${name}-event`), ...featuresOf(features) })
    }
    for (let next = this.waiting.shift(); next !== undefined; next = this.waiting.shift()) this.entities.push(next())
    assert(this.waiting.length === 0, 'introspected-all')
    return this.entities
  }

  private add(members: Record<string, JsonValue | undefined>): void {
    this.entities.push(jsonObject(members))
  }

  /** The mask of an object type, which may have no name of its own; without members it is the one empty type. */
  private object(type: string | Members, implicitName: string): string {
    if (typeof type === 'string') return this.mask(type)
    const members = this.schema.membersOf(type)
    const key = members.length === 0 ? ':empty' : implicitName
    return this.maskOnce(key, (mask) => this.describeObject(mask, members))
  }

  private maskOnce(key: string, describe: (mask: string) => JsonObject): string {
    const known = this.masks.get(key)
    if (known !== undefined) return known
    const mask = String(this.nextNumber++)
    this.masks.set(key, mask)
    this.waiting.push(() => describe(mask))
    return mask
  }

  private mask(type: string): string {
    const element = this.schema.elementOf(type)
    if (element !== null) {
      const inner = this.mask(element)
      const name = `[${inner}]`
      if (!this.masks.has(name)) {
        this.masks.set(name, name)
        this.waiting.push(() => jsonObject({ name, 'element-type': inner, 'meta-type': 'array' }))
      }
      return name
    }
    const declared = this.schema.type(type)
    return declared === undefined ? this.builtin(type) : this.maskOnce(type, (mask) => this.describe(mask, type, declared))
  }

  /** Integers of all sizes are one type to the outside. */
  private builtin(type: string): string {
    const jsonType = BUILTINS[type]!
    const name = jsonType === INTEGER ? INTEGER : type
    if (!this.masks.has(name)) {
      this.masks.set(name, name)
      this.waiting.push(() => jsonObject({ name, 'json-type': jsonType, 'meta-type': 'builtin' }))
    }
    return name
  }

  private describe(mask: string, name: string, type: QapiType): JsonObject {
    switch (type.kind) {
      case 'enum':
        return jsonObject({
          name: mask,
          'meta-type': 'enum',
          members: type.values.map((value) => jsonObject({ name: value, ...featuresOf(type.features[value] ?? []) })),
          values: [...type.values],
        })
      case 'alternate':
        return jsonObject({
          name: mask,
          'meta-type': 'alternate',
          members: Object.values(type.branches).map((branch) => jsonObject({ type: this.mask(branch) })),
        })
      case 'struct':
        return this.describeObject(mask, this.schema.membersOf(name), featuresOf(type.features))
      case 'union': {
        const members = this.schema.membersOf(name)
        const tag = members.find((member) => member.name === type.tag)!
        const values = this.schema.type(tag.type)
        assert(values?.kind === 'enum', 'tag-is-enum', () => name)
        const variants = values.values.map((value) =>
          jsonObject({ case: value, type: this.object(type.branches[value] ?? {}, '') }),
        )
        return this.describeObject(mask, members, { tag: type.tag, variants })
      }
    }
  }

  private describeObject(mask: string, members: readonly Member[], more: Record<string, JsonValue> = {}): JsonObject {
    return jsonObject({
      name: mask,
      'meta-type': 'object',
      members: members.map(({ name, type, isOptional, features }) => {
        const described = jsonObject({ name, type: this.mask(type), ...featuresOf(features) })
        if (isOptional) described.set('default', null)
        return described
      }),
      ...more,
    })
  }
}

function featuresOf(features: readonly Feature[]): { features?: JsonValue[] } {
  return features.length === 0 ? {} : { features: [...features] }
}
