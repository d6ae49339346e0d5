/**
 * Errors of configuration: opening, attaching, starting a job. They carry QEMU's text and error class, because scripts
 * read both; the program that prints them adds its own prefix. I/O errors are errno values instead (see co/errno).
 */
import { EINVAL, type Errno } from '../co'

export type QmpErrorClass = 'GenericError' | 'CommandNotFound' | 'DeviceNotActive' | 'DeviceNotFound' | 'KVMMissingCap'

export class BlockError extends Error {
  readonly qmpClass: QmpErrorClass
  readonly errno: Errno
  /** What programs print in a line of its own below the text, and QMP leaves out; '' for none. */
  readonly hint: string
  constructor(text: string, options: { errno?: Errno; qmpClass?: QmpErrorClass; hint?: string } = {}) {
    // What a user has asked for is no defect: nobody looks for its place in the code, and finding that out costs more than
    // everything else about a refusal.
    const { stackTraceLimit } = Error
    Error.stackTraceLimit = 0
    super(text)
    Error.stackTraceLimit = stackTraceLimit
    this.name = 'BlockError'
    this.errno = options.errno ?? EINVAL
    this.qmpClass = options.qmpClass ?? 'GenericError'
    this.hint = options.hint ?? ''
  }
}
