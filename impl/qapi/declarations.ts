/** All declarations of a program together, with names resolved. Wrong declarations are defects, found by `check`. */
import { assert } from '../co'
import type { Feature, Members, QapiCommand, QapiEvent, QapiModule, QapiType } from './types'

export interface Member {
  readonly name: string
  readonly type: string
  readonly isOptional: boolean
  readonly features: readonly Feature[]
}

/** QAPI's own types, with the kind of JSON value that each one is. */
export const BUILTINS: Readonly<Record<string, string>> = {
  str: 'string',
  number: 'number',
  int: 'int',
  int8: 'int',
  int16: 'int',
  int32: 'int',
  int64: 'int',
  uint8: 'int',
  uint16: 'int',
  uint32: 'int',
  uint64: 'int',
  size: 'int',
  bool: 'boolean',
  null: 'null',
  any: 'value',
}

export class QapiSchema {
  readonly types = new Map<string, QapiType>()
  readonly commands = new Map<string, QapiCommand>()
  readonly events = new Map<string, QapiEvent>()
  private readonly flattened = new Map<string, readonly Member[]>()

  constructor(modules: readonly QapiModule[]) {
    for (const { types = {}, commands = {}, events = {} } of modules) {
      addAll(this.types, types)
      addAll(this.commands, commands)
      addAll(this.events, events)
    }
  }

  /** The same without the commands that `has` refuses. */
  withCommands(has: (name: string) => boolean): QapiSchema {
    const schema = new QapiSchema([])
    for (const [name, type] of this.types) schema.types.set(name, type)
    for (const [name, event] of this.events) schema.events.set(name, event)
    for (const [name, command] of this.commands) if (has(name)) schema.commands.set(name, command)
    return schema
  }

  /** Type behind a name; undefined for builtin types. */
  type(name: string): QapiType | undefined {
    const type = this.types.get(name)
    assert(type !== undefined || Object.hasOwn(BUILTINS, name), 'type-declared', () => name)
    return type
  }
  /** The element type of `[X]`, or null. */
  elementOf(name: string): string | null {
    return name.startsWith('[') ? name.slice(1, -1) : null
  }

  /** The members that an object of a struct or union has in any case, inherited ones first. */
  membersOf(type: string | Members): readonly Member[] {
    if (typeof type !== 'string') return membersOf(type)
    const known = this.flattened.get(type)
    if (known !== undefined) return known
    const declared = this.type(type)
    assert(declared?.kind === 'struct' || declared?.kind === 'union', 'members-of-object', () => type)
    const base = declared.base === null ? [] : this.membersOf(declared.base)
    const own = declared.kind === 'struct' ? membersOf(declared.members) : []
    const members = [...base, ...own]
    this.flattened.set(type, members)
    return members
  }

  /** Every name that is used is declared, every branch belongs to a value. Throws for the first that is not. */
  check(): void {
    for (const [name, type] of this.types) this.checkType(name, type)
    for (const { arguments: args, returns } of this.commands.values()) {
      this.checkMembers(args)
      if (returns !== null) this.checkName(returns)
    }
    for (const { data } of this.events.values()) this.checkMembers(data)
  }
  private checkName(name: string): void {
    const element = this.elementOf(name)
    if (element !== null) this.checkName(element)
    else assert(this.types.has(name) || Object.hasOwn(BUILTINS, name), 'type-declared', () => name)
  }
  private checkMembers(members: string | Members): void {
    for (const { type } of this.membersOf(members)) this.checkName(type)
  }
  private checkType(name: string, type: QapiType): void {
    if (type.kind === 'enum') return
    if (type.kind !== 'alternate') this.checkMembers(name)
    if (type.kind === 'struct') return
    for (const branch of Object.values(type.branches)) this.checkName(branch)
    if (type.kind === 'alternate') return
    const tag = this.membersOf(name).find((member) => member.name === type.tag)
    assert(tag !== undefined, 'union-has-tag', () => name)
    const values = this.type(tag.type)
    assert(values?.kind === 'enum', 'tag-is-enum', () => name)
    for (const branch of Object.keys(type.branches)) assert(values.values.includes(branch), 'branch-has-value', () => branch)
  }
}

function addAll<T>(map: Map<string, T>, entries: Readonly<Record<string, T>>): void {
  for (const [name, entry] of Object.entries(entries)) {
    assert(!map.has(name), 'declared-once', () => name)
    map.set(name, entry)
  }
}

function membersOf(members: Members): Member[] {
  return Object.entries(members).map(([key, spec]) => ({
    name: key.startsWith('?') ? key.slice(1) : key,
    isOptional: key.startsWith('?'),
    type: typeof spec === 'string' ? spec : spec.type,
    features: typeof spec === 'string' ? [] : (spec.features ?? []),
  }))
}
