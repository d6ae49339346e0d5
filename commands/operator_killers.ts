/**
 * What operator mutants are tried on, cheap ones first: the tests of a room, the worlds that are known, worlds of seeds.
 * A killer passes on the code as it stands, and does the same every time.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import * as fc from 'fast-check'
import { runOrCatch, seedOfWorld } from '../properties/campaign'

export interface Killer {
  readonly name: string
  readonly kind: 'test' | 'world'
  /** null: all is well. Otherwise the class of what is wrong. */
  run(): Promise<string | null>
}

interface Collected {
  name: string
  handler: (state: object) => unknown
}

/** Stands in for uvu while test files are loaded, and keeps what they hand over. */
class Collector {
  readonly tests: Collected[] = []
  readonly each: { before: Array<() => unknown>; after: Array<() => unknown> } = { before: [], after: [] }
  readonly before: Array<() => unknown> = []

  readonly uvu = (): object => {
    const test = (name: string, handler: Collected['handler']): void => void this.tests.push({ name, handler })
    const before = Object.assign((hook: () => unknown) => void this.before.push(hook), {
      each: (hook: () => unknown) => void this.each.before.push(hook),
    })
    // What is made once is used by the tests of many mutants; the process removes it.
    const after = Object.assign((hook: () => unknown) => void process.once('exit', hook), {
      each: (hook: () => unknown) => void this.each.after.push(hook),
    })
    return Object.assign(test, { before, after, only: test, skip: () => {}, run: () => {} })
  }
}

/** Loads the test files and gives their tests; nothing runs yet but what the files do when they are loaded. */
export function testKillers(root: string, files: readonly string[]): Killer[] {
  const killers: Killer[] = []
  const place = require.resolve('uvu')
  // A failing property is a kill; what the smallest failing case is does not matter.
  fc.configureGlobal({ endOnFailure: true, seed: 1 })
  for (const file of files) {
    const collector = new Collector()
    const fake = { test: collector.uvu(), suite: () => collector.uvu() }
    require.cache[place] = { id: place, filename: place, loaded: true, exports: fake, children: [] } as unknown as NodeModule
    require(path.join(root, file))
    const { each } = collector
    let isReady = false
    const ready = async (): Promise<void> => {
      if (isReady) return
      for (const hook of collector.before) await hook()
      isReady = true
    }
    for (const { name, handler } of collector.tests) {
      killers.push({ name: `${file}: ${name}`, kind: 'test', run: () => runTest(ready, each, handler) })
    }
  }
  return killers
}

async function runTest(
  ready: () => Promise<void>,
  each: Collector['each'],
  handler: Collected['handler'],
): Promise<string | null> {
  await ready()
  try {
    for (const hook of each.before) await hook()
    await handler({})
    return null
  } catch {
    return 'test'
  } finally {
    for (const hook of each.after) await hook()
  }
}

/** Worlds of these profiles: first those that are known, then as many of seeds as each count says. */
export function worldKillers(counts: Readonly<Record<string, number>>, seed: string): Killer[] {
  // Loaded late: half of the code that is mutated hangs on it.
  const { isProfile, subjectOf }: typeof import('./subject') = require('./subject')
  const { knownCount, withKnownWorlds }: typeof import('./known_worlds') = require('./known_worlds')
  const killers: Killer[] = []
  let isFirst = true
  for (const [profile, count] of Object.entries(counts)) {
    if (!isProfile(profile)) throw new Error(`there is no profile ${profile}`)
    const subject = isFirst ? withKnownWorlds(subjectOf(profile)) : subjectOf(profile)
    const total = isFirst ? count + knownCount() : count
    isFirst = false
    for (let index = 0; index < total; index++) {
      const name = `${profile} ${seedOfWorld(seed, index)}`
      const run = async (): Promise<string | null> => {
        const plan = subject.planOf(seedOfWorld(seed, index))
        return runOrCatch(subject, plan, 'last').failure?.class ?? null
      }
      killers.push({ name, kind: 'world', run })
    }
  }
  return killers
}

/** The test files of a folder and those below it, from the root. */
export function testFilesIn(root: string, folder: string): string[] {
  const entries = fs.readdirSync(path.join(root, folder), { withFileTypes: true, recursive: true })
  const files = entries.filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
  return files.map((entry) => path.relative(root, path.join(entry.parentPath, entry.name))).sort()
}
