/** What ends a program badly, as one line that says what is wrong with what, and what to do. */
import { EACCES, EDQUOT, EEXIST, EFBIG, EISDIR, ENOENT, ENOSPC, ENOTDIR, EPERM, EROFS, type Errno, strerror } from '../co'

export const EXIT_OK = 0
/** Reading, writing or comparing went wrong. */
export const EXIT_FAILURE = 1
/** What was asked for makes no sense, or not here; nothing has been changed. */
export const EXIT_USAGE = 2

export class ProgramFailure extends Error {
  readonly exitCode: number

  /** `subject` is a path or an option. */
  constructor(subject: string, what: string, advice: string, exitCode: number) {
    super(`${subject}: ${what}: ${advice}`)
    this.name = 'ProgramFailure'
    this.exitCode = exitCode
  }
}

const NO_ROOM = 'free some space there or choose another place'

const OPEN_ADVICE = new Map<Errno, string>([
  [ENOENT, 'give the path of an existing image'],
  [ENOTDIR, 'give the path of an existing image'],
  [EACCES, 'make it accessible for this user'],
  [EPERM, 'make it accessible for this user'],
  [EROFS, 'choose a place that can be written to'],
  [EISDIR, 'give the path of an image, not of a directory'],
  [EFBIG, 'images must be shorter than 8 PiB'],
])

/** An image cannot be opened. */
export function openFailure(path: string, errno: Errno, reason = strerror(errno)): ProgramFailure {
  return new ProgramFailure(path, reason, OPEN_ADVICE.get(errno) ?? 'give the path of a raw image or of a disk', EXIT_USAGE)
}

/** Somebody else uses the image; `text` is QEMU's. */
export function lockFailure(path: string, text: string): ProgramFailure {
  return new ProgramFailure(path, text, 'is another process using the image? Stop it and try again', EXIT_USAGE)
}

const CREATE_ADVICE = new Map<Errno, string>([
  [ENOENT, 'create its directory first'],
  [ENOTDIR, 'its directory is a file; choose another place'],
  [EACCES, 'make its directory writable or choose another place'],
  [EPERM, 'make its directory writable or choose another place'],
  [EROFS, 'choose a place that can be written to'],
  [EEXIST, 'it is a link to nothing; remove it'],
  [ENOSPC, NO_ROOM],
  [EDQUOT, NO_ROOM],
])

/** The destination cannot be created. */
export function createFailure(path: string, errno: Errno): ProgramFailure {
  return new ProgramFailure(path, strerror(errno), CREATE_ADVICE.get(errno) ?? 'choose another place', EXIT_USAGE)
}

/** By text, because that is all that a job says of its error. */
const INPUT_OUTPUT_ADVICE = new Map<string, string>([
  [strerror(ENOSPC), NO_ROOM],
  [strerror(EDQUOT), NO_ROOM],
  [strerror(EFBIG), 'its file system, or a limit of this user, allows no file of that length'],
])

/** Reading or writing has failed in the middle of the work; `text` is that of the errno. */
export function inputOutputFailure(path: string, text: string): ProgramFailure {
  return new ProgramFailure(path, text, INPUT_OUTPUT_ADVICE.get(text) ?? 'check the disk and try again', EXIT_FAILURE)
}
