/** The texts of job errors, as QEMU words them: scripts match on them. */
import { BlockError } from '../block/error'
import { assert, EBUSY, EPERM } from '../co'

/** `job-*` commands name a job that does not exist. */
export function jobNotFound(): BlockError {
  return new BlockError('Job not found')
}

/** `block-job-*` commands name a job that does not exist. */
export function blockJobNotFound(id: string): BlockError {
  return new BlockError(`Block job '${id}' not found`, { qmpClass: 'DeviceNotActive' })
}

export function verbRefused(id: string, status: string, verb: string): BlockError {
  return new BlockError(`Job '${id}' in state '${status}' cannot accept command verb '${verb}'`, { errno: EPERM })
}

export function cannotComplete(id: string): BlockError {
  return new BlockError(`The active block job '${id}' cannot be completed`, { errno: EBUSY })
}

export function pausedByUser(id: string): BlockError {
  return new BlockError(`The block job for device '${id}' is currently paused`, { errno: EBUSY })
}

export function jobIdInvalid(id: string): BlockError {
  return new BlockError(`Invalid job ID '${id}'`)
}

export function jobIdInUse(id: string): BlockError {
  return new BlockError(`Job ID '${id}' already in use`)
}

/** Bytes per second, 0 for no limit. Throws BlockError. */
export function checkSpeed(bytesPerSecond: number): void {
  const isSpeed = Number.isSafeInteger(bytesPerSecond) && bytesPerSecond >= 0
  if (!isSpeed) throw new BlockError("Parameter 'speed' expects a non-negative value")
}

/** Runs `make`, which puts a job's filter into the graph; its errors read as QEMU's way of doing that says them. */
export function makeFilter<T>(make: () => T): T {
  try {
    return make()
  } catch (error) {
    assert(error instanceof BlockError, 'graph-refuses-in-words', () => String(error))
    throw new BlockError(`Could not create node: ${error.message}`, { errno: error.errno })
  }
}
