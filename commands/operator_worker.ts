/**
 * A thread that tries operator mutants: it loads the rewritten files once and then only turns switches. After a kill the
 * same killer runs without the mutant; if that fails, too, something was left behind, and the thread is of no more use.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { type Killer, testKillers, worldKillers } from './operator_killers'
import { installSwitches, NO_MUTANT, switches } from './operator_switch'

export interface WorkerSetup {
  root: string
  /** Path and text of what is mutated. */
  texts: ReadonlyArray<readonly [string, string]>
  testFiles: readonly string[]
  worlds: Readonly<Record<string, number>>
  seed: string
  /** For the baseline alone: see `installSwitches`. */
  isLooking: boolean
  /** On from the start, for what runs when files are loaded; NO_MUTANT otherwise. */
  active: number
  /** The number of tasks begun and the killer that runs, for whoever watches. */
  progress: Int32Array
}

export type WorkerTask =
  | { kind: 'baseline' }
  | { kind: 'try'; mutant: number; killers: readonly number[]; stepsMax: readonly number[] }

/** What one killer does on the code as it stands. */
export interface KillerBaseline {
  name: string
  kind: Killer['kind']
  milliseconds: number
  steps: number
  /** Mutants whose place it comes by, where that makes a difference. */
  met: number[]
  /** null: passes. */
  failure: string | null
}

export type WorkerAnswer =
  | { kind: 'ready'; metWhileLoading: number[] }
  | { kind: 'baseline'; killers: KillerBaseline[] }
  | { kind: 'tried'; killer: number | null; class: string | null; isSpoilt: boolean }

const setup = workerData as WorkerSetup

function metNumbers(): number[] {
  const numbers: number[] = []
  for (let number = switches.met.indexOf(1); number >= 0; number = switches.met.indexOf(1, number + 1)) numbers.push(number)
  return numbers
}

async function baselineOf(killers: readonly Killer[]): Promise<KillerBaseline[]> {
  const rows: KillerBaseline[] = []
  for (const [index, killer] of killers.entries()) {
    setup.progress[1] = index
    switches.met.fill(0)
    switches.steps = 0
    const startMs = performance.now()
    const failure = await killer.run()
    const milliseconds = performance.now() - startMs
    rows.push({ name: killer.name, kind: killer.kind, milliseconds, steps: switches.steps, met: metNumbers(), failure })
  }
  return rows
}

/** The class of failure that a killer finds with a mutant on, or null. */
async function runWith(killer: Killer, active: number, stepsMax: number): Promise<string | null> {
  switches.active = active
  switches.steps = 0
  switches.stepsMax = stepsMax
  const found = await killer.run()
  const isBeyond = switches.steps > stepsMax
  switches.active = setup.active
  switches.stepsMax = Number.POSITIVE_INFINITY
  return isBeyond ? 'hang' : found
}

async function tryMutant(killers: readonly Killer[], task: WorkerTask & { kind: 'try' }): Promise<WorkerAnswer> {
  for (const [index, number] of task.killers.entries()) {
    setup.progress[1] = index
    const stepsMax = task.stepsMax[index]!
    const found = await runWith(killers[number]!, task.mutant, stepsMax)
    if (found === null) continue
    const isSpoilt = setup.active !== NO_MUTANT || (await runWith(killers[number]!, NO_MUTANT, stepsMax)) !== null
    return { kind: 'tried', killer: number, class: found, isSpoilt }
  }
  return { kind: 'tried', killer: null, class: null, isSpoilt: false }
}

function serve(): void {
  const post = (answer: WorkerAnswer): void => parentPort?.postMessage(answer)
  installSwitches(setup.root, new Map(setup.texts), setup.isLooking)
  switches.active = setup.active
  const killers = [...testKillers(setup.root, setup.testFiles), ...worldKillers(setup.worlds, setup.seed)]
  post({ kind: 'ready', metWhileLoading: metNumbers() })
  parentPort?.on('message', async (task: WorkerTask) => {
    setup.progress[0] = (setup.progress[0] ?? 0) + 1
    post(task.kind === 'baseline' ? { kind: 'baseline', killers: await baselineOf(killers) } : await tryMutant(killers, task))
  })
}

serve()
