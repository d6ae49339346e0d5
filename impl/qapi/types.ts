/**
 * The language in which QMP's commands, events and types are declared: data, as QAPI has them. A member whose name begins
 * with `?` may be left out. Types are named; `[X]` is a list of X.
 */
export type Feature = 'deprecated' | 'unstable' | (string & {})

export interface MemberSpec {
  readonly type: string
  readonly features?: readonly Feature[]
}
export type Members = Readonly<Record<string, string | MemberSpec>>

export interface EnumType {
  readonly kind: 'enum'
  readonly values: readonly string[]
  /** Of single values. */
  readonly features: Readonly<Record<string, readonly Feature[]>>
}
export interface StructType {
  readonly kind: 'struct'
  readonly base: string | null
  readonly members: Members
  readonly features: readonly Feature[]
}
/** What it has beyond the members of its base depends on the value of the member `tag`. */
export interface UnionType {
  readonly kind: 'union'
  readonly base: string | Members
  readonly tag: string
  readonly branches: Readonly<Record<string, string>>
}
/** One of several types, told apart by the kind of JSON value. */
export interface AlternateType {
  readonly kind: 'alternate'
  readonly branches: Readonly<Record<string, string>>
}
export type QapiType = EnumType | StructType | UnionType | AlternateType

export interface QapiCommand {
  /** A type's name, or the members themselves. */
  readonly arguments: string | Members
  readonly returns: string | null
  readonly allowsOutOfBand: boolean
  /** Accepted while the program is being configured, before anything else. */
  readonly allowsPreconfig: boolean
  readonly features: readonly Feature[]
  /** Takes more than is declared, and checks it by itself. */
  readonly isUnchecked: boolean
}
export interface QapiEvent {
  readonly data: string | Members
  readonly features: readonly Feature[]
}
/** What one topic declares. */
export interface QapiModule {
  readonly types?: Readonly<Record<string, QapiType>>
  readonly commands?: Readonly<Record<string, QapiCommand>>
  readonly events?: Readonly<Record<string, QapiEvent>>
}

export const enumeration = (values: readonly string[], features: EnumType['features'] = {}): EnumType => ({
  kind: 'enum',
  values,
  features,
})
export const struct = (members: Members, base: string | null = null, features: readonly Feature[] = []): StructType => ({
  kind: 'struct',
  base,
  members,
  features,
})
export const union = (base: string | Members, tag: string, branches: UnionType['branches']): UnionType => ({
  kind: 'union',
  base,
  tag,
  branches,
})
export const alternate = (branches: AlternateType['branches']): AlternateType => ({ kind: 'alternate', branches })
export const command = (
  args: string | Members = {},
  returns: string | null = null,
  more: Partial<Omit<QapiCommand, 'arguments' | 'returns'>> = {},
): QapiCommand => ({
  allowsOutOfBand: false,
  allowsPreconfig: false,
  isUnchecked: false,
  features: [],
  ...more,
  arguments: args,
  returns,
})
export const event = (data: string | Members = {}, features: readonly Feature[] = []): QapiEvent => ({ data, features })
