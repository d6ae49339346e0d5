/**
 * Watches over code that may never come back. A world is one synchronous call, so no timer of ours can interrupt it; the
 * engine's can. What was interrupted stays as it was, in the middle, without even its `finally`: use nothing of it again.
 */
import * as vm from 'node:vm'

const SLOT = '__mirrorsimGuarded'
const call = new vm.Script(`${SLOT}()`, { filename: 'guard' })

/** Calls `work` and gives true; or gives false after it has been stopped because it ran longer than `limitMs`. */
export function finishesWithin(limitMs: number, work: () => void): boolean {
  const scope = globalThis as unknown as Record<string, (() => void) | undefined>
  scope[SLOT] = work
  try {
    call.runInThisContext({ timeout: limitMs })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return false
    throw error
  } finally {
    scope[SLOT] = undefined
  }
}
