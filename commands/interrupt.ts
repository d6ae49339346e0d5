/** Ctrl-C: for commands that keep what they have found, and for those that leave programs and folders behind. */
import type { ChildProcess } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { EXIT_INTERRUPTED } from './cli'

/** Runs `work` with a signal that Ctrl-C gives; the second Ctrl-C ends the process, whose reports are on disk already. */
export async function whileInterruptible<T>(work: (stop: AbortSignal) => Promise<T>): Promise<T> {
  const stop = new AbortController()
  const interrupt = (): void => {
    if (stop.signal.aborted) process.exit(EXIT_INTERRUPTED)
    stop.abort()
  }
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt)
  try {
    return await work(stop.signal)
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt)
  }
}

/** What must not outlive this process. */
const children = new Set<ChildProcess>()
const folders = new Set<string>()

/** A new folder that an interrupt removes; otherwise whoever made it does, with `removeScratch`. */
export function makeScratch(parent: string, prefix: string): string {
  const folder = fs.mkdtempSync(path.join(parent, prefix))
  folders.add(folder)
  return folder
}

export function removeScratch(folder: string): void {
  // A program that was killed may still be about to make a file.
  fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 })
  folders.delete(folder)
}

/** Gives back `child`, which an interrupt kills if it still runs then. */
export function killedWithUs<T extends ChildProcess>(child: T): T {
  children.add(child)
  child.once('exit', () => children.delete(child))
  return child
}

/**
 * Runs `work`; an interrupt kills the children and removes the folders, and ends the process with 130. It is seen when
 * the event loop turns: work that runs programs synchronously must let it, between two of them.
 */
export async function whileCleanedUp<T>(work: () => Promise<T>): Promise<T> {
  const interrupt = (): void => {
    for (const child of children) child.kill('SIGKILL')
    for (const folder of [...folders]) removeScratch(folder)
    process.exit(EXIT_INTERRUPTED)
  }
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt)
  try {
    return await work()
  } finally {
    // A program that the same Ctrl-C ended may have made `work` fail.
    await turnLoop()
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt)
  }
}

/** Lets signals be seen between two programs that are run synchronously. */
export function turnLoop(): Promise<void> {
  // The first may come before the loop asks for events.
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
}
