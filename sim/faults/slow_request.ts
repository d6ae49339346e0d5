import type { Fault } from './fault'

/** Planned by `plan.stalls`. */
export const slowRequest: Fault = {
  name: 'slow-request',
  about: 'one request takes longer than all the others together',
  promise: 'survived',
  excuses: [],
}
