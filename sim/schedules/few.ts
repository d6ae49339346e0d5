/**
 * One of the schedules that the bounded search (`sim/bounded_search.ts`) goes through: dull but for few decisions, which lie
 * anywhere. Most bugs of concurrency need one or two things to happen out of order.
 */
import { Site, seededDecider } from '../decider'
import { type Schedule, wordsOf } from './schedule'

/** One decision of so many is not dull. */
const RARITY = 24

export const few: Schedule = {
  kind: 'few',
  about: 'the dull choice nearly everywhere, and any other now and then',
  decider: (seed) => {
    const seeded = seededDecider(seed)
    const words = wordsOf(seed, 'few')
    return {
      decide(site, subject, attempt, count) {
        const isOfTime = site === Site.Order || site === Site.SourceLatency || site === Site.DestinationLatency
        if (!isOfTime) return seeded.decide(site, subject, attempt, count)
        const word = words(subject, attempt * 4 + (site === Site.Order ? 0 : site === Site.SourceLatency ? 1 : 2))
        return word % RARITY === 0 ? 1 + ((word >>> 8) % (count - 1)) : 0
      },
    }
  },
}
