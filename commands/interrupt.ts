/** Ctrl-C, for commands that keep what they have found. */
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
