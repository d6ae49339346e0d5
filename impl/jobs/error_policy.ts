/** What a job does when a request of its own fails: the answers of `on-error` and its like. */
import { assert, ENOSPC, type Errno, OK } from '../co'

/** `enospc` stops where space is missing and reports everything else; QEMU's `auto` is the same for jobs. */
export type ErrorPolicy = 'report' | 'ignore' | 'stop' | 'enospc'

export type ErrorAction = 'report' | 'ignore' | 'stop'

/** An ignored error is tried again after this time. */
export const RETRY_DELAY_NS = 1_000_000

export function actionFor(policy: ErrorPolicy, errno: Errno): ErrorAction {
  assert(errno !== OK, 'error-has-errno')
  if (policy !== 'enospc') return policy
  return errno === ENOSPC ? 'stop' : 'report'
}
