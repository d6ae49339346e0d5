import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { MirrorProgress } from './mirror_progress'

const MIB = 1024 * 1024
const PLAIN = { bar: (text: string) => text, dim: (text: string) => text }

interface Stage {
  written: string[]
  progress: MirrorProgress
  /** Lets time pass and tells how much is done of 100 MiB. */
  at(ms: number, doneMib: number): void
}

function stage(isTTY: boolean, columns = 100): Stage {
  const written: string[] = []
  let nowMs = 0
  const progress = new MirrorProgress({ write: (text) => written.push(text), isTTY, columns }, () => nowMs, PLAIN)
  const at = (ms: number, doneMib: number): void => {
    nowMs = ms
    progress.update('mirroring', doneMib * MIB, 100 * MIB)
  }
  return { written, progress, at }
}

test('a terminal gets one line that is drawn over, with a bar, the rate and the time left', () => {
  const { written, progress, at } = stage(true)
  at(0, 0)
  at(1000, 25)
  at(1050, 26)
  at(2000, 50)
  progress.clear()
  assert.equal(written, [
    `\r\x1b[2Kmirroring  [${'#'.repeat(6)}${'.'.repeat(18)}]   25.0 %  25.0 MiB of 100 MiB  25.0 MiB/s  3 s left`,
    `\r\x1b[2Kmirroring  [${'#'.repeat(12)}${'.'.repeat(12)}]   50.0 %  50.0 MiB of 100 MiB  25.0 MiB/s  2 s left`,
    '\r\x1b[2K',
  ])
})

test('the line never reaches the edge of a narrow terminal', () => {
  for (const columns of [0, 20, 40, 70, 72, 80, 90]) {
    const { written, at } = stage(true, columns)
    at(0, 0)
    at(1000, 25)
    assert.ok(
      written[0]!.endsWith(columns === 0 ? 'left' : '') && written[0]!.length - '\r\x1b[2K'.length < (columns || 80),
      `${columns}: ${written[0]}`,
    )
  }
})

test('a pipe gets a whole line now and then', () => {
  const { written, progress, at } = stage(false)
  for (let second = 0; second <= 12; second++) at(second * 1000, second * 5)
  progress.clear()
  assert.equal(written, [
    'mirroring   25.0 %  25.0 MiB of 100 MiB  5.00 MiB/s  15 s left\n',
    'mirroring   50.0 %  50.0 MiB of 100 MiB  5.00 MiB/s  10 s left\n',
  ])
})

test('short work in a pipe is silent', () => {
  const { written, at } = stage(false)
  at(0, 0)
  at(4000, 100)
  assert.equal(written, [])
})

test('nothing is said about time while nothing moves, and work that starts anew has a rate of its own', () => {
  const { written, at } = stage(true)
  at(0, 100)
  at(1000, 100)
  at(2000, 0)
  at(3000, 10)
  assert.match(written[0]!, /0 B\/s$/)
  assert.match(written[2]!, /10\.0 MiB\/s {2}9 s left$/)
})

test.run()
