/**
 * Looks for a mutant's failure in the worlds of consecutive seeds. The first finding ends a world, so a strict checker
 * hides what others would have seen later; the hunt takes checkers away until one reports the class that is expected.
 */
import { runOrCatch, type Subject, seedOfWorld } from '../properties/campaign'
import type { FailureClass } from '../sim/verdict'

export interface Kill {
  class: FailureClass
  key: string
  /** How many worlds it took. */
  worlds: number
  seed: string
}

export interface Quarry {
  seed: string
  worldsMax: number
}

/** The first failure within so many worlds. */
export function hunt(subject: Subject, { seed, worldsMax }: Quarry): Kill | null {
  for (let index = 0; index < worldsMax; index++) {
    const worldSeed = seedOfWorld(seed, index)
    const { failure } = runOrCatch(subject, subject.planOf(worldSeed), 'last')
    if (failure !== null) return { class: failure.class, key: failure.key, worlds: index + 1, seed: worldSeed }
  }
  return null
}

/** Hunts with ever fewer checkers until the expected class is found, or nothing; the kills in order, the last one decides. */
export function peel(
  subjectWithout: (checkersOff: readonly string[]) => Subject,
  checkerNames: readonly string[],
  expect: FailureClass,
  quarry: Quarry,
): Kill[] {
  const kills: Kill[] = []
  const off: string[] = []
  for (;;) {
    const kill = hunt(subjectWithout(off), quarry)
    if (kill === null) return kills
    kills.push(kill)
    const checker = checkerNames.find((name) => kill.key.startsWith(`${name}/`))
    if (kill.class === expect || checker === undefined || off.includes(checker)) return kills
    off.push(checker)
  }
}

/** Which checkers find it when they are alone, with the worlds it takes them; the world itself goes by the name `world`. */
export function attribute(
  subjectWithout: (checkersOff: readonly string[]) => Subject,
  checkerNames: readonly string[],
  quarry: Quarry,
): Record<string, number> {
  const found: Record<string, number> = {}
  for (const alone of ['world', ...checkerNames]) {
    const others = checkerNames.filter((name) => name !== alone)
    const kill = hunt(subjectWithout(others), quarry)
    // What the world finds without any checker is not the checker's merit.
    if (kill !== null && (alone === 'world' || kill.key.startsWith(`${alone}/`))) found[alone] = kill.worlds
  }
  return found
}
