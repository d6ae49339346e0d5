/** All requests take the least time, so that most of them meet at one instant, and the order there is as likely each. */
import { Site, seededDecider } from '../decider'
import type { Schedule } from './schedule'

export const uniform: Schedule = {
  kind: 'uniform',
  about: 'all requests take the least time, and ties are drawn',
  decider: (seed) => {
    const seeded = seededDecider(seed)
    return {
      decide: (site, subject, attempt, count) =>
        site === Site.SourceLatency || site === Site.DestinationLatency ? 0 : seeded.decide(site, subject, attempt, count),
    }
  },
}
