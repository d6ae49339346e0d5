/**
 * The throttle groups of one block graph by name, as users and drives refer to them. A group is made as an object of its
 * own (object-add throttle-group), or by the first drive that names it, and then it goes with its last member.
 */
import { assert, type Clock, EEXIST, ENOENT, type Kernel } from '../../co'
import { BlockError } from '../error'
import { ThrottleGroup, ThrottleMember } from './group'
import { limitOfProperty, type ThrottleLimits } from './limits'

export class ThrottleGroups {
  private readonly kernel: Kernel
  /** What groups that are made from now on wait by. */
  clock: Clock
  private readonly groups = new Map<string, { group: ThrottleGroup; isObject: boolean }>()

  constructor(kernel: Kernel) {
    this.kernel = kernel
    this.clock = kernel
  }

  /**
   * Makes a group as an object. `properties` are those of object-add: `limits`, or each limit as `x-NAME`, which are applied
   * over it. Throws BlockError.
   */
  create(name: string, properties: Readonly<Record<string, unknown>> = {}): ThrottleGroup {
    if (this.groups.has(name)) throw new BlockError('A group with this name already exists', { errno: EEXIST })
    const limits: ThrottleLimits = {}
    for (const [property, value] of Object.entries(properties)) {
      if (property === 'limits') {
        Object.assign(limits, value)
        continue
      }
      const limit = limitOfProperty(property)
      if (limit === null) throw new BlockError(`Property 'throttle-group.${property}' not found`)
      if (typeof value !== 'number') throw new BlockError(`Invalid parameter type for '${property}', expected: integer`)
      limits[limit] = value
    }
    const group = new ThrottleGroup(this.kernel, name, limits, this.clock)
    this.groups.set(name, { group, isObject: true })
    return group
  }

  find(name: string): ThrottleGroup | null {
    return this.groups.get(name)?.group ?? null
  }
  /** Throws BlockError if there is none. */
  lookup(name: string): ThrottleGroup {
    const group = this.find(name)
    if (group === null) throw new BlockError(`Throttle group '${name}' does not exist`, { errno: ENOENT })
    return group
  }

  /** Deletes a group that was made as an object. Throws BlockError while it has members. */
  remove(name: string): void {
    const group = this.lookup(name)
    if (group.members.length > 0) throw new BlockError(`object '${name}' is in use, can not be deleted`)
    this.groups.delete(name)
  }

  /** A member of the group of that name, which is made if there is none. */
  join(name: string): ThrottleMember {
    let entry = this.groups.get(name)
    if (entry === undefined) {
      entry = { group: new ThrottleGroup(this.kernel, name, {}, this.clock), isObject: false }
      this.groups.set(name, entry)
    }
    return new ThrottleMember(entry.group)
  }
  /** Ends what `join` began. */
  leave(member: ThrottleMember): void {
    const { name } = member.group
    member.leave()
    const entry = this.groups.get(name)
    assert(entry?.group === member.group, 'throttle-group-known', () => name)
    if (!entry.isObject && entry.group.members.length === 0) this.groups.delete(name)
  }
}

/** A property of the object by its name in QOM: `x-bps-total`, or `limits` for all of them; undefined: there is none such. */
export function getThrottleProperty(group: ThrottleGroup, property: string): unknown {
  if (property === 'limits') return { ...group.limits }
  const limit = limitOfProperty(property)
  return limit === null ? undefined : group.limits[limit]
}

/** Sets a property of a group that is in use. Only `limits`, as a whole, can be. Throws BlockError. */
export function setThrottleProperty(group: ThrottleGroup, property: string, value: unknown): void {
  if (property !== 'limits') {
    const isKnown = limitOfProperty(property) !== null
    throw new BlockError(
      isKnown ? 'Property cannot be set after initialization' : `Property 'throttle-group.${property}' not found`,
    )
  }
  if (typeof value !== 'object' || value === null) throw new BlockError("Invalid parameter type for 'limits', expected: object")
  // What is not mentioned keeps its value.
  group.setLimits({ ...group.limits, ...(value as ThrottleLimits) })
}
