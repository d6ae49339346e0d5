/** For tests of this room: virtual time in a sorted list, first come first served at one instant. */
import { type Clockwork, type Coroutine, Kernel } from './kernel'

export interface TestClock extends Clockwork {
  timeNs: number
  readonly queue: Array<{ coroutine: Coroutine; parkSerial: number; atNs: number }>
}

/** A kernel, and `run` that takes events off its queue until none is left. Returns how many ran. */
export function testKernel(): { kernel: Kernel; clock: TestClock; run: () => number } {
  const clock: TestClock = {
    timeNs: 0,
    queue: [],
    nowNs: () => clock.timeNs,
    schedule(coroutine, parkSerial, atNs) {
      let at = clock.queue.length
      while (at > 0 && clock.queue[at - 1]!.atNs > atNs) at--
      clock.queue.splice(at, 0, { coroutine, parkSerial, atNs })
    },
  }
  const kernel = new Kernel(clock)
  const run = (): number => {
    let events = 0
    for (let next = clock.queue.shift(); next !== undefined; next = clock.queue.shift()) {
      if (next.coroutine.parkSerial !== next.parkSerial) continue
      clock.timeNs = next.atNs
      if (kernel.resume(next.coroutine, next.parkSerial)) events++
    }
    return events
  }
  return { kernel, clock, run }
}
