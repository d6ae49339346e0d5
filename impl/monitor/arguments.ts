/** The arguments of a command that have been checked against its declaration, in the types of the language. */
import { assert } from '../co'
import { JsonDouble, type JsonObject, type JsonValue } from '../json'

export class Arguments {
  readonly object: JsonObject

  constructor(object: JsonObject) {
    this.object = object
  }

  has(name: string): boolean {
    return this.object.has(name)
  }
  get(name: string): JsonValue | undefined {
    return this.object.get(name)
  }
  string(name: string): string {
    const value = this.object.get(name)
    assert(typeof value === 'string', 'argument-is-string', () => name)
    return value
  }
  optionalString(name: string): string | undefined {
    return this.has(name) ? this.string(name) : undefined
  }
  /** What does not fit in 53 bits is rounded: no length here is as large. */
  integer(name: string): number {
    const value = this.object.get(name)
    assert(
      typeof value === 'number' || typeof value === 'bigint' || value instanceof JsonDouble,
      'argument-is-number',
      () => name,
    )
    return value instanceof JsonDouble ? value.value : Number(value)
  }
  optionalInteger(name: string): number | undefined {
    return this.has(name) ? this.integer(name) : undefined
  }
  flag(name: string): boolean {
    const value = this.object.get(name)
    assert(typeof value === 'boolean', 'argument-is-flag', () => name)
    return value
  }
  optionalFlag(name: string): boolean | undefined {
    return this.has(name) ? this.flag(name) : undefined
  }
  /** The members of an object, as arguments of their own. */
  below(name: string): Arguments {
    const value = this.object.get(name)
    assert(value instanceof Map, 'argument-is-object', () => name)
    return new Arguments(value)
  }
  list(name: string): JsonValue[] {
    const value = this.object.get(name)
    assert(Array.isArray(value), 'argument-is-list', () => name)
    return value
  }
}
