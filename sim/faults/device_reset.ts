import type { Fault } from './fault'

/** Planned by the control operation of that name. */
export const deviceReset: Fault = {
  name: 'device-reset',
  about: 'the guest resets its device while requests are in flight',
  promise: 'survived',
  excuses: [{ checker: 'content', why: 'a request that was lost in the reset may have been carried out or not' }],
}
