/**
 * The one door of nondeterminism. Whatever a world leaves open (a latency, who of several goes first) is decided under a
 * key that is stable when operations are deleted: the site, the subject that it is about, and how often that subject has
 * been there. So the fate of the others stays what it was.
 *
 * 0 is always the dull choice (least latency, first come first served): shrinking decisions towards 0 takes detail away.
 * What never may happen: a result outside [0, count), a key with a counter that is global to the run.
 */
import { type Coroutine, hashText, type Label, makeLabel, mix32 } from '../impl/co'

export interface Decider {
  /**
   * An integer in [0, count). `count` is at least 2: what has one outcome is not asked. `line`: at `Site.Order`, those among
   * whom the choice is, the one that waits longest first.
   */
  decide(site: Label, subject: Label, attempt: number, count: number, line?: readonly Waiting[]): number
}

/** Somebody who is due. Most schedules do not look at who it is. */
export type Waiting = Pick<Coroutine, 'label' | 'parkSerial' | 'waitsFor'>

/** Where worlds decide something. */
export const Site = {
  /** How many steps above the least a request takes at the source. */
  SourceLatency: makeLabel('source-latency'),
  DestinationLatency: makeLabel('destination-latency'),
  /** Which of the coroutines that are due at one instant runs next, counted from the one that waits longest. */
  Order: makeLabel('order'),
  /** What a power cut leaves of the changes that were not flushed. */
  SourceCut: makeLabel('source-cut'),
  DestinationCut: makeLabel('destination-cut'),
  /** How long a piece is under way on a link, and how large it is. */
  LinkDelay: makeLabel('link-delay'),
  LinkPiece: makeLabel('link-piece'),
} as const

/** How a decision is named in reports: `latency/g3/0`. */
export function decisionKey(site: Label, subject: Label, attempt: number): string {
  return `${site.id}/${subject.id}/${attempt}`
}

/** Decides by a hash of the seed and the key. The empty seed stands for none: the dull choice everywhere. */
export function seededDecider(seed: string): Decider {
  if (seed === '') return dullDecider
  // Two words of the seed, so that two seeds do not share all their decisions because of one collision.
  const low = hashText(seed)
  const high = hashText(`${seed}/`)
  return {
    decide(site, subject, attempt, count) {
      const key = mix32(low ^ site.hash ^ Math.imul(attempt + 1, 0x9e3779b1))
      return mix32(key ^ subject.hash ^ Math.imul(high, 0x85ebca6b)) % count
    },
  }
}

/** The dull choice everywhere. */
export const dullDecider: Decider = { decide: () => 0 }

/** Decides what a report says, by key, and everything else as the seed does. */
export class RecordedDecider implements Decider {
  private readonly decisions: Readonly<Record<string, number>>
  private readonly otherwise: Decider
  private readonly met = new Set<string>()

  constructor(decisions: Readonly<Record<string, number>>, otherwise: Decider) {
    this.decisions = decisions
    this.otherwise = otherwise
  }

  decide(site: Label, subject: Label, attempt: number, count: number, line?: readonly Waiting[]): number {
    const key = decisionKey(site, subject, attempt)
    if (!Object.hasOwn(this.decisions, key)) return this.otherwise.decide(site, subject, attempt, count, line)
    this.met.add(key)
    // The plan may have been changed by hand since: fewer outcomes must not make the report unusable.
    return Math.min(this.decisions[key]!, count - 1)
  }

  /** Recorded keys that nobody has asked for. */
  unused(): string[] {
    return Object.keys(this.decisions).filter((key) => !this.met.has(key))
  }
}

/** Writes down what another decider decides, for a report that does not depend on the seed. */
export class DecisionRecorder implements Decider {
  private readonly inner: Decider
  /** By key; dull decisions are left out, so read it back over `dullDecider`. */
  readonly decisions: Record<string, number> = {}

  constructor(inner: Decider) {
    this.inner = inner
  }

  decide(site: Label, subject: Label, attempt: number, count: number, line?: readonly Waiting[]): number {
    const choice = this.inner.decide(site, subject, attempt, count, line)
    if (choice !== 0) this.decisions[decisionKey(site, subject, attempt)] = choice
    return choice
  }
}

/** Counts how often each subject has been at one site: the attempt numbers of decisions. */
export class Attempts {
  private readonly counts = new Map<number, number>()

  next(subject: Label): number {
    // As a signed word the hash is a small integer to the engine, which makes the look-up cheap.
    const key = subject.hash | 0
    const attempt = this.counts.get(key) ?? 0
    this.counts.set(key, attempt + 1)
    return attempt
  }
}
