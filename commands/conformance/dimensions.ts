/**
 * What conversations differ in: dimensions with their values, which of them go together, and a set of shapes in which every
 * pair of values that go together is met. The set is the same on every machine.
 *
 * What never may: a shape that breaks a rule; a pair that is possible and in no shape.
 */
import { Choices } from '../../properties/plans/choices'

export const DIMENSIONS = {
  /** What the operator does with the job (orders.ts). */
  orders: [
    'complete',
    'soft-cancel',
    'force-cancel',
    'job-cancel',
    'pause-resume',
    'paused-complete',
    'paused-force-cancel',
    'early-orders',
    'early-cancel',
    'early-paused-cancel',
    'change-mode',
    'speed',
    'unknown-job',
    'block-job-verbs',
    'in-the-way',
    'refused-starts',
    'sizes-differ',
    'pending-cancel',
    'pending-orders',
  ],
  command: ['blockdev-mirror', 'drive-mirror-existing', 'drive-mirror-absolute-paths'],
  copyMode: ['background', 'write-blocking'],
  sync: ['full', 'top', 'none'],
  granularity: ['default', '4K', '64K'],
  buffer: ['default', '64K'],
  source: ['raw', 'qcow2', 'qcow2-backed'],
  target: ['raw', 'qcow2', 'qcow2-attached', 'qcow2-detached'],
  cluster: ['64K', '4K'],
  length: ['whole', 'tail'],
  /** What the source holds, and what the destination held before. */
  content: ['chunks', 'short', 'zeroes', 'empty'],
  before: ['empty', 'data', 'zeroes'],
  guest: ['none', 'writes', 'zeroes', 'discards'],
  error: ['none', 'source-read', 'target-write-eio', 'target-write-enospc', 'target-flush', 'target-zero'],
  onSourceError: ['report', 'ignore', 'stop', 'enospc'],
  onTargetError: ['report', 'ignore', 'stop', 'enospc'],
  unmap: ['yes', 'no'],
  discard: ['unmap', 'ignore'],
  detectZeroes: ['off', 'on', 'unmap'],
  targetIsZero: ['no', 'yes'],
  replaces: ['none', 'source', 'unsafe', 'absent'],
  filter: ['none', 'named'],
  autoFinalize: ['yes', 'no'],
  autoDismiss: ['yes', 'no'],
} as const

export type Dimension = keyof typeof DIMENSIONS
/** One value of each dimension. */
export type Shape = { readonly [D in Dimension]: (typeof DIMENSIONS)[D][number] }

export const NAMES = Object.keys(DIMENSIONS) as Dimension[]

/** If the first holds, the second must; members of both are alternatives. */
type Rule = readonly [when: { [D in Dimension]?: ReadonlyArray<Shape[D]> }, then: { [D in Dimension]?: ReadonlyArray<Shape[D]> }]

const RULES: readonly Rule[] = [
  // Arguments and nodes that only one of the commands has.
  [{ unmap: ['no'] }, { command: ['drive-mirror-existing', 'drive-mirror-absolute-paths'] }],
  [{ filter: ['named'] }, { command: ['blockdev-mirror'] }],
  [{ targetIsZero: ['yes'] }, { command: ['blockdev-mirror'], before: ['empty'], target: ['raw', 'qcow2'] }],
  [{ discard: ['ignore'] }, { command: ['blockdev-mirror'] }],
  [{ detectZeroes: ['on', 'unmap'] }, { command: ['blockdev-mirror'] }],
  [{ detectZeroes: ['unmap'] }, { discard: ['unmap'] }],
  [{ target: ['qcow2-detached'] }, { command: ['blockdev-mirror'] }],
  [{ command: ['drive-mirror-absolute-paths'] }, { target: ['raw', 'qcow2'], before: ['empty'] }],
  // Errors come from a filter below the node, at a place that a plain disk knows.
  [{ error: ['source-read'] }, { source: ['raw'], content: ['chunks', 'short'] }],
  [
    { error: ['target-write-eio', 'target-write-enospc', 'target-flush', 'target-zero'] },
    { command: ['blockdev-mirror'], target: ['raw'], content: ['chunks'] },
  ],
  // These are about another end than that by an error, or count at a point that one would shift.
  [{ orders: ['early-orders', 'early-cancel', 'early-paused-cancel', 'sizes-differ'] }, { error: ['none'] }],
  [{ orders: ['early-orders', 'early-cancel', 'early-paused-cancel'] }, { sync: ['full', 'top'], content: ['chunks'] }],
  [{ orders: ['sizes-differ'] }, { command: ['blockdev-mirror'] }],
  [{ orders: ['pending-cancel', 'pending-orders'] }, { autoFinalize: ['no'] }],
  // Those that cannot start say nothing about the rest.
  [{ replaces: ['unsafe', 'absent'] }, { error: ['none'], orders: ['complete'] }],
]

/** Values that each dimension may still have, a bit each. */
type Domains = number[]
type Masks = ReadonlyArray<readonly [dimension: number, mask: number]>

function masksOf(part: Rule[0]): Masks {
  return Object.entries(part).map(([name, values]) => [NAMES.indexOf(name as Dimension), maskOf(name as Dimension, values)])
}

function maskOf(name: Dimension, values: readonly string[]): number {
  const all: readonly string[] = DIMENSIONS[name]
  return values.reduce((mask, value) => mask | (1 << all.indexOf(value)), 0)
}

const RULE_MASKS = RULES.map(([when, then]) => [masksOf(when), masksOf(then)] as const)
const ALL: readonly number[] = NAMES.map((name) => maskOf(name, DIMENSIONS[name]))

