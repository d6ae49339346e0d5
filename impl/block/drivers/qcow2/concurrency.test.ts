/**
 * Several guests at once over a file in which everything takes some time. Whatever overlaps, a sector reads one of the
 * values that writes in flight or the last ones before have given it, whole; nobody gets stuck, nothing leaks.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, type Errno, makeLabel, OK } from '../../../co'
import type { Qcow2CreateOptions, Qcow2OpenOptions } from './index'
import { checkRefcounts, GrowingFile, type ImageStack, newStack, randomFrom } from './testing'

const SECTOR = 512
const SECTORS = 160

/** What each sector may read, while writes overlap. */
class Values {
  private readonly settled: Array<Set<number>>
  private readonly inFlight: Array<Map<number, number>>
  /** For each write in flight the sectors that another one has met there: its value is not the only one afterwards. */
  private readonly mixed = new Map<number, Set<number>>()
  private readonly begun: number[] = new Array(SECTORS).fill(0)
  private readonly readers = new Set<Array<Set<number>>>()

  constructor(initial: (sector: number) => number) {
    this.settled = Array.from({ length: SECTORS }, (_, sector) => new Set([initial(sector)]))
    this.inFlight = Array.from({ length: SECTORS }, () => new Map())
  }
  begin(id: number, first: number, count: number, value: number): void {
    const mixed = new Set<number>()
    this.mixed.set(id, mixed)
    for (let sector = first; sector < first + count; sector++) {
      for (const other of this.inFlight[sector]!.keys()) {
        mixed.add(sector)
        this.mixed.get(other)!.add(sector)
      }
      this.inFlight[sector]!.set(id, value)
      this.begun[sector]!++
      for (const reader of this.readers) reader[sector]!.add(value)
    }
  }
  /** `isAdvice`: a discard, after which the old values are as good as zero. */
  end(id: number, first: number, count: number, value: number, isAdvice: boolean): void {
    for (let sector = first; sector < first + count; sector++) {
      this.inFlight[sector]!.delete(id)
      if (isAdvice || this.mixed.get(id)!.has(sector)) this.settled[sector]!.add(value)
      else this.settled[sector] = new Set([value])
    }
  }
  /** How many writes have begun, by sector; -1 while one is in flight. */
  atRest(): number[] {
    return this.begun.map((count, sector) => (this.inFlight[sector]!.size === 0 ? count : -1))
  }
  /** What a read has shown where nobody was writing stays there: no write that has ended may come through later. */
  seen(sector: number, value: number, countBefore: number): void {
    if (countBefore === this.begun[sector]) this.settled[sector] = new Set([value])
  }
  /** What a read that begins now may see; grows until `stopReading`. */
  startReading(): Array<Set<number>> {
    const legal = this.settled.map((values, sector) => new Set([...values, ...this.inFlight[sector]!.values()]))
    this.readers.add(legal)
    return legal
  }
  stopReading(legal: Array<Set<number>>): void {
    this.readers.delete(legal)
  }
}

/** Every request takes some time before and after it has its effect. */
function slowDown({ file, kernel }: ImageStack, random: (below: number) => number): void {
  const slow = <A extends unknown[]>(call: (...args: A) => Co<Errno>): ((...args: A) => Co<Errno>) =>
    function* (...args: A) {
      yield* kernel.sleepNs(random(100))
      const errno = yield* call(...args)
      yield* kernel.sleepNs(random(50))
      return errno
    }
  file.pread = slow(file.pread.bind(file))
  file.pwrite = slow(file.pwrite.bind(file))
  file.pwriteZeroes = slow(file.pwriteZeroes.bind(file))
  file.pdiscard = slow(file.pdiscard.bind(file))
  file.flush = slow(file.flush.bind(file))
}

function* readAndCheck(stack: ImageStack, values: Values, first: number, count: number): Co<void> {
  const legal = values.startReading()
  const before = values.atRest()
  const buffer = new Uint8Array(count * SECTOR)
  assert.is(yield* stack.backend.pread(first * SECTOR, buffer), OK)
  values.stopReading(legal)
  for (let sector = 0; sector < count; sector++) {
    const data = buffer.subarray(sector * SECTOR, (sector + 1) * SECTOR)
    const is = data[0]!
    assert.ok(
      legal[first + sector]!.has(is),
      `sector ${first + sector} reads ${is}, not one of ${[...legal[first + sector]!].join(' ')}`,
    )
    assert.ok(
      data.every((byte) => byte === is),
      `sector ${first + sector} is torn`,
    )
    values.seen(first + sector, is, before[first + sector]!)
  }
}

