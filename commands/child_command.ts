/** Our own commands as processes of their own, for those that put several together. */
import { spawn } from 'node:child_process'
import * as path from 'node:path'
import { killedWithUs } from './interrupt'

const ROOT = path.resolve(__dirname, '..')
/** What a command prints is one JSON object; more is something else. */
const OUT_BYTES_MAX = 256 * 1024 * 1024
const ERRORS_KEPT_BYTES = 16 * 1024

export interface ChildExit {
  /** null: it was killed. */
  readonly code: number | null
  readonly out: string
  /** The last of what it told on the error stream. */
  readonly errors: string
}

/** Runs `commands/NAME.ts`. `mutant`: planted there, by its name; absent: what is planted here, if anything. */
export function runChild(name: string, args: readonly string[], mutant?: string | null): Promise<ChildExit> {
  const words = ['-r', path.join(ROOT, 'scripts/tsreg.cjs'), path.join(ROOT, 'commands', `${name}.ts`), ...args]
  return runProcess(process.execPath, words, mutant)
}

/** The same for any program. Rejects if it cannot be started. */
export function runProcess(file: string, words: readonly string[], mutant?: string | null): Promise<ChildExit> {
  const { MIRRORSIM_MUTANT: here, ...env } = process.env
  const planted = mutant === undefined ? here : (mutant ?? undefined)
  const childEnv = planted === undefined ? env : { ...env, MIRRORSIM_MUTANT: planted }
  return new Promise((resolve, reject) => {
    const child = killedWithUs(spawn(file, words, { cwd: ROOT, env: childEnv, stdio: ['ignore', 'pipe', 'pipe'] }))
    let out = ''
    let errors = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text
      if (out.length > OUT_BYTES_MAX) child.kill('SIGKILL')
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors = (errors + text).slice(-ERRORS_KEPT_BYTES)
    })
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, out, errors }))
  })
}

/** What a command printed with --json, or null. */
export function jsonOf<T>({ out }: ChildExit): T | null {
  try {
    return JSON.parse(out) as T
  } catch {
    return null
  }
}
