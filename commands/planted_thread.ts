/** Threads of their own for bugs that are planted: the edit is in the environment before the first module is loaded. */
import * as path from 'node:path'
import { Worker } from 'node:worker_threads'
import type { Mutant } from './mutant_catalogue'

/** An edit of one source file. */
export type Edit = Pick<Mutant, 'file' | 'find' | 'replace'>

/** Runs a task in the worker `file` of this folder, with one or more bugs planted or none, and gives its first message. */
export function runPlanted<Answer>(file: string, task: object, mutant: Edit | readonly Edit[] | null): Promise<Answer> {
  const { MIRRORSIM_MUTANT: _, ...env } = process.env
  const planted = mutant === null ? {} : { MIRRORSIM_MUTANT: JSON.stringify(mutant) }
  return new Promise((resolve, reject) => {
    const worker = new Worker(path.join(__dirname, file), { workerData: task, env: { ...env, ...planted } })
    worker.once('message', (answer: Answer) => worker.terminate().then(() => resolve(answer), reject))
    worker.once('error', reject)
  })
}

/** Does the work for each element, several at once, and tells of the results in the order of the list. */
export async function inOrder<In, Out>(
  list: readonly In[],
  workers: number,
  work: (element: In) => Promise<Out>,
  tell: (result: Out) => void,
): Promise<Out[]> {
  const results: Out[] = new Array(list.length)
  let next = 0
  let told = 0
  const turn = async (): Promise<void> => {
    for (let index = next++; index < list.length; index = next++) {
      results[index] = await work(list[index]!)
      for (; results[told] !== undefined; told++) tell(results[told]!)
    }
  }
  await Promise.all(Array.from({ length: Math.min(workers, list.length) }, turn))
  return results
}
