import type { Fault } from './fault'

/** Planned by `latency` of a disk. */
export const latency: Fault = {
  name: 'latency',
  about: 'a request takes longer than the least, by as much as the decider says',
  promise: 'survived',
  excuses: [],
}
