/** The passing neighbour of a failing world: what is left when one part of it is taken away, and the failure with it. */
import { smallerPlans } from '../properties/plans/smaller'
import type { Report } from '../reports/format'
import type { Neighbour } from '../reports/viewer/document'
import type { Plan } from '../sim/plan'

/** Neighbours tried: each is a world. */
const WORLDS_MAX = 600
const NAMES_MAX = 3

type Decisions = Record<string, number>
type Run = (plan: Plan, decisions?: Decisions) => { failure: unknown }

/** The passing world with the least difference among those tried; null where all fail. */
export function findNeighbour({ plan, decisions }: Pick<Report, 'plan' | 'decisions'>, run: Run): Neighbour | null {
  const withDecisions = decisions === undefined ? {} : { decisions }
  let best: { neighbour: Neighbour; partsLess: number } | null = null
  let tried = 0
  for (const other of smallerPlans(plan)) {
    if (tried++ >= WORLDS_MAX) break
    const { partsLess, text } = differenceOf(plan, other)
    if (best !== null && (partsLess === 0 || partsLess >= best.partsLess)) continue
    if (run(other, decisions).failure !== null) continue
    best = { neighbour: { plan: other, difference: text, ...withDecisions }, partsLess }
    if (partsLess === 1) break
  }
  return best?.neighbour ?? dullerNeighbour(plan, decisions, run)
}

/** Where nothing can be left out, a decision may be the dull one. */
function dullerNeighbour(plan: Plan, decisions: Decisions | undefined, run: Run): Neighbour | null {
  for (const key of Object.keys(decisions ?? {}).slice(0, WORLDS_MAX)) {
    const { [key]: _, ...others } = decisions!
    if (run(plan, others).failure === null) return { plan, decisions: others, difference: `without the decision ${key}` }
  }
  return null
}

interface Part {
  id: string
  kind?: string
  content?: string
  offsetBytes?: number
  lengthBytes?: number
}

function partsOf({ guest, control, faults, stalls, source, destination }: Plan): Part[] {
  const below = [source, destination].flatMap(({ initial, format }) => [...initial, ...(format?.backing?.initial ?? [])])
  return [...guest, ...control, ...faults, ...(stalls ?? []), ...below]
}

function nameOf({ id, kind, content, offsetBytes, lengthBytes }: Part): string {
  const range = lengthBytes === undefined || lengthBytes === 0 ? '' : ` ${offsetBytes}+${lengthBytes}`
  return `${id} (${kind ?? content ?? 'stall'}${range})`
}

/** What the other plan has less, or otherwise. */
export function differenceOf(plan: Plan, other: Plan): { partsLess: number; text: string } {
  const kept = new Set(partsOf(other).map(({ id }) => id))
  const gone = partsOf(plan).filter(({ id }) => !kept.has(id))
  if (gone.length === 0) return { partsLess: 0, text: `with ${changedFields(plan, other).slice(0, NAMES_MAX).join(', ')}` }
  const more = gone.length > NAMES_MAX ? ` and ${gone.length - NAMES_MAX} more` : ''
  return { partsLess: gone.length, text: `without ${gone.slice(0, NAMES_MAX).map(nameOf).join(', ')}${more}` }
}

/** `mirror.copyMode background`, for each setting that differs. */
function changedFields(one: unknown, other: unknown, path: readonly string[] = []): string[] {
  if (JSON.stringify(one) === JSON.stringify(other)) return []
  const areObjects = typeof one === 'object' && one !== null && typeof other === 'object' && other !== null
  if (!areObjects) return [`${path.join('.')} ${other === undefined ? 'left out' : JSON.stringify(other)}`]
  const names = new Set([...Object.keys(one), ...Object.keys(other)])
  return [...names].flatMap((name) =>
    changedFields((one as Record<string, unknown>)[name], (other as Record<string, unknown>)[name], [...path, name]),
  )
}
