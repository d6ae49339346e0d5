/**
 * Checks a JSON value against a declared type, member by member in the order of the declaration, as QEMU does: the first
 * thing that is wrong is told. What came as text on a command line (`keyval`) is turned into numbers and booleans on the way.
 *
 * What may fail: the value, as BlockError with QEMU's text. What is returned is of the type.
 */
import { BlockError } from '../block/error'
import { assert } from '../co'
import { JsonDouble, type JsonObject, type JsonValue } from '../json'
import type { QapiSchema } from './declarations'
import type { AlternateType, EnumType, Members, UnionType } from './types'

export type InputMode = 'json' | 'keyval'

const DEPTH_MAX = 1100
const INTEGERS: Readonly<Record<string, readonly [min: bigint, max: bigint]>> = {
  int8: [-(2n ** 7n), 2n ** 7n - 1n],
  int16: [-(2n ** 15n), 2n ** 15n - 1n],
  int32: [-(2n ** 31n), 2n ** 31n - 1n],
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  int: [-(2n ** 63n), 2n ** 63n - 1n],
  uint8: [0n, 2n ** 8n - 1n],
  uint16: [0n, 2n ** 16n - 1n],
  uint32: [0n, 2n ** 32n - 1n],
  uint64: [0n, 2n ** 64n - 1n],
  size: [0n, 2n ** 64n - 1n],
}
const UNSIGNED_WRAP = 2n ** 64n

/** Checks the members of an object. Throws BlockError. */
export function checkObject(schema: QapiSchema, type: string | Members, value: JsonObject, mode: InputMode = 'json'): JsonObject {
  return new Input(schema, mode).object(type, value, '', 0)
}

/** Checks a value of any type; `path` is how errors call it. Throws BlockError. */
export function checkValue(
  schema: QapiSchema,
  type: string,
  value: JsonValue,
  path: string,
  mode: InputMode = 'json',
): JsonValue {
  return new Input(schema, mode).value(type, value, path, path, 0)
}

const below = (path: string, name: string): string => (path === '' ? name : `${path}.${name}`)

class Input {
  private readonly schema: QapiSchema
  private readonly mode: InputMode

  constructor(schema: QapiSchema, mode: InputMode) {
    this.schema = schema
    this.mode = mode
  }

  /** `path` is the full name in most errors; enumerations call a member by `name` alone. */
  value(type: string, value: JsonValue, path: string, name: string, depth: number): JsonValue {
    assert(depth <= DEPTH_MAX, 'input-nested')
    const element = this.schema.elementOf(type)
    if (element !== null) {
      if (!Array.isArray(value)) throw wrongType(path, 'array')
      return value.map((item, index) => this.value(element, item, `${path}[${index}]`, 'null', depth + 1))
    }
    const declared = this.schema.type(type)
    if (declared === undefined) return this.builtin(type, value, path)
    switch (declared.kind) {
      case 'enum':
        return this.enumeration(declared, value, path, name)
      case 'alternate':
        return this.alternate(type, declared, value, path, name, depth)
      default:
        if (!(value instanceof Map)) throw wrongType(path, 'object')
        return this.object(type, value, path, depth)
    }
  }

  object(type: string | Members, value: JsonObject, path: string, depth: number): JsonObject {
    const checked: JsonObject = new Map()
    this.members(type, value, checked, path, depth)
    const declared = typeof type === 'string' ? this.schema.type(type) : undefined
    if (declared?.kind === 'union') this.branch(declared, value, checked, path, depth)
    for (const name of value.keys()) {
      if (!checked.has(name)) throw new BlockError(`Parameter '${below(path, name)}' is unexpected`)
    }
    return checked
  }

  private members(type: string | Members, value: JsonObject, checked: JsonObject, path: string, depth: number): void {
    for (const member of this.schema.membersOf(type)) {
      const given = value.get(member.name)
      const full = below(path, member.name)
      if (given === undefined) {
        if (member.isOptional) continue
        throw new BlockError(`Parameter '${full}' is missing`)
      }
      checked.set(member.name, this.value(member.type, given, full, member.name, depth + 1))
    }
  }

  private branch(union: UnionType, value: JsonObject, checked: JsonObject, path: string, depth: number): void {
    const tag = checked.get(union.tag)
    assert(typeof tag === 'string', 'union-tag-checked', () => union.tag)
    const branch = Object.hasOwn(union.branches, tag) ? union.branches[tag]! : null
    if (branch === null) return
    this.members(branch, value, checked, path, depth)
    const declared = this.schema.type(branch)
    if (declared?.kind === 'union') this.branch(declared, value, checked, path, depth)
  }

  private enumeration(type: EnumType, value: JsonValue, path: string, name: string): JsonValue {
    if (typeof value !== 'string') throw wrongType(path, 'string')
    if (!type.values.includes(value)) throw new BlockError(`Parameter '${name}' does not accept value '${value}'`)
    return value
  }