/** Takes away what rules forbid; false: nothing is left of some dimension. */
function narrow(domains: Domains): boolean {
  for (let isNew = true; isNew; ) {
    isNew = false
    for (const [when, then] of RULE_MASKS) {
      const open = when.filter(([at, mask]) => (domains[at]! & ~mask) !== 0)
      const isBroken = then.some(([at, mask]) => (domains[at]! & mask) === 0)
      const forbidden: Array<readonly [number, number]> = []
      if (open.length === 0) forbidden.push(...then.map(([at, mask]) => [at, ~mask] as const))
      else if (open.length === 1 && isBroken) forbidden.push(open[0]!)
      for (const [at, mask] of forbidden) {
        if ((domains[at]! & mask) === 0) continue
        domains[at]! &= ~mask
        if (domains[at] === 0) return false
        isNew = true
      }
    }
  }
  return true
}

/** Gives each dimension a value, in the order of `names`, by what `rank` puts first; null: there is none. */
function filled(
  domains: Domains,
  names: readonly Dimension[],
  rank: (name: Dimension, so: Domains) => readonly string[],
): Domains | null {
  if (!narrow(domains)) return null
  const name = names.find((each) => !isOne(domains[NAMES.indexOf(each)]!))
  if (name === undefined) return domains
  const at = NAMES.indexOf(name)
  for (const value of rank(name, domains)) {
    const mask = maskOf(name, [value]) & domains[at]!
    if (mask === 0) continue
    const whole = filled(withMask(domains, at, mask), names, rank)
    if (whole !== null) return whole
  }
  return null
}

function withMask(domains: readonly number[], at: number, mask: number): Domains {
  const next = [...domains]
  next[at] = mask
  return next
}

function isOne(mask: number): boolean {
  return (mask & (mask - 1)) === 0
}

function shapeOf(domains: Domains): Shape {
  return Object.fromEntries(NAMES.map((name, at) => [name, DIMENSIONS[name][31 - Math.clz32(domains[at]!)]])) as Shape
}

/** Two values of two dimensions, by the places of the dimensions and the bits of the values. */
interface Pair {
  readonly left: number
  readonly leftMask: number
  readonly right: number
  readonly rightMask: number
  readonly key: string
}

function* pairsWithin(domains: Domains): Generator<Pair> {
  for (let left = 0; left < NAMES.length; left++) {
    for (let right = left + 1; right < NAMES.length; right++) {
      for (const leftMask of bitsOf(domains[left]!)) {
        for (const rightMask of bitsOf(domains[right]!)) {
          yield { left, leftMask, right, rightMask, key: keyOf(left, leftMask, right, rightMask) }
        }
      }
    }
  }
}

function bitsOf(mask: number): number[] {
  return Array.from({ length: 32 - Math.clz32(mask) }, (_, at) => 1 << at).filter((bit) => (mask & bit) !== 0)
}

function keyOf(left: number, leftMask: number, right: number, rightMask: number): string {
  return left < right ? `${left}:${leftMask} ${right}:${rightMask}` : `${right}:${rightMask} ${left}:${leftMask}`
}

function startOf({ left, leftMask, right, rightMask }: Pair): Domains {
  return withMask(withMask(ALL, left, leftMask), right, rightMask)
}

/** All pairs that some shape can have. */
export function possiblePairs(): Map<string, Pair> {
  const pairs = new Map<string, Pair>()
  for (const pair of pairsWithin([...ALL])) {
    if (filled(startOf(pair), NAMES, (name) => DIMENSIONS[name]) !== null) pairs.set(pair.key, pair)
  }
  return pairs
}

/** Keys of the pairs that a shape has. */
export function pairsOf(shape: Shape): string[] {
  return [...pairsWithin(NAMES.map((name) => maskOf(name, [shape[name]])))].map(({ key }) => key)
}

/** Whether no rule is broken. */
export function isPossible(shape: Shape): boolean {
  return narrow(NAMES.map((name) => maskOf(name, [shape[name]])))
}

const ATTEMPTS = 6

/** Shapes in which all pairs are; those that bring most come first. */
export function coveringShapes(): Shape[] {
  const left = possiblePairs()
  const choices = new Choices('conformance', 'shapes', 'uniform')
  const shapes: Shape[] = []
  while (left.size > 0) {
    const pairs = [...left.values()]
    let best: string[] = []
    let bestShape: Shape | null = null
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const start = startOf(pairs[choices.below(pairs.length)]!)
      const domains = filled(start, shuffled(NAMES, choices), (name, so) => ranked(name, so, left, choices))!
      const shape = shapeOf(domains)
      const brought = pairsOf(shape).filter((key) => left.has(key))
      if (brought.length <= best.length) continue
      best = brought
      bestShape = shape
    }
    shapes.push(bestShape!)
    for (const key of best) left.delete(key)
  }
  return shapes
}

/** Values that meet most of what is left come first. */
function ranked(name: Dimension, so: Domains, left: ReadonlyMap<string, Pair>, choices: Choices): readonly string[] {
  const at = NAMES.indexOf(name)
  const given = so.flatMap((mask, other) => (isOne(mask) && other !== at ? [[other, mask] as const] : []))
  const gain = (value: string): number => {
    const mask = maskOf(name, [value])
    return given.filter(([other, otherMask]) => left.has(keyOf(at, mask, other, otherMask))).length
  }
  const gains = new Map(DIMENSIONS[name].map((value) => [value as string, gain(value)]))
  return shuffled(DIMENSIONS[name], choices).sort((one, other) => gains.get(other)! - gains.get(one)!)
}

function shuffled<T>(values: readonly T[], choices: Choices): T[] {
  const result = [...values]
  for (let index = result.length - 1; index > 0; index--) {
    const other = choices.below(index + 1)
    ;[result[index], result[other]] = [result[other]!, result[index]!]
  }
  return result
}
