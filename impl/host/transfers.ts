/**
 * How bytes get in and out of files. `native`: plain system calls in the loop's own thread, which cost least; while one
 * runs nothing else does. `threads`: the engine's thread pool, so that slow disks and network file systems do not hold
 * up the rest, for some microseconds more a call.
 *
 * What may fail: the call, as a negative errno in place of the number of bytes. It may do less than was asked.
 */
import * as fs from 'node:fs'
import { assert, type Co, type Errno, OK, type WaitReason } from '../co'
import { errnoOf } from './errors'
import type { HostLoop } from './loop'

export interface Transfers {
  /** Reads into `buffer` from `at` on; the number of bytes, 0 at the end of the file, or a negative errno. */
  read(descriptor: number, buffer: Uint8Array, at: number, offsetBytes: number): Co<number>
  /** Writes `buffer` from `at` on; the number of bytes or a negative errno. */
  write(descriptor: number, buffer: Uint8Array, at: number, offsetBytes: number): Co<number>
  sync(descriptor: number): Co<Errno>
}

const ON_DISK: WaitReason = { describe: () => 'waits for the machine to finish a call' }

/** Parks the current coroutine until `start` has called back, and gives what it called back with. */
export function* callBack(loop: HostLoop, start: (done: (result: number) => void) => void): Co<number> {
  let result: number | null = null
  const self = loop.kernel.willPark(ON_DISK)
  loop.beginIo()
  start((value) => {
    result = value
    loop.endIo(self)
  })
  yield
  assert(result !== null, 'woken-by-completion')
  return result
}

function* syncInThread(loop: HostLoop, descriptor: number): Co<Errno> {
  return yield* callBack(loop, (done) => fs.fdatasync(descriptor, (error) => done(error === null ? OK : errnoOf(error))))
}

export class NativeTransfers implements Transfers {
  constructor(private readonly loop: HostLoop) {}

  *read(descriptor: number, buffer: Uint8Array, at: number, offsetBytes: number): Co<number> {
    try {
      return fs.readSync(descriptor, buffer, at, buffer.length - at, offsetBytes)
    } catch (error) {
      return -errnoOf(error)
    }
  }
  *write(descriptor: number, buffer: Uint8Array, at: number, offsetBytes: number): Co<number> {
    try {
      return fs.writeSync(descriptor, buffer, at, buffer.length - at, offsetBytes)
    } catch (error) {
      return -errnoOf(error)
    }
  }
  /** May take many seconds, during which signals want to be heard: the one call that always goes to a thread. */
  sync(descriptor: number): Co<Errno> {
    return syncInThread(this.loop, descriptor)
  }
}

export class ThreadTransfers implements Transfers {
  constructor(private readonly loop: HostLoop) {}

  read(descriptor: number, buffer: Uint8Array, at: number, offsetBytes: number): Co<number> {
    return callBack(this.loop, (done) =>
      fs.read(descriptor, buffer, at, buffer.length - at, offsetBytes, (error, count) =>
        done(error === null ? count : -errnoOf(error)),
      ),
    )
  }
  write(descriptor: number, buffer: Uint8Array, at: number, offsetBytes: number): Co<number> {
    return callBack(this.loop, (done) =>
      fs.write(descriptor, buffer, at, buffer.length - at, offsetBytes, (error, count) =>
        done(error === null ? count : -errnoOf(error)),
      ),
    )
  }
  sync(descriptor: number): Co<Errno> {
    return syncInThread(this.loop, descriptor)
  }
}
