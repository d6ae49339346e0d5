/**
 * The file that is to become the copy: created if it is not there, used as it is if it has the right length. What has
 * been created is removed again unless the copy has succeeded, so that nothing is left that looks like one.
 *
 * What may fail: everything about the path, as a ProgramFailure, before anything has been changed.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { errnoOf, identityOf } from '../host'
import { createFailure, EXIT_USAGE, openFailure, ProgramFailure } from './mirror_failure'

export class Destination {
  readonly path: string
  readonly wasCreated: boolean
  /** Of the file that was created. */
  private readonly identity: string | null

  private constructor(file: string, wasCreated: boolean) {
    this.path = file
    this.wasCreated = wasCreated
    this.identity = wasCreated ? identityOf(file) : null
  }

  /** Finds the destination, or creates it, empty. Throws ProgramFailure. */
  static prepare(file: string, sourcePath: string): Destination {
    const identity = identify(file)
    if (identity === null) {
      createEmpty(file)
      return new Destination(file, true)
    }
    if (identity === identify(sourcePath)) {
      throw new ProgramFailure(file, `it is the same file as ${sourcePath}`, 'choose another destination', EXIT_USAGE)
    }
    return new Destination(file, false)
  }

  /** Makes the name of a created file durable, after its content is. Throws ProgramFailure. */
  settle(): void {
    if (!this.wasCreated) return
    const folder = path.dirname(this.path)
    try {
      const descriptor = fs.openSync(folder, fs.constants.O_RDONLY)
      try {
        fs.fsyncSync(descriptor)
      } finally {
        fs.closeSync(descriptor)
      }
    } catch (error) {
      throw createFailure(folder, errnoOf(error))
    }
  }

  /** Removes what was created, unless somebody has put another file in its place. True if there is nothing left. */
  discard(): boolean {
    if (!this.wasCreated) return false
    try {
      if (identityOf(this.path) === this.identity) fs.unlinkSync(this.path)
      return true
    } catch {
      return false
    }
  }
}

function identify(file: string): string | null {
  try {
    return identityOf(file)
  } catch (error) {
    throw openFailure(file, errnoOf(error))
  }
}

function createEmpty(file: string): void {
  try {
    // Exclusively: what appears in this moment belongs to somebody else.
    fs.closeSync(fs.openSync(file, 'wx', 0o644))
  } catch (error) {
    throw createFailure(file, errnoOf(error))
  }
}
