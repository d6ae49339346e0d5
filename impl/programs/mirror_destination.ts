/**
 * The file that is to become the copy: used as it is if it is there; otherwise a new one, which has `.partial` behind its
 * name until the copy is whole and durable. So a file that has appeared under the name that was asked for is a copy,
 * whatever has happened: a failure, a signal, a crash.
 *
 * What may fail: everything about the path, as a ProgramFailure, before anything has been changed; giving the file its
 * name, if somebody else has taken it.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { EEXIST, ENOTSUP, EPERM, type Errno } from '../co'
import { errnoOf, identityOf } from '../host'
import { createFailure, EXIT_FAILURE, EXIT_USAGE, openFailure, ProgramFailure } from './mirror_failure'

const PARTIAL_SUFFIX = '.partial'
/** What file systems without hard links say. */
const NO_LINKS: ReadonlySet<Errno> = new Set([EPERM, ENOTSUP])

export class Destination {
  /** What the user calls it. */
  readonly path: string
  /** Where it is at the moment. */
  workPath: string
  readonly wasCreated: boolean
  /** Of the file that was created. */
  private readonly identity: string | null

  private constructor(file: string, workPath: string) {
    this.path = file
    this.workPath = workPath
    this.wasCreated = workPath !== file
    this.identity = this.wasCreated ? identityOf(workPath) : null
  }

  /** Finds the destination, or creates it, empty. Throws ProgramFailure. */
  static prepare(file: string, sourcePath: string): Destination {
    const identity = identify(file)
    if (identity === null) {
      if (fs.lstatSync(file, { throwIfNoEntry: false }) !== undefined) throw createFailure(file, EEXIST)
      const partial = `${file}${PARTIAL_SUFFIX}`
      createEmpty(partial, file)
      return new Destination(file, partial)
    }
    if (identity === identify(sourcePath)) {
      throw new ProgramFailure(file, `it is the same file as ${sourcePath}`, 'choose another destination', EXIT_USAGE)
    }
    return new Destination(file, file)
  }

  /** Gives a created file its name, and makes that durable: its content is already. Throws ProgramFailure. */
  settle(): void {
    if (!this.wasCreated) return
    try {
      moveTo(this.workPath, this.path)
      this.workPath = this.path
      const descriptor = fs.openSync(path.dirname(this.path), fs.constants.O_RDONLY)
      try {
        fs.fsyncSync(descriptor)
      } finally {
        fs.closeSync(descriptor)
      }
    } catch (error) {
      const errno = errnoOf(error)
      if (errno !== EEXIST) throw createFailure(this.path, errno)
      throw new ProgramFailure(this.path, 'a file of this name has appeared meanwhile', 'choose another one', EXIT_FAILURE)
    }
  }

  /** Removes what was created, unless somebody has put another file in its place. True if there is nothing left. */
  discard(): boolean {
    if (!this.wasCreated) return false
    try {
      if (identityOf(this.workPath) === this.identity) fs.unlinkSync(this.workPath)
      return true
    } catch {
      return false
    }
  }
}

/** Renames, but never over a file that has appeared meanwhile. */
function moveTo(from: string, to: string): void {
  try {
    fs.linkSync(from, to)
  } catch (error) {
    if (!NO_LINKS.has(errnoOf(error)) || fs.existsSync(to)) throw error
    fs.renameSync(from, to)
    return
  }
  fs.unlinkSync(from)
}

function identify(file: string): string | null {
  try {
    return identityOf(file)
  } catch (error) {
    throw openFailure(file, errnoOf(error))
  }
}

/** `file` is the name that the user knows. */
function createEmpty(partial: string, file: string): void {
  try {
    // Exclusively: what appears in this moment belongs to somebody else.
    fs.closeSync(fs.openSync(partial, 'wx', 0o644))
  } catch (error) {
    const errno = errnoOf(error)
    if (errno !== EEXIST) throw createFailure(file, errno)
    const what = 'it is there already: another copy is under way, or was broken off'
    throw new ProgramFailure(partial, what, 'remove it if nobody writes to it', EXIT_USAGE)
  }
}
