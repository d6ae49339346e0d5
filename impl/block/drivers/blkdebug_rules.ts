/**
 * The rules of blkdebug: what they are, how they come from options (QAPI's BlkdebugInjectErrorOptions and
 * BlkdebugSetStateOptions) and from the text of a configuration file, and QEMU's texts for those that are wrong.
 */
import { assert, EIO, type Errno } from '../../co'
import { BlockError } from '../error'

/** QAPI's BlkdebugEvent. */
export const BLKDEBUG_EVENTS: ReadonlySet<string> = new Set([
  'l1_update',
  'l1_grow_alloc_table',
  'l1_grow_write_table',
  'l1_grow_activate_table',
  'l2_load',
  'l2_update',
  'l2_update_compressed',
  'l2_alloc_cow_read',
  'l2_alloc_write',
  'read_aio',
  'read_backing_aio',
  'read_compressed',
  'write_aio',
  'write_compressed',
  'vmstate_load',
  'vmstate_save',
  'cow_read',
  'cow_write',
  'reftable_load',
  'reftable_grow',
  'reftable_update',
  'refblock_load',
  'refblock_update',
  'refblock_update_part',
  'refblock_alloc',
  'refblock_alloc_hookup',
  'refblock_alloc_write',
  'refblock_alloc_write_blocks',
  'refblock_alloc_write_table',
  'refblock_alloc_switch_table',
  'cluster_alloc',
  'cluster_alloc_bytes',
  'cluster_free',
  'flush_to_os',
  'flush_to_disk',
  'pwritev_rmw_head',
  'pwritev_rmw_after_head',
  'pwritev_rmw_tail',
  'pwritev_rmw_after_tail',
  'pwritev',
  'pwritev_zero',
  'pwritev_done',
  'empty_image_prepare',
  'l1_shrink_write_table',
  'l1_shrink_free_l2_clusters',
  'cor_write',
  'cluster_alloc_space',
  'none',
])

/** QAPI's BlkdebugIOType. */
export const IO_TYPES = ['read', 'write', 'write-zeroes', 'discard', 'flush', 'block-status'] as const
export type IoType = (typeof IO_TYPES)[number]

interface RuleBase {
  readonly event: string
  /** The rule is looked at in this state only; 0: in every state. */
  readonly state: number
}
export interface InjectRule extends RuleBase {
  readonly action: 'inject-error'
  readonly errno: Errno
  /** null: every kind except block-status, which must be asked for. */
  readonly ioType: IoType | null
  /** Fails what touches this byte; null: any place, and requests that have none. */
  readonly offsetBytes: number | null
  /** Goes after its first failure. */
  readonly once: boolean
  /** Fails before other coroutines can run. */
  readonly immediately: boolean
}
export interface StateRule extends RuleBase {
  readonly action: 'set-state'
  readonly newState: number
}
export interface SuspendRule extends RuleBase {
  readonly action: 'suspend'
  readonly tag: string
}
export type Rule = InjectRule | StateRule | SuspendRule

type Values = Readonly<Record<string, unknown>>

const SECTOR_BYTES = 512
const KEYS = {
  'inject-error': ['event', 'state', 'iotype', 'errno', 'sector', 'once', 'immediately'],
  'set-state': ['event', 'state', 'new_state'],
} as const
type Group = keyof typeof KEYS

/** The rules of `inject-error` and `set-state`; values are typed as in QMP, or text as on command lines. Throws BlockError. */
export function rulesOfOptions(options: { 'inject-error'?: readonly Values[]; 'set-state'?: readonly Values[] }): Rule[] {
  const injects = (options['inject-error'] ?? []).map((values) => injectRule(values))
  const states = (options['set-state'] ?? []).map((values) => stateRule(values))
  return [...injects, ...states]
}

/**
 * The rules of a configuration file: `[inject-error]` and `[set-state]` sections of `key = "value"` lines, `#` comments.
 * Throws BlockError.
 */
export function rulesOfText(text: string): Rule[] {
  const sections: Array<{ group: Group; values: Record<string, string> }> = []
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#') || line.trim() === '') continue
    const group = /^\[([^\]"\s]+)(?: "[^"]+")?\]\s*$/.exec(line)?.[1]
    if (group !== undefined) {
      if (!(group in KEYS)) throw new BlockError(`There is no option group '${group}'`)
      sections.push({ group: group as Group, values: {} })
      continue
    }
    const setting = /^\s*([^\s=]+)\s*=\s*"([^"]*)"\s*$/.exec(line)
    const section = sections[sections.length - 1]
    if (setting === null) throw new BlockError('parse error')
    if (section === undefined) throw new BlockError('no group defined')
    section.values[setting[1]!] = setting[2]!
  }
  assert(
    sections.every(({ group }) => group in KEYS),
    'rule-groups-known',
  )
  return sections.map(({ group, values }) => (group === 'inject-error' ? injectRule(values) : stateRule(values)))
}

/** Throws BlockError unless QAPI has an event of that name. */
export function checkEvent(event: string): void {
  if (!BLKDEBUG_EVENTS.has(event)) throw new BlockError(`Invalid event name "${event}"`)
}

function baseOf(group: Group, values: Values): RuleBase {
  for (const key of Object.keys(values)) {
    if (!(KEYS[group] as readonly string[]).includes(key)) throw new BlockError(`Invalid parameter '${key}'`)
  }
  const { event } = values
  if (typeof event !== 'string') throw new BlockError('Missing event name for rule')
  checkEvent(event)
  return { event, state: numberOf(values, 'state', 0) }
}

function injectRule(values: Values): InjectRule {
  const base = baseOf('inject-error', values)
  const sector = numberOf(values, 'sector', -1)
  const errno = numberOf(values, 'errno', EIO)
  assert(Number.isSafeInteger(errno), 'rule-errno')
  return {
    ...base,
    action: 'inject-error',
    errno,
    ioType: ioTypeOf(values['iotype']),
    offsetBytes: sector === -1 ? null : sector * SECTOR_BYTES,
    once: flagOf(values, 'once'),
    immediately: flagOf(values, 'immediately'),
  }
}

function stateRule(values: Values): StateRule {
  return { ...baseOf('set-state', values), action: 'set-state', newState: numberOf(values, 'new_state', 0) }
}

function ioTypeOf(value: unknown): IoType | null {
  if (value === undefined) return null
  const ioType = IO_TYPES.find((known) => known === value)
  if (ioType === undefined) throw new BlockError(`invalid parameter value: ${String(value)}`)
  return ioType
}

function numberOf(values: Values, key: string, absent: number): number {
  const value = values[key] ?? absent
  const number = typeof value === 'string' && /^-?\d+$/.test(value) ? Number(value) : value
  if (typeof number !== 'number' || !Number.isSafeInteger(number)) {
    throw new BlockError(`Parameter '${key}' expects a number`)
  }
  return number
}

function flagOf(values: Values, key: string): boolean {
  const value = values[key] ?? false
  if (value === true || value === 'on' || value === 'yes' || value === 'true') return true
  if (value === false || value === 'off' || value === 'no' || value === 'false') return false
  throw new BlockError(`Parameter '${key}' expects 'on' or 'off'`)
}
