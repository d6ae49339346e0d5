/**
 * A schedule decides what a plan leaves open with some idea of where bugs are. It is a decider: everything it says is a hash
 * of the seed and of what is decided, so that deleting one operation leaves the fate of the others alone.
 *
 * What never may happen: a choice that depends on how many decisions the world has made before.
 */
import { hashText, type Label, mix32 } from '../../impl/co'
import type { Decider } from '../decider'
import type { SchedulePlan } from '../plan'

export interface Schedule<P extends SchedulePlan = SchedulePlan> {
  readonly kind: P['kind']
  /** One line for people. */
  readonly about: string
  /** For one world; `seed` is not empty. */
  decider(seed: string, plan: P): Decider
}

/** A word for each subject, or for each of its moments, that only the seed and the subject determine. */
export function wordsOf(seed: string, purpose: string): (subject: Label, moment: number) => number {
  const root = hashText(`${purpose}/${seed}`)
  return (subject, moment) => mix32(mix32(root ^ subject.hash) + Math.imul(moment, 0x9e3779b1)) >>> 0
}

/** A choice below `count` that is the greater, the smaller a priority of 32 bits is. */
export function choiceFor(priority: number, count: number): number {
  return ((0xffff - (priority >>> 16)) * count) >>> 16
}