function* guest(stack: ImageStack, values: Values, random: (below: number) => number, firstId: number): Co<void> {
  for (let id = firstId; id < firstId + 25; id++) {
    yield* stack.kernel.sleepNs(random(300))
    const first = random(SECTORS)
    const count = Math.min(SECTORS - first, 1 + random(random(2) === 0 ? 70 : 6))
    const kind = random(10)
    if (kind < 2) {
      yield* readAndCheck(stack, values, first, count)
      continue
    }
    if (kind === 2) {
      assert.is(yield* stack.backend.flush(), OK)
      continue
    }
    const value = kind < 7 ? 1 + (id % 240) : 0
    const isDiscard = kind === 9
    const [at, length] = [first * SECTOR, count * SECTOR]
    values.begin(id, first, count, value)
    if (kind < 7) assert.is(yield* stack.backend.pwrite(at, new Uint8Array(length).fill(value)), OK)
    else if (isDiscard) assert.is(yield* stack.backend.pdiscard(at, length), OK)
    else assert.is(yield* stack.backend.pwriteZeroes(at, length, random(2)), OK)
    values.end(id, first, count, value, isDiscard)
  }
}

function run(seed: number): void {
  const random = randomFrom(seed * 31337)
  const extendedL2 = random(2) === 0
  const backing = random(2) === 0 ? new Uint8Array((SECTORS * SECTOR) >> random(2)).fill(250) : null
  const create = {
    sizeBytes: SECTORS * SECTOR,
    clusterBytes: extendedL2 ? 16384 : SECTOR << random(4),
    extendedL2,
    refcountBits: 1 << random(7),
    lazyRefcounts: random(3) === 0,
  }
  const stack = newStack(create, {
    open: { l2CacheBytes: 0, discardNoUnref: random(3) === 0 },
    ...(backing === null
      ? {}
      : { backing: ({ graph }) => graph.addNode({ driver: new GrowingFile(backing), options: { readOnly: true } }) }),
  })
  slowDown(stack, random)
  const values = new Values((sector) => (backing !== null && sector * SECTOR < backing.length ? 250 : 0))
  for (let number = 0; number < 6; number++) {
    stack.kernel.spawn(guest(stack, values, random, 1 + number * 25), makeLabel(`guest${number}`))
  }
  stack.clock.run()
  assert.equal(
    [...stack.kernel.live].map((coroutine) => coroutine.waitsFor?.describe()),
    [],
    'nobody waits any more',
  )
  stack.run(readAndCheck(stack, values, 0, SECTORS))
  checkRefcounts(stack.close(), true)
}

/** A write is on its way to a cluster that is zeroed meanwhile; another one fills the cluster again, and is faster. */
function overtaken(create: Partial<Qcow2CreateOptions>, open: Partial<Qcow2OpenOptions>, hide: 'zero' | 'discard'): void {
  const stack = newStack({ sizeBytes: 65536, clusterBytes: 16384, ...create }, { open })
  const { backend, file, kernel, clock } = stack
  stack.run(backend.pwrite(0, new Uint8Array(16384).fill(1)))
  const write = file.pwrite.bind(file)
  file.pwrite = function* (offsetBytes, buffer, flags) {
    if (buffer[0] === 2) yield* kernel.sleepNs(1000)
    return yield* write(offsetBytes, buffer, flags)
  }
  function* change(afterNs: number, request: () => Co<Errno>): Co<void> {
    yield* kernel.sleepNs(afterNs)
    assert.is(yield* request(), OK)
  }
  kernel.spawn(
    change(0, () => backend.pwrite(0, new Uint8Array(512).fill(2))),
    makeLabel('slow'),
  )
  const hides = (): Co<Errno> => (hide === 'zero' ? backend.pwriteZeroes(0, 16384, 0) : backend.pdiscard(0, 16384))
  kernel.spawn(change(10, hides), makeLabel('hides'))
  kernel.spawn(
    change(20, () => backend.pwrite(512, new Uint8Array(512).fill(3))),
    makeLabel('fills'),
  )
  clock.run()
  const result = new Uint8Array(1024)
  stack.run(backend.pread(0, result))
  assert.equal([result[0], result[512]], [0, 3])
}

test('a write that was overtaken by zeroes does not come through when their cluster is filled again', () => {
  overtaken({}, {}, 'zero')
  overtaken({ extendedL2: true }, {}, 'zero')
  overtaken({}, { discardNoUnref: true }, 'discard')
  overtaken({ extendedL2: true }, { discardNoUnref: true }, 'discard')
})

test('guests that overlap see what they wrote, and nobody gets stuck', () => {
  for (let seed = 1; seed <= 25; seed++) run(seed)
})

test.run()
