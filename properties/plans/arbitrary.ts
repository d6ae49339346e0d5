/**
 * Plans for fast-check. An arbitrary of this kind draws a seed and leaves the rest to `planOfSeed`, so properties and
 * campaigns see the same mixture from one generator, and a counterexample names a seed that both understand. Records and
 * arrays of fast-check's own took twice the time (54 µs a plan against 25), before any constraint between fields.
 *
 * Shrinking works on the plan and needs no context, so that a plan read from a report shrinks too (`examples: [[plan]]`).
 */
import fc from 'fast-check'
import type { Plan } from '../../sim/plan'
import { type ProfileName, planOfSeed } from '.'
import { smallerPlans } from './smaller'

const WORD_MAX = 0xffffffff

class PlanArbitrary extends fc.Arbitrary<Plan> {
  private readonly profile: ProfileName

  constructor(profile: ProfileName) {
    super()
    this.profile = profile
  }

  generate(random: fc.Random): fc.Value<Plan> {
    const seed = random.nextInt(0, WORD_MAX).toString(16) + random.nextInt(0, WORD_MAX).toString(16).padStart(8, '0')
    return new fc.Value(planOfSeed(seed, this.profile), undefined)
  }

  canShrinkWithoutContext(value: unknown): value is Plan {
    return typeof value === 'object' && value !== null && 'format' in value && value.format === 'mirrorsim-plan'
  }

  shrink(plan: Plan): fc.Stream<fc.Value<Plan>> {
    return fc.stream(smallerPlans(plan)).map((smaller) => new fc.Value(smaller, undefined))
  }
}

/** Plans of a profile; they shrink towards few operations and dull settings. */
export function planArbitrary(profile: ProfileName): fc.Arbitrary<Plan> {
  return new PlanArbitrary(profile)
}