  private alternate(
    typeName: string,
    type: AlternateType,
    value: JsonValue,
    path: string,
    name: string,
    depth: number,
  ): JsonValue {
    for (const branch of Object.values(type.branches)) {
      if (this.isOfKind(branch, value)) return this.value(branch, value, path, name, depth + 1)
    }
    throw wrongType(name, typeName)
  }

  /** Whether the kind of JSON value is that of a branch. */
  private isOfKind(type: string, value: JsonValue): boolean {
    if (this.schema.elementOf(type) !== null) return Array.isArray(value)
    const kind = this.schema.type(type)?.kind
    if (kind === 'struct' || kind === 'union') return value instanceof Map
    if (kind === 'enum' || type === 'str') return typeof value === 'string'
    if (type === 'null') return value === null
    if (type === 'bool') return typeof value === 'boolean'
    const isInteger = typeof value === 'number' || typeof value === 'bigint'
    return type === 'number' ? isInteger || value instanceof JsonDouble : isInteger
  }

  private builtin(type: string, value: JsonValue, path: string): JsonValue {
    switch (type) {
      case 'any':
        return value
      case 'null':
        if (value !== null) throw wrongType(path, 'null')
        return null
      case 'str':
        if (typeof value !== 'string') throw wrongType(path, 'string')
        return value
      case 'bool':
        return this.mode === 'keyval' ? flagOfText(value, path) : flag(value, path)
      case 'number':
        return this.mode === 'keyval' ? numberOfText(value, path) : number(value, path)
      default:
        return integer(type, this.mode === 'keyval' ? integerOfText(type, value, path) : value, path)
    }
  }
}

function wrongType(path: string, expected: string): BlockError {
  return new BlockError(`Invalid parameter type for '${path}', expected: ${expected}`)
}
function expects(path: string, what: string): BlockError {
  return new BlockError(`Parameter '${path}' expects ${what}`)
}

function flag(value: JsonValue, path: string): boolean {
  if (typeof value !== 'boolean') throw wrongType(path, 'boolean')
  return value
}
function number(value: JsonValue, path: string): JsonValue {
  if (value instanceof JsonDouble || typeof value === 'number' || typeof value === 'bigint') return value
  throw wrongType(path, 'number')
}

/** An integer of the type's range. Where negative numbers have a place in 64 bits without sign, they are taken as such. */
function integer(type: string, value: JsonValue, path: string): JsonValue {
  const range = INTEGERS[type]
  assert(range !== undefined, 'integer-type', () => type)
  const isUnsigned = range[0] === 0n
  if (typeof value !== 'number' && typeof value !== 'bigint')
    throw isUnsigned ? expects(path, 'uint64') : wrongType(path, 'integer')
  let large = BigInt(value)
  if (isUnsigned && large < 0n) large += UNSIGNED_WRAP
  if (!isUnsigned && large > INTEGERS['int64']![1]) throw wrongType(path, 'integer')
  if (large < range[0] || large > range[1]) throw expects(path, `${type}_t`)
  return large <= BigInt(Number.MAX_SAFE_INTEGER) && large >= -BigInt(Number.MAX_SAFE_INTEGER) ? Number(large) : large
}

function scalarText(value: JsonValue, path: string): string {
  if (typeof value === 'string') return value
  throw value instanceof Map || Array.isArray(value)
    ? new BlockError(`Parameters '${path}.*' are unexpected`)
    : wrongType(path, 'string')
}

function flagOfText(value: JsonValue, path: string): boolean {
  const text = scalarText(value, path)
  if (text === 'on' || text === 'yes' || text === 'true' || text === 'y') return true
  if (text === 'off' || text === 'no' || text === 'false' || text === 'n') return false
  throw expects(path, "'on' or 'off'")
}
function numberOfText(value: JsonValue, path: string): JsonValue {
  const text = scalarText(value, path)
  const parsed = Number(text)
  if (text.trim() === '' || !Number.isFinite(parsed)) throw wrongType(path, 'number')
  return new JsonDouble(parsed)
}

const SUFFIXES = 'BKMGTPE'

function integerOfText(type: string, value: JsonValue, path: string): JsonValue {
  const text = scalarText(value, path)
  if (type === 'size') {
    const match = /^\s*(0[xX][0-9a-fA-F]+|\d+)([bkmgtpeBKMGTPE])?$/.exec(text)
    if (match === null) throw expects(path, 'a size value representible as a 64-bit value')
    return BigInt(match[1]!) << (BigInt(SUFFIXES.indexOf((match[2] ?? 'B').toUpperCase())) * 10n)
  }
  const match = /^\s*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)$/.exec(text)
  if (match === null) throw expects(path, 'integer')
  const digits = match[2]!
  const magnitude = BigInt(/^0[0-7]+$/.test(digits) ? `0o${digits.slice(1)}` : digits)
  return match[1] === '-' ? -magnitude : magnitude
}
