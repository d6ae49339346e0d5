/** Draws the moment at which the power goes off. Whatever would have come later in the plan never happens. */
import type { ControlOperation, GuestOperation, Trigger } from '../../sim/plan'
import type { Choices } from './choices'
import type { Profile } from './mixture'
import * as mixture from './mixture_events'

/** Nothing, or one operation `p1`. */
export function drawPowerCut(
  choices: Choices,
  profile: Profile,
  guest: readonly GuestOperation[],
  control: readonly ControlOperation[],
): ControlOperation[] {
  if (!choices.chance(profile.powerCutPercent)) return []
  const afterNs = choices.below(choices.pick(mixture.POWER_CUT_AFTER_MAX_NS) + 1)
  return [{ id: 'p1', when: { on: drawMoment(choices, guest, control), afterNs }, kind: 'power-cut' }]
}

function drawMoment(choices: Choices, guest: readonly GuestOperation[], control: readonly ControlOperation[]): Trigger['on'] {
  const moment = choices.pick(mixture.POWER_CUT_MOMENT)
  const flushes = guest.filter(({ kind }) => kind === 'flush')
  if (moment === 'flush' && flushes.length > 0) return { operationDone: flushes[choices.below(flushes.length)]!.id }
  const endings = control.filter(({ kind }) => kind === 'complete' || kind === 'cancel')
  if (moment === 'ending' && endings.length > 0) return { controlDone: endings.at(-1)!.id }
  if (moment === 'mirror-started' || moment === 'ready' || moment === 'guest-done') return moment
  return guest.length === 0 ? 'mirror-started' : { operationDone: guest[choices.below(guest.length)]!.id }
}
