/**
 * Power cuts: a file that records what is written to it, and every state in which a cut may leave it: whatever was flushed,
 * and of each write since then any sectors. In each of them the refcounts cover all references, and every guest sector reads
 * something that it may.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { OK } from '../../../co'
import { RequestFlag } from '../../flags'
import type { Qcow2CreateOptions } from './index'
import {
  checkRefcounts,
  type FileEvent,
  type ImageStack,
  type Keeps,
  newImage,
  openStack,
  openWrites,
  RecordingFile,
  randomFrom,
  type StackOptions,
  someChoices,
  stateAt,
} from './testing'

const SECTOR = 512
const SECTORS = 96
const SEEDS = 2
/** Of so many writes every subset is tried. */
const LAST_WRITES = 6

/** What each sector may read: the values that it had since the last flush that has completed. */
class Legal {
  readonly values: Array<Set<number>> = Array.from({ length: SECTORS }, () => new Set([0]))
  private readonly latest = new Array<number>(SECTORS).fill(0)
  change(first: number, count: number, value: number): void {
    for (let sector = first; sector < first + count; sector++) {
      this.values[sector]!.add(value)
      this.latest[sector] = value
    }
  }
  flushed(): void {
    for (let sector = 0; sector < SECTORS; sector++) this.values[sector] = new Set([this.latest[sector]!])
  }
  copy(): Array<Set<number>> {
    return this.values.map((set) => new Set(set))
  }
}

interface Recording {
  start: Uint8Array
  events: FileEvent[]
  /** legal[i] holds for a cut right before event i. */
  legal: Array<Array<Set<number>>>
}

/** Runs some changes on a new image. */
function record(seed: number, create: Qcow2CreateOptions, options: StackOptions, steps: number): Recording {
  const random = randomFrom(seed)
  const start = newImage(create)
  const file = new RecordingFile(start)
  const stack: ImageStack = openStack(start, { ...options, file })
  const legal = new Legal()
  const snapshots: Array<Array<Set<number>>> = []
  const clusterSectors = create.clusterBytes! / SECTOR
  const settle = (): void => {
    while (snapshots.length < file.events.length) snapshots.push(legal.copy())
  }
  for (let step = 0; step < steps; step++) {
    const first = random(SECTORS)
    const count = Math.min(SECTORS - first, 1 + random(clusterSectors * 3))
    const value = step + 1
    const kind = random(10)
    if (kind < 5) {
      legal.change(first, count, value)
      assert.is(stack.run(stack.backend.pwrite(first * SECTOR, new Uint8Array(count * SECTOR).fill(value))), OK)
    } else if (kind < 7) {
      legal.change(first, count, 0)
      stack.run(stack.backend.pwriteZeroes(first * SECTOR, count * SECTOR, random(2) === 0 ? RequestFlag.MayUnmap : 0))
    } else if (kind < 8) {
      legal.change(first, count, 0)
      stack.run(stack.backend.pdiscard(first * SECTOR, count * SECTOR))
      const read = new Uint8Array(count * SECTOR)
      stack.run(stack.backend.pread(first * SECTOR, read))
      for (let sector = 0; sector < count; sector++) legal.change(first + sector, 1, read[sector * SECTOR]!)
    } else if (kind < 9) {
      const cluster = first - (first % clusterSectors)
      const bytes = new Uint8Array(clusterSectors * SECTOR).fill(value)
      // Refused, without a trace, where something lies already.
      if (stack.run(stack.backend.pwrite(cluster * SECTOR, bytes, RequestFlag.Compressed)) === OK)
        legal.change(cluster, clusterSectors, value)
    } else {
      settle()
      assert.is(stack.run(stack.backend.flush()), OK)
      settle()
      legal.flushed()
    }
    settle()
  }
  stack.close()
  file.events.push('end')
  settle()
  return { start, events: file.events, legal: snapshots }
}

function checkContent(state: Uint8Array, legal: Array<Set<number>>, where: string): void {
  const stack = openStack(state, { open: { readOnly: true } })
  const content = new Uint8Array(SECTORS * SECTOR)
  assert.is(stack.run(stack.backend.pread(0, content)), OK, where)
  for (let sector = 0; sector < SECTORS; sector++) {
    const read = content[sector * SECTOR]!
    assert.ok(legal[sector]!.has(read), `${where}: sector ${sector} reads ${read}, not one of ${[...legal[sector]!].join(' ')}`)
  }
}

/** Every subset of the last writes, with all or none of those before them. */
function allChoices({ events }: Recording, cut: number): Keeps[] {
  const open = openWrites(events, cut)
  const last = open.slice(-LAST_WRITES)
  const choices: Keeps[] = []
  for (let subset = 0; subset < 2 ** last.length; subset++) {
    for (const keepsEarlier of open.length > last.length ? [true, false] : [true]) {
      choices.push((event) => (last.includes(event) ? (subset & (1 << last.indexOf(event))) !== 0 : keepsEarlier))
    }
  }
  return choices
}

/** Looks at every cut with each of its choices. Returns the number of states. */
function checkCuts(recording: Recording, seed: number, choicesFor: (recording: Recording, cut: number) => Keeps[]): number {
  let states = 0
  for (let cut = 0; cut < recording.events.length; cut++) {
    for (const [number, keeps] of choicesFor(recording, cut).entries()) {
      const state = stateAt(recording, cut, keeps)
      checkRefcounts(state)
      checkContent(state, recording.legal[cut]!, `seed ${seed}, cut ${cut} of ${recording.events.length}, choice ${number}`)
      states++
    }
  }
  return states
}

const SIZE = { sizeBytes: SECTORS * SECTOR }

for (const [name, create, open] of [
  ['small clusters', { ...SIZE, clusterBytes: 512 }, {}],
  ['clusters of several sectors, and a cache of one table', { ...SIZE, clusterBytes: 2048 }, { l2CacheBytes: 0 }],
  ['refcounts of one bit', { ...SIZE, clusterBytes: 1024, refcountBits: 1 }, {}],
  ['subclusters', { ...SIZE, clusterBytes: 16384, extendedL2: true }, {}],
  ['clusters that are kept when they are discarded', { ...SIZE, clusterBytes: 1024 }, { discardNoUnref: true }],
  ['refcounts that are written late', { ...SIZE, clusterBytes: 1024, lazyRefcounts: true }, {}],
] as Array<[string, Qcow2CreateOptions, StackOptions['open']]>) {
  test(`a power cut leaks clusters at worst: ${name}`, () => {
    let states = 0
    for (let seed = 1; seed <= SEEDS; seed++) {
      const recording = record(seed, create, { open: open ?? {} }, 24)
      const random = randomFrom(seed)
      states += checkCuts(recording, seed, ({ events }, cut) => someChoices(events, cut, random))
    }
    assert.ok(states > 100, `${states} states`)
  })
}

test('a power cut leaks clusters at worst, whatever of the last writes it leaves', () => {
  let states = 0
  for (const seed of [5, 6, 7]) states += checkCuts(record(seed, { ...SIZE, clusterBytes: 1024 }, {}, 20), seed, allChoices)
  assert.ok(states > 1000, `${states} states`)
})

test.run()
