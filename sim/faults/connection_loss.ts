import type { Fault } from './fault'

/** Planned by `plan.nbd.cuts`. */
export const connectionLoss: Fault = {
  name: 'connection-loss',
  about: 'a link breaks, nobody gets through for a while, and then it is there again',
  promise: 'survived',
  excuses: [],
}
