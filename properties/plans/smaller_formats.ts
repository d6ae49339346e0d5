/** Smaller versions of a plan's images: plain disks, fewer layers, options at their defaults. */

import type { BackingPlan, DiskName, DiskPlan, FormatPlan, InitialExtent, Plan } from '../../sim/plan'
import { checkPlan } from '../../sim/plan_check'
import { duller, fewer } from './smaller_lists'

const DULL_FORMAT: Partial<FormatPlan> = {
  version: 3,
  clusterBytes: 65_536,
  extendedL2: false,
  refcountBits: 16,
  lazyRefcounts: false,
  discardNoUnref: false,
  preallocation: 'off',
  dataFile: 'none',
}

/** Candidates that can run, those that take most away first. */
export function* withSimplerFormats(plan: Plan): Generator<Plan, void, undefined> {
  for (const candidate of candidates(plan)) if (checkPlan(candidate) === null) yield candidate
}

function* candidates(plan: Plan): Generator<Plan> {
  for (const name of ['source', 'destination'] as const) {
    const disk = plan[name]
    if (disk.format === undefined) continue
    yield { ...plan, [name]: plain(disk) }
    const { backing, ...alone } = disk.format
    if (backing !== undefined) yield { ...plan, [name]: { ...disk, format: alone } }
    for (const format of duller(disk.format, DULL_FORMAT)) yield { ...plan, [name]: { ...disk, format } }
    for (const [index, { content }] of disk.initial.entries()) {
      if (content === 'data' || content === 'zero') continue
      const initial = disk.initial.map((extent, at) => (at === index ? simple(extent) : extent))
      yield { ...plan, [name]: { ...disk, initial } }
    }
  }
  yield* withSimplerBelow(plan)
}

/** An image below may be shared by both disks: it changes for both, or for each of them. */
function* withSimplerBelow(plan: Plan): Generator<Plan> {
  for (const names of [['source', 'destination'], ['source'], ['destination']] as const) {
    const backing = plan[names[0]].format?.backing
    if (backing === undefined) continue
    for (const initial of fewer(backing.initial)) yield withBelow(plan, names, { initial })
    if (backing.format !== 'raw') yield withBelow(plan, names, { format: 'raw', initial: backing.initial.map(simple) })
    if (backing.isDetached) yield withBelow(plan, names, { isDetached: false })
  }
}

function withBelow(plan: Plan, names: readonly DiskName[], change: Partial<BackingPlan>): Plan {
  const changed = { ...plan }
  for (const name of names) {
    const disk = plan[name]
    const backing = disk.format?.backing
    if (disk.format === undefined || backing === undefined) continue
    changed[name] = { ...disk, format: { ...disk.format, backing: { ...backing, ...change } } }
  }
  return changed
}

function plain({ format: _, throttle, ...disk }: DiskPlan): DiskPlan {
  // Without a format there is no file to throttle.
  const kept: Partial<DiskPlan> = throttle === undefined ? {} : { throttle: { ...throttle, at: 'top' } }
  return { ...disk, ...kept, initial: disk.initial.map(simple) }
}

function simple(extent: InitialExtent): InitialExtent {
  const { content } = extent
  return { ...extent, content: content === 'compressed' ? 'data' : content === 'hole' ? 'zero' : content }
}
