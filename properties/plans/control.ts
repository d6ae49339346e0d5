/**
 * Draws what the operator does to the job, in legal and in illegal moments. Every plan can end: a pause brings its resume,
 * speeds are bounded below, and a refused `complete` is followed by another.
 */
import type { ControlOperation, GuestOperation, Trigger } from '../../sim/plan'
import type { Choices, Weighted } from './choices'
import { drawSpeed, type Geometry } from './geometry'
import type { Profile } from './mixture'
import * as mixture from './mixture_events'

type DrawnKind = Exclude<ControlOperation['kind'], 'mirror-start' | 'complete' | 'cancel' | 'link-backing' | 'power-cut'>
type WithoutHead<T> = T extends unknown ? Omit<T, 'id' | 'when'> : never
type Action = WithoutHead<ControlOperation>

class Script {
  readonly operations: ControlOperation[] = []
  readonly moments: Weighted<mixture.Moment>
  private readonly choices: Choices
  private readonly guest: readonly GuestOperation[]

  constructor(choices: Choices, guest: readonly GuestOperation[]) {
    this.choices = choices
    this.guest = guest
    this.moments = choices.weigh(mixture.MOMENT)
  }

  /** Returns the new operation's id. */
  add(when: Trigger, action: Action): string {
    const id = `c${this.operations.length + 1}`
    this.operations.push({ id, when, ...action } as ControlOperation)
    return id
  }

  at(on: Trigger['on']): Trigger {
    return { on, afterNs: this.choices.below(this.choices.pick(mixture.AFTER_MAX_NS) + 1) }
  }

  anyMoment(): Trigger {
    const moment = this.choices.pickWeighted(this.moments)
    if (moment === 'control') return this.at({ controlDone: this.operations[this.choices.below(this.operations.length)]!.id })
    if (moment !== 'operation') return this.at(moment)
    return this.guest.length === 0 ? this.at('mirror-started') : this.at({ operationDone: this.anyGuestId() })
  }

  anyGuestId(): string {
    return this.guest[this.choices.below(this.guest.length)]!.id
  }
}

export function drawControl(
  choices: Choices,
  geometry: Geometry,
  profile: Profile,
  guest: readonly GuestOperation[],
): ControlOperation[] {
  const script = new Script(choices, guest)
  const isLate = guest.length > 0 && choices.chance(mixture.START_LATE_PERCENT)
  const start: Trigger = isLate ? script.at({ operationDone: script.anyGuestId() }) : { on: 'start', afterNs: 0 }
  script.add(start, { kind: 'mirror-start' })
  const kinds = choices.weigh(mixture.CONTROL_KIND)
  for (let left = choices.pick(profile.controlOperations); left > 0; left--) {
    addOperation(choices, script, geometry, choices.pickWeighted(kinds))
  }
  addEnding(choices, script, choices.pick(mixture.ENDING))
  return script.operations
}

function addOperation(choices: Choices, script: Script, geometry: Geometry, kind: DrawnKind): void {
  const when = script.anyMoment()
  switch (kind) {
    case 'pause': {
      const controlDone = script.add(when, { kind })
      script.add({ on: { controlDone }, afterNs: choices.below(mixture.PAUSE_MAX_NS) }, { kind: 'resume' })
      break
    }
    case 'set-speed':
      script.add(when, { kind, speedBytesPerSecond: drawSpeed(choices, geometry) })
      break
    case 'change-copy-mode':
      // Back to background is refused; forth is what it is for.
      script.add(when, { kind, copyMode: choices.chance(80) ? 'write-blocking' : 'background' })
      break
    case 'drain':
      script.add(when, { kind, durationNs: choices.below(mixture.DRAIN_MAX_NS) })
      break
    default:
      script.add(when, { kind })
  }
}

function addEnding(choices: Choices, script: Script, ending: mixture.Ending): void {
  switch (ending) {
    case 'implicit':
      break
    case 'complete':
      script.add(script.at('ready'), { kind: 'complete' })
      break
    case 'complete-anytime': {
      const when = choices.chance(mixture.COMPLETE_ENDING_PERCENT) ? script.at('ending') : script.anyMoment()
      script.add(when, { kind: 'complete' })
      script.add(script.at('ready'), { kind: 'complete' })
      break
    }
    case 'complete-twice': {
      const controlDone = script.add(script.at('ready'), { kind: 'complete' })
      script.add(script.at({ controlDone }), { kind: 'complete' })
      break
    }
    case 'soft-cancel':
      script.add(choices.chance(mixture.CANCEL_ANYTIME_PERCENT) ? script.anyMoment() : script.at('ready'), {
        kind: 'cancel',
        force: false,
      })
      break
    case 'again': {
      const isAnytime = choices.chance(mixture.CANCEL_ANYTIME_PERCENT)
      script.add(isAnytime ? script.anyMoment() : script.at('ready'), { kind: 'cancel', force: choices.chance(50) })
      const controlDone = script.add({ on: 'concluded', afterNs: 0 }, { kind: 'dismiss' })
      script.add(script.at({ controlDone }), { kind: 'mirror-start' })
      break
    }
    case 'force-cancel':
      script.add(script.anyMoment(), { kind: 'cancel', force: true })
      break
  }
}
