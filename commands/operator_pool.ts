/**
 * Threads that try operator mutants, each kept warm until something is left behind in it. A mutant that makes its thread
 * hang, run out of memory or break is killed by that.
 */
import * as path from 'node:path'
import { Worker } from 'node:worker_threads'
import { NO_MUTANT } from './operator_switch'
import type { KillerBaseline, WorkerAnswer, WorkerSetup, WorkerTask } from './operator_worker'

/** What a killer may take beyond what it takes by itself, in real time: the machine may be busy. */
const HANG_MS = 5_000
const HANG_FACTOR = 20
const LOAD_MS = 120_000
const WATCH_MS = 250
const HEAP_MAX_MIB = 1500

/** A killer may come by this many places more than by itself. */
const STEPS_FACTOR = 20
const STEPS_MORE = 200_000

/** Of the tests that come by a mutant: the nearest, and then the quickest. */
const TESTS_MAX = 140
/** Of the worlds that come by a mutant; of all, where it is on while files are loaded, which costs a thread of its own. */
const WORLDS_MAX = 40
const WORLDS_AT_LOAD_MAX = 30

export interface Kill {
  /** The killer's name; '' where the files could not even be loaded. */
  by: string
  kind: 'test' | 'world'
  class: string
}

/** A thread has ended without an answer. */
class Lost extends Error {
  readonly kind: 'hang' | 'crash'
  readonly killer: number | null
  constructor(kind: 'hang' | 'crash', killer: number | null, message: string) {
    super(message)
    this.kind = kind
    this.killer = killer
  }
}

export interface PoolSetup extends Omit<WorkerSetup, 'progress' | 'active' | 'isLooking'> {
  /** So many times as many worlds a mutant as usual. */
  worldsFactor: number
}

/** One thread; `ask` rejects with `Lost` when it hangs or breaks. */
class Thread {
  private readonly worker: Worker
  private readonly progress = new Int32Array(new SharedArrayBuffer(8))
  private readonly limitsMs: readonly number[]
  readonly metWhileLoading: Promise<number[]>

  constructor(setup: PoolSetup, active: number, limitsMs: readonly number[], isLooking = false) {
    const workerData: WorkerSetup = { ...setup, active, isLooking, progress: this.progress }
    this.worker = new Worker(path.join(__dirname, 'operator_worker.ts'), {
      workerData,
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MAX_MIB },
      stdout: true,
      stderr: true,
    })
    this.limitsMs = limitsMs
    this.metWhileLoading = this.answer(null, []).then((answer) => (answer.kind === 'ready' ? answer.metWhileLoading : []))
    this.metWhileLoading.catch(() => {})
  }

  async ask(task: WorkerTask): Promise<WorkerAnswer> {
    await this.metWhileLoading
    return this.answer(task, task.kind === 'try' ? task.killers : [])
  }

  private answer(task: WorkerTask | null, killers: readonly number[]): Promise<WorkerAnswer> {
    return new Promise((resolve, reject) => {
      let seen = -1
      let sinceMs = performance.now()
      const at = (): number | null => (task?.kind === 'try' ? (killers[this.progress[1]!] ?? null) : null)
      const watch = setInterval(() => {
        const now = performance.now()
        if (this.progress[1] !== seen) {
          seen = this.progress[1]!
          sinceMs = now
        }
        const killer = at()
        const limitMs = killer === null ? LOAD_MS : HANG_MS + HANG_FACTOR * (this.limitsMs[killer] ?? 0)
        if (now - sinceMs > limitMs) end(() => reject(new Lost('hang', killer, 'a thread did not come back')))
      }, WATCH_MS)
      const onMessage = (answer: WorkerAnswer): void => end(() => resolve(answer))
      const onError = (error: Error): void => end(() => reject(new Lost('crash', at(), error.stack ?? error.message)))
      const onExit = (code: number): void => end(() => reject(new Lost('crash', at(), `a thread left with exit code ${code}`)))
      const end = (settle: () => void): void => {
        clearInterval(watch)
        this.worker.off('message', onMessage).off('error', onError).off('exit', onExit)
        settle()
      }
      this.worker.on('message', onMessage).on('error', onError).on('exit', onExit)
      if (task !== null) this.worker.postMessage(task)
    })
  }

  async end(): Promise<void> {
    this.worker.on('error', () => {})
    await this.worker.terminate()
  }
}

/** What is known of the code as it stands, and how mutants are tried from it. */
export class MutantTrier {
  private readonly setup: PoolSetup
  readonly killers: readonly KillerBaseline[]
  /** Mutants that run when files are loaded. */
  readonly atLoad: ReadonlySet<number>
  /** By mutant: killers that it makes a difference to, the quickest first, tests before worlds. */
  private readonly killersOf = new Map<number, number[]>()
  private readonly idle: Thread[] = []

  private constructor(setup: PoolSetup, killers: readonly KillerBaseline[], atLoad: readonly number[]) {
    this.setup = setup
    this.killers = killers
    this.atLoad = new Set(atLoad)
    for (const index of this.order()) {
      for (const mutant of killers[index]!.met) {
        const list = this.killersOf.get(mutant)
        if (list === undefined) this.killersOf.set(mutant, [index])
        else list.push(index)
      }
    }
  }

