/**
 * Plans for fast-check. An arbitrary of this kind draws a seed and leaves the rest to `planOfSeed`, so properties and
 * campaigns see the same mixture from one generator, and a counterexample names a seed that both understand. Records and
 * arrays of fast-check's own took twice the time (54 µs a plan against 25), before any constraint between fields.
 *
 * Shrinking works on the plan and needs no context, so that a plan read from a report shrinks too (`examples: [[plan]]`).
 * Who knows the smallest plan already says so (`learn`), and it is all that is tried then.
 */
import fc from 'fast-check'
import type { Plan } from '../../sim/plan'
import { type ProfileName, planOfSeed } from '.'
import { smallerPlans } from './smaller'

const WORD_MAX = 0xffffffff

/** What is known of a failing plan. */
interface Known {
  readonly small: Plan
  readonly error: Error
}

export class PlanArbitrary extends fc.Arbitrary<Plan> {
  private readonly profile: ProfileName
  private readonly change: (plan: Plan) => Plan
  /** By the plan's text: fast-check gives plans back as copies. */
  private readonly known = new Map<string, Known>()

  constructor(profile: ProfileName, change: (plan: Plan) => Plan) {
    super()
    this.profile = profile
    this.change = change
  }

  generate(random: fc.Random): fc.Value<Plan> {
    const seed = random.nextInt(0, WORD_MAX).toString(16) + random.nextInt(0, WORD_MAX).toString(16).padStart(8, '0')
    return new fc.Value(this.change(planOfSeed(seed, this.profile)), undefined)
  }

  canShrinkWithoutContext(value: unknown): value is Plan {
    return typeof value === 'object' && value !== null && 'format' in value && value.format === 'mirrorsim-plan'
  }

  /** The smallest world of `plan` is `shrunk`, which fails with `error`. A world that needs its decisions is no plan alone. */
  learn(plan: Plan, { plan: small, decisions }: { plan: Plan; decisions: object | undefined }, error: Error): void {
    const stands = decisions === undefined || Object.keys(decisions).length === 0 ? small : plan
    for (const one of [plan, stands]) this.known.set(JSON.stringify(one), { small: stands, error })
  }

  /** The error of a plan that was learnt of; null: none was. */
  errorOf(plan: Plan): Error | null {
    return this.known.get(JSON.stringify(plan))?.error ?? null
  }

  shrink(plan: Plan): fc.Stream<fc.Value<Plan>> {
    const known = this.known.get(JSON.stringify(plan))
    if (known !== undefined) {
      const isSmallest = JSON.stringify(known.small) === JSON.stringify(plan)
      return isSmallest ? fc.Stream.nil() : fc.Stream.of(new fc.Value(known.small, undefined))
    }
    return fc.stream(smallerPlans(plan)).map((smaller) => new fc.Value(smaller, undefined))
  }
}

/** Plans of a profile, each as `change` makes it; they shrink towards few operations and dull settings. */
export function planArbitrary(profile: ProfileName, change: (plan: Plan) => Plan = (plan) => plan): PlanArbitrary {
  return new PlanArbitrary(profile, change)
}
