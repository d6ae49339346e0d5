/**
 * Who runs the campaign of a store in a file: a note beside it, FILE.owner, which a killed process leaves behind. A note of
 * this machine counts while its process lives; one of another machine, on a disk that both see, while it is renewed.
 */
import * as fs from 'node:fs'
import * as os from 'node:os'
import { UsageError } from '../cli'

/** Notes are renewed with each write; a world that hangs holds writes up for some 20 s. */
const OTHER_MACHINE_MS = 300_000

interface Note {
  machine: string
  processId: number
  /** When the process started, in ticks since the machine did: ids come again, in containers with each start. */
  startedTicks: string
}

export function ownerFileOf(file: string): string {
  return `${file}.owner`
}

/** Empty where the system does not tell (no /proc), or there is no such process. */
function startedTicksOf(processId: number): string {
  try {
    const text = fs.readFileSync(`/proc/${processId}/stat`, 'utf8')
    // The second field is a name in brackets, which may hold blanks; the 22nd is the time.
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    return ''
  }
}

function isRunning(processId: number): boolean {
  try {
    process.kill(processId, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function ourNote(): Note {
  return { machine: os.hostname(), processId: process.pid, startedTicks: startedTicksOf(process.pid) }
}

function readNote(file: string): Note | null {
  try {
    return JSON.parse(fs.readFileSync(ownerFileOf(file), 'utf8')) as Note
  } catch {
    return null
  }
}

function isOurs(note: Note | null): boolean {
  return JSON.stringify(note) === JSON.stringify(ourNote())
}

/** Whom the store belongs to, in words; null: to nobody who lives, or to us. */
export function livingOwner(file: string): string | null {
  const note = readNote(file)
  if (note === null || isOurs(note)) return null
  const { machine, processId, startedTicks } = note
  if (machine !== os.hostname()) {
    const ageMs = Date.now() - (fs.statSync(ownerFileOf(file), { throwIfNoEntry: false })?.mtimeMs ?? 0)
    return ageMs < OTHER_MACHINE_MS ? `process ${processId} of ${machine}` : null
  }
  return isRunning(processId) && startedTicksOf(processId) === startedTicks ? `process ${processId}` : null
}

/** Says whether an owner that is gone had left its note. Throws a `UsageError` if one lives. */
export function takeOwnership(file: string): { wasLeft: boolean } {
  const owner = livingOwner(file)
  if (owner !== null) {
    throw new UsageError(`${file}: ${owner} runs this campaign: end it, or remove ${ownerFileOf(file)} if it does not`)
  }
  const wasLeft = fs.existsSync(ownerFileOf(file))
  const mine = `${ownerFileOf(file)}.${process.pid}`
  fs.writeFileSync(mine, JSON.stringify(ourNote()))
  try {
    fs.rmSync(ownerFileOf(file), { force: true })
    // A link appears whole, and only where there is none.
    fs.linkSync(mine, ownerFileOf(file))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    throw new UsageError(`${file}: another process has just taken this campaign: end it first`)
  } finally {
    fs.rmSync(mine, { force: true })
  }
  return { wasLeft }
}

/** Before each write. Throws a `UsageError` if another process has taken the store over. */
export function renewOwnership(file: string): void {
  if (!isOurs(readNote(file))) {
    throw new UsageError(
      `${file}: another process has taken this campaign over, or ${ownerFileOf(file)} was removed: start again`,
    )
  }
  const now = new Date()
  fs.utimesSync(ownerFileOf(file), now, now)
}

export function giveUpOwnership(file: string): void {
  if (isOurs(readNote(file))) fs.rmSync(ownerFileOf(file), { force: true })
}
