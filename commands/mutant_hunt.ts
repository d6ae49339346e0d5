/**
 * Looks for a mutant's failure in the worlds of consecutive seeds. The first finding ends a world, so a strict checker
 * hides what others would have seen later; the hunt takes checkers away until one reports the class that is expected.
 *
 * A checker only looks: a world in which all of them find nothing gives nothing to some of them either. So only the first
 * hunt has to look for its world, and every other question is asked of worlds that have failed already.
 */
import { hangResult, runOrCatch, type Subject, seedOfWorld } from '../properties/campaign'
import type { FailureClass } from '../sim/verdict'
import { finishesWithin } from './guard'

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

/** In how many of `worlds` failing worlds a checker finds something when it is alone. */
export interface Attribution {
  worlds: number
  /** By the checker's name; what the world finds without any goes by the name `world`. */
  found: Record<string, number>
}

type SubjectWithout = (checkersOff: readonly string[]) => Subject

/** Worlds between two looks at the clock. */
const STRETCH_WORLDS = 16
/** What takes this long does not end, however busy the machine is: a world takes a millisecond. */
const HANG_SECONDS = 20
/** Failing worlds that are shown to each checker alone, and how far to look for them. */
const SAMPLE_WORLDS = 12
const SAMPLE_SEARCH_WORLDS = 400

/** The first failure from world `firstIndex` on. After a world that hangs nothing here may be used again. */
export function hunt(subject: Subject, { seed, worldsMax }: Quarry, firstIndex = 0): Kill | null {
  let index = firstIndex
  let kill: Kill | null = null
  while (kill === null && index < worldsMax) {
    const endIndex = Math.min(index + STRETCH_WORLDS, worldsMax)
    const isBack = finishesWithin(HANG_SECONDS * 1000, () => {
      for (; kill === null && index < endIndex; index++) kill = killIn(subject, seed, index)
    })
    if (!isBack) return { ...identity(hangResult(HANG_SECONDS).failure!), worlds: index + 1, seed: seedOfWorld(seed, index) }
  }
  return kill
}

function killIn(subject: Subject, seed: string, index: number): Kill | null {
  const worldSeed = seedOfWorld(seed, index)
  const { failure } = runOrCatch(subject, subject.planOf(worldSeed), 'last')
  return failure === null ? null : { ...identity(failure), worlds: index + 1, seed: worldSeed }
}

/** After how many worlds each root of seeds has a failure; `worldsMax + 1` where there is none. A hang ends the list. */
export function huntEach(subject: Subject, seeds: readonly string[], worldsMax: number): number[] {
  const worlds: number[] = []
  for (const seed of seeds) {
    const kill = hunt(subject, { seed, worldsMax })
    worlds.push(kill?.worlds ?? worldsMax + 1)
    if (kill !== null && isHang(kill)) break
  }
  return worlds
}

function identity(failure: { class: FailureClass; key: string }): Pick<Kill, 'class' | 'key'> {
  return { class: failure.class, key: failure.key }
}

export function isHang({ key }: Kill): boolean {
  return key === hangResult(HANG_SECONDS).failure!.key
}

/** After so many failures of another class, which no checker has made, one more world will not be different. */
const OTHERS_MAX = 40

/**
 * Hunts with ever fewer checkers until the expected class is found, or nothing; the kills in order, the last one decides.
 * Where no checker stands in the way of the expected one, the next world is asked. Begins with world `startIndex`.
 */
export function peel(
  subjectWithout: SubjectWithout,
  checkerNames: readonly string[],
  expect: FailureClass,
  quarry: Quarry,
  startIndex = 0,
): Kill[] {
  const kills: Kill[] = []
  const off: string[] = []
  let others = 0
  for (let firstIndex = startIndex; ; ) {
    const kill = hunt(subjectWithout(off), quarry, firstIndex)
    if (kill === null) return kills
    kills.push(kill)
    if (kill.class === expect || isHang(kill)) return kills
    const checker = checkerNames.find((name) => kill.key.startsWith(`${name}/`))
    if (checker !== undefined && !off.includes(checker)) {
      off.push(checker)
      firstIndex = kill.worlds - 1
    } else if (++others < OTHERS_MAX) firstIndex = kill.worlds
    else return kills
  }
}

/** Which checkers find the bug when they are alone, in failing worlds from the first on, which `firstIndex` must be. */
export function attribute(
  subjectWithout: SubjectWithout,
  checkerNames: readonly string[],
  { seed, worldsMax }: Quarry,
  firstIndex: number,
): Attribution {
  const subject = subjectWithout([])
  const failing: number[] = []
  const endIndex = Math.min(worldsMax, firstIndex + SAMPLE_SEARCH_WORLDS)
  for (let index = firstIndex; index < endIndex && failing.length < SAMPLE_WORLDS; index++) {
    if (killIn(subject, seed, index) !== null) failing.push(index)
  }
  const keysOf = (of: Subject): Array<string | undefined> => failing.map((index) => killIn(of, seed, index)?.key)
  const keysOfWorld = keysOf(subjectWithout(checkerNames))
  const found: Record<string, number> = {}
  const count = (name: string, isFound: (key: string | undefined, place: number) => boolean, keys: typeof keysOfWorld): void => {
    const number = keys.filter(isFound).length
    if (number > 0) found[name] = number
  }
  count('world', (key) => key !== undefined, keysOfWorld)
  for (const name of checkerNames) {
    const only = subjectWithout(checkerNames.filter((other) => other !== name))
    // What the world finds without any checker is not the checker's merit, also where it has the same name for it.
    count(name, (key, place) => key?.startsWith(`${name}/`) === true && key !== keysOfWorld[place], keysOf(only))
  }
  return { worlds: failing.length, found }
}
