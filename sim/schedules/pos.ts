/**
 * Partial order sampling (Yuan and others, CAV 2018): each event that waits has a priority of its own, the highest goes first,
 * and whoever raced with it draws anew. So orders of events that have to do with one another are about as likely each,
 * however many others stand between them.
 */
import { type Decider, Site, seededDecider, type Waiting } from '../decider'
import { firstOf } from './pct'
import { type Schedule, wordsOf } from './schedule'

/** What waits for a disk says where; of the others it is not known what they touch. */
interface Place {
  readonly disk: string
  readonly offsetBytes: number
  readonly lengthBytes: number
}

function placeOf({ waitsFor }: Waiting): Place | null {
  return waitsFor !== null && 'offsetBytes' in waitsFor && 'disk' in waitsFor ? (waitsFor as unknown as Place) : null
}

function isRace(left: Place | null, right: Place | null): boolean {
  if (left === null || right === null) return true
  const overlaps =
    left.offsetBytes < right.offsetBytes + right.lengthBytes && right.offsetBytes < left.offsetBytes + left.lengthBytes
  return overlaps && left.disk === right.disk
}

/** Moments of one subject are as far apart as it may draw for one of them. */
const DRAWS_MAX = 32

export const pos: Schedule = {
  kind: 'pos',
  about: 'each event has a priority of its own, and whoever races with the first draws anew',
  decider: (seed): Decider => {
    const seeded = seededDecider(seed)
    const words = wordsOf(seed, 'pos')
    const draws = new WeakMap<Waiting, { parkSerial: number; count: number }>()
    const drawsOf = (waiting: Waiting): number => {
      const drawn = draws.get(waiting)
      return drawn?.parkSerial === waiting.parkSerial ? drawn.count : 0
    }
    return {
      decide(site, subject, attempt, count, line) {
        if (site !== Site.Order || line === undefined) return seeded.decide(site, subject, attempt, count)
        const first = firstOf(line, (waiting) => words(waiting.label, waiting.parkSerial * DRAWS_MAX + drawsOf(waiting)))
        const place = placeOf(line[first]!)
        for (const waiting of line) {
          if (waiting === line[first] || !isRace(place, placeOf(waiting))) continue
          draws.set(waiting, { parkSerial: waiting.parkSerial, count: Math.min(drawsOf(waiting) + 1, DRAWS_MAX - 1) })
        }
        return first
      },
    }
  },
}
