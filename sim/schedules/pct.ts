/**
 * Probabilistic concurrency testing (Burckhardt and others, ASPLOS 2010), keyed: each subject has a priority for the whole
 * world, the highest goes first, and its requests are quick as the others' are slow. Some subjects fall to the lowest
 * priorities at a moment of their own: those are the change points, `depth` of 16 subjects have one.
 */
import type { Label } from '../../impl/co'
import { type Decider, Site, seededDecider, type Waiting } from '../decider'
import type { SchedulePlan } from '../plan'
import { choiceFor, type Schedule, wordsOf } from './schedule'

const CHANGE_SHARE = 16
/** The latest moment of a change: subjects come to decisions a few times each. */
const CHANGE_MOMENTS = 8

export const pct: Schedule<Extract<SchedulePlan, { kind: 'pct' }>> = {
  kind: 'pct',
  about: 'each subject has a priority, and some lose it at a moment of their own',
  decider: (seed, { depth }): Decider => {
    const seeded = seededDecider(seed)
    const words = wordsOf(seed, 'pct')
    const priorityOf = (subject: Label, moment: number): number => {
      const change = words(subject, 1)
      const hasFallen = change % CHANGE_SHARE < depth && moment >= (change >>> 8) % CHANGE_MOMENTS
      return (words(subject, 0) >>> 1) + (hasFallen ? 0 : 0x80000000)
    }
    return {
      decide(site, subject, attempt, count, line) {
        if (site === Site.SourceLatency || site === Site.DestinationLatency) {
          return choiceFor(priorityOf(subject, attempt), count)
        }
        if (site !== Site.Order || line === undefined) return seeded.decide(site, subject, attempt, count)
        return firstOf(line, ({ label, parkSerial }) => priorityOf(label, parkSerial))
      },
    }
  },
}

/** Of several with the highest priority, the one that waits longest. */
export function firstOf(line: readonly Waiting[], priorityOf: (waiting: Waiting) => number): number {
  let best = 0
  let highest = -1
  for (let index = 0; index < line.length; index++) {
    const priority = priorityOf(line[index]!)
    if (priority <= highest) continue
    highest = priority
    best = index
  }
  return best
}
