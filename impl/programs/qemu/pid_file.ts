/** The file in which a program leaves its process id. What may fail: writing it, as BlockError with QEMU's text. */
import * as fs from 'node:fs'
import { BlockError } from '../../block'
import { strerror } from '../../co'
import { errnoOf } from '../../host'

export function writePidFile(file: string): void {
  try {
    fs.writeFileSync(file, `${process.pid}\n`)
  } catch (error) {
    throw new BlockError(`cannot create PID file: Could not create '${file}': ${strerror(errnoOf(error))}`)
  }
}