  static async make(setup: PoolSetup): Promise<MutantTrier> {
    const first = new Thread(setup, NO_MUTANT, [], true)
    const answer = await first.ask({ kind: 'baseline' })
    if (answer.kind !== 'baseline') throw new Error('a thread gave another answer than it was asked for')
    const metWhileLoading = await first.metWhileLoading
    await first.end()
    return new MutantTrier(setup, answer.killers, metWhileLoading)
  }

  /** Killers that pass as the code stands. */
  private order(): number[] {
    const sound = this.killers.map((_, index) => index).filter((index) => this.killers[index]!.failure === null)
    const tests = sound.filter((index) => this.killers[index]!.kind === 'test')
    tests.sort((a, b) => this.killers[a]!.milliseconds - this.killers[b]!.milliseconds)
    return [...tests, ...sound.filter((index) => this.killers[index]!.kind === 'world')]
  }

  private limitsMs(): number[] {
    return this.killers.map(({ milliseconds }) => milliseconds)
  }

  /** To how many killers a mutant makes a difference at its place. */
  reach(mutant: number): number {
    return this.atLoad.has(mutant) ? this.killers.length : (this.killersOf.get(mutant)?.length ?? 0)
  }

  /** The first tests, and so many of the worlds, spread over all of them. */
  private thinned(killers: readonly number[], worldsMax: number): number[] {
    const isWorld = (index: number): boolean => this.killers[index]!.kind === 'world'
    const worlds = killers.filter(isWorld)
    const stride = Math.max(1, worlds.length / worldsMax)
    const kept = worlds.filter((_, at) => Math.floor(at / stride) !== Math.floor((at - 1) / stride))
    return [...killers.filter((index) => !isWorld(index)).slice(0, TESTS_MAX), ...kept]
  }

  /** The tests that stand beside a file come first, then those of its folder. */
  private nearFirst(killers: readonly number[], file: string): number[] {
    const beside = file.replace(/\.ts$/, '.test.ts:')
    const folder = `${path.dirname(file)}/`
    const distance = (index: number): number => {
      const { name, kind } = this.killers[index]!
      if (kind === 'world') return 3
      return name.startsWith(beside) ? 0 : name.startsWith(folder) ? 1 : 2
    }
    return [...killers].sort((a, b) => distance(a) - distance(b))
  }

  /** Tries a mutant of `file`; null: it survives. */
  async try(mutant: number, file: string): Promise<Kill | null> {
    const isAtLoad = this.atLoad.has(mutant)
    const reaching = isAtLoad ? this.order() : (this.killersOf.get(mutant) ?? [])
    const killers = this.thinned(
      this.nearFirst(reaching, file),
      (isAtLoad ? WORLDS_AT_LOAD_MAX : WORLDS_MAX) * this.setup.worldsFactor,
    )
    if (killers.length === 0) return null
    const thread = isAtLoad ? null : this.idle.pop()
    const used = thread ?? new Thread(this.setup, isAtLoad ? mutant : NO_MUTANT, this.limitsMs())
    const stepsMax = killers.map((index) => this.killers[index]!.steps * STEPS_FACTOR + STEPS_MORE)
    try {
      const answer = await used.ask({ kind: 'try', mutant, killers, stepsMax })
      if (answer.kind !== 'tried') throw new Error('a thread gave another answer than it was asked for')
      if (!isAtLoad && !answer.isSpoilt) this.idle.push(used)
      else await used.end()
      // What an earlier mutant has left may be what was found: once more, alone.
      if (answer.isSpoilt && thread !== null && thread !== undefined) return this.tryAlone(mutant, killers, stepsMax)
      return answer.killer === null ? null : this.kill(answer.killer, answer.class ?? 'test')
    } catch (error) {
      if (!(error instanceof Lost)) throw error
      await used.end()
      return this.kill(error.killer, error.kind)
    }
  }

  private async tryAlone(mutant: number, killers: readonly number[], stepsMax: readonly number[]): Promise<Kill | null> {
    const alone = new Thread(this.setup, NO_MUTANT, this.limitsMs())
    try {
      const answer = await alone.ask({ kind: 'try', mutant, killers, stepsMax })
      if (answer.kind !== 'tried') throw new Error('a thread gave another answer than it was asked for')
      return answer.killer === null ? null : this.kill(answer.killer, answer.class ?? 'test')
    } catch (error) {
      if (!(error instanceof Lost)) throw error
      return this.kill(error.killer, error.kind)
    } finally {
      await alone.end()
    }
  }

  private kill(killer: number | null, kind: string): Kill {
    if (killer === null) return { by: '', kind: 'test', class: kind }
    const { name, kind: what } = this.killers[killer]!
    return { by: name, kind: what, class: kind }
  }

  async end(): Promise<void> {
    await Promise.all(this.idle.splice(0).map((thread) => thread.end()))
  }
}
