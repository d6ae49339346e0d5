/**
 * Programs that go on in the background. The engine cannot fork: the program starts itself a second time, detached, and
 * waits until the other says that it is ready or ends.
 *
 * What may fail: the other one, whose complaints appear here and whose exit code becomes ours.
 */
import { spawn } from 'node:child_process'
import * as fs from 'node:fs'

const READY = 'MIRRORSIM_READY_DESCRIPTOR'
const READY_DESCRIPTOR = 3
const STDERR_DESCRIPTOR = 2

/** Whether this is the program in the background. What it starts is not. */
const isInBackground = process.env[READY] !== undefined
delete process.env[READY]

export function isDaemon(): boolean {
  return isInBackground
}

/** Starts the program in the background, with the same arguments. Gives the exit code of the one in front. */
export function startDaemon(): Promise<number> {
  const [program, ...args] = process.argv
  const child = spawn(program!, [...process.execArgv, ...args], {
    detached: true,
    env: { ...process.env, [READY]: String(READY_DESCRIPTOR) },
    stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
  })
  return new Promise((resolve) => {
    child.stdio[READY_DESCRIPTOR]?.on('data', () => {
      child.unref()
      process.exit(0)
    })
    child.on('error', () => resolve(1))
    child.on('exit', (code) => resolve(code ?? 1))
  })
}

/** In the background: everything works, the one in front may go. Nothing is printed any more. */
export function becomeDaemon(): void {
  if (!isDaemon()) return
  // The terminal, or whoever reads what it says, must not wait for us.
  fs.closeSync(STDERR_DESCRIPTOR)
  fs.openSync('/dev/null', 'w')
  fs.writeSync(READY_DESCRIPTOR, 'ready')
  fs.closeSync(READY_DESCRIPTOR)
}
