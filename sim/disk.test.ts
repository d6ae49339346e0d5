import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type BlockStatus, RequestFlag, StatusFlag } from '../impl/block'
import { type Co, EIO, ENOSPC, ENOTSUP, OK } from '../impl/co'
import { BoundedSearch } from './bounded_search'
import { Faults } from './faults'
import type { ErrorFaultPlan } from './plan'
import { type DiskBench, diskBench, KIB } from './testing'

const UNIT = 4 * KIB
const DATA = { id: 's1', offsetBytes: 0, lengthBytes: 16 * KIB, content: 'data' } as const

function fault(changes: Partial<ErrorFaultPlan> = {}): ErrorFaultPlan {
  const range = { offsetBytes: 0, lengthBytes: 16 * KIB }
  return { id: 'f1', kind: 'error', disk: 'source', operation: 'write', errno: 'EIO', ...range, skip: 0, times: 1, ...changes }
}
function bytes(length: number, fill: number): Uint8Array {
  return new Uint8Array(length).fill(fill)
}
function statusAt({ backend, run }: DiskBench, offsetBytes: number): string {
  function* ask(): Co<BlockStatus> {
    return yield* backend.root!.node.blockStatus('want-zero', offsetBytes, 16 * KIB)
  }
  const [status] = run(ask())
  const { Data, Zero } = { Data: StatusFlag.Data, Zero: StatusFlag.Zero }
  const kind = (status!.flags & Data) !== 0 ? 'data' : (status!.flags & Zero) !== 0 ? 'zero' : 'unknown'
  return `${kind} ${status!.bytes}`
}

test('a request takes the time that the decider chooses, and changes the disk only then', () => {
  const search = new BoundedSearch()
  const times: number[] = []
  do {
    const bench = diskBench({ latency: { minNs: 100, stepNs: 10, steps: 3 } }, [], search)
    function* look(): Co<number> {
      yield* bench.kernel.sleepNs(99)
      return bench.store.bytes[0]!
    }
    const [errno, before] = bench.run(bench.backend.pwrite(0, bytes(512, 7)), look())
    assert.equal([errno, before, bench.store.bytes[0]], [OK, 0, 7])
    times.push(bench.clockwork.nowNs())
  } while (search.next())
  assert.equal([...new Set(times)], [100, 110, 120])
})

test('requests come and end in view of the watcher', () => {
  const { backend, run, log } = diskBench()
  run(backend.pwrite(0, bytes(512, 7)))
  run(backend.flush())
  assert.equal(log, ['write 0+512', 'write 0+512 = 0', 'flush 0+0', 'flush 0+0 = 0'])
})

test('limits are kept: transfers are cut, padded and aligned by whoever sends them', () => {
  const { backend, run, log, store } = diskBench({ requestAlignmentBytes: 1024, maxTransferBytes: 2048, initial: [DATA] })
  assert.equal(run(backend.pwrite(512, bytes(4096, 7))), [OK])
  assert.ok(store.bytes.subarray(512, 4608).every((byte) => byte === 7))
  const written = log.filter((line) => line.startsWith('write') && line.includes('='))
  assert.equal(written, ['write 0+2048 = 0', 'write 2048+2048 = 0', 'write 4096+1024 = 0'])
})

test('a disk without zero writes refuses them, and one with coarse ones refuses the rest', () => {
  const none = diskBench({ writeZeroes: 'none' })
  assert.equal(none.run(none.backend.pwriteZeroes(0, UNIT, RequestFlag.NoFallback)), [ENOTSUP])
  const coarse = diskBench({ writeZeroesAlignmentBytes: UNIT, initial: [DATA] })
  assert.equal(coarse.run(coarse.backend.pwriteZeroes(512, 2 * UNIT, RequestFlag.MayUnmap)), [OK])
  assert.equal(
    coarse.log.filter((line) => line.includes('=')),
    ['write 512+3584 = 0', `write-zeroes ${UNIT}+${UNIT} = 0`, `write ${2 * UNIT}+512 = 0`],
  )
  assert.equal([...coarse.store.allocated], [1, 0, 1, 1])
})

test('the last piece of a disk may be short where alignment is asked for', () => {
  const { backend, run, log } = diskBench({ lengthBytes: UNIT + 512, writeZeroesAlignmentBytes: UNIT })
  assert.equal(run(backend.pwriteZeroes(UNIT, 512, RequestFlag.NoFallback)), [OK])
  assert.equal(log.at(-1), `write-zeroes ${UNIT}+512 = 0`)
})

test('only an unmapping disk deallocates, and only where it may', () => {
  const allocating = diskBench({ writeZeroes: 'allocating', initial: [DATA] })
  allocating.run(allocating.backend.pwriteZeroes(0, UNIT, RequestFlag.MayUnmap))
  assert.is(allocating.store.allocated[0], 1)
  const unmapping = diskBench({ initial: [DATA] })
  unmapping.run(unmapping.backend.pwriteZeroes(0, UNIT, 0))
  assert.is(unmapping.store.allocated[0], 1)
  unmapping.run(unmapping.backend.pwriteZeroes(0, UNIT, RequestFlag.MayUnmap))
  assert.is(unmapping.store.allocated[0], 0)
})

test('block status tells holes from data, unless the disk does not know', () => {
  const initial = [{ ...DATA, lengthBytes: UNIT }]
  assert.equal(
    [0, UNIT].map((at) => statusAt(diskBench({ initial }), at)),
    [`data ${UNIT}`, `zero ${3 * UNIT}`],
  )
  assert.is(statusAt(diskBench({ initial, holesReadZero: false }), UNIT), `unknown ${3 * UNIT}`)
  assert.is(statusAt(diskBench({ initial, reportsHoles: false }), UNIT), `data ${3 * UNIT}`)
})

test('block status speaks of whole blocks, also where units are smaller', () => {
  const initial = [{ ...DATA, offsetBytes: 512, lengthBytes: 512 }]
  const bench = diskBench({ initial, allocationUnitBytes: 512, requestAlignmentBytes: 4096 })
  assert.equal(
    [0, UNIT].map((at) => statusAt(bench, at)),
    [`data ${UNIT}`, `zero ${3 * UNIT}`],
  )
})

test('a hole that reads something is not said to read zero', () => {
  const bench = diskBench({ initial: [DATA], discard: 'reads-old' })
  bench.run(bench.backend.pdiscard(0, UNIT))
  assert.is(statusAt(bench, 0), `unknown ${UNIT}`)
})

test('a fault fails the requests that it says, and those have no effect', () => {
  const bench = diskBench({}, [fault({ skip: 1, times: 2, errno: 'ENOSPC', offsetBytes: 0, lengthBytes: 512 })])
  const write = (at: number): number => bench.run(bench.backend.pwrite(at, bytes(512, 7)))[0]!
  assert.equal([write(512), write(0), write(0), write(512), write(0), write(0)], [OK, OK, ENOSPC, OK, ENOSPC, OK])
})

test('a failing write leaves the disk alone, a torn one changes its first half', () => {
  const whole = diskBench({}, [fault()])
  assert.equal(whole.run(whole.backend.pwrite(0, bytes(2048, 7))), [EIO])
  assert.ok(whole.store.bytes.every((byte) => byte === 0))
  const torn = diskBench({}, [fault({ torn: true })])
  assert.equal(torn.run(torn.backend.pwrite(0, bytes(1536, 7))), [EIO])
  assert.is(torn.store.bytes.lastIndexOf(7), 511, 'sectors are whole')
})

for (const operation of ['read', 'write', 'write-zeroes', 'discard', 'flush', 'status'] as const) {
  test(`a fault can hit a ${operation}`, () => {
    const bench = diskBench({ initial: [DATA] }, [fault({ operation })])
    const { backend } = bench
    function* ask(): Co<number> {
      return (yield* backend.root!.node.blockStatus('want-zero', 0, 512)).errno
    }
    // A flush does nothing if nothing has been written.
    if (operation === 'flush') bench.run(backend.pwrite(0, bytes(512, 7)))
    const requests = {
      read: () => backend.pread(0, bytes(512, 0)),
      write: () => backend.pwrite(0, bytes(512, 7)),
      'write-zeroes': () => backend.pwriteZeroes(0, UNIT, 0),
      discard: () => backend.pdiscard(0, UNIT),
      flush: () => backend.flush(),
      status: ask,
    }
    const before = bench.store.bytes.slice()
    assert.equal(bench.run(requests[operation]()), [EIO])
    assert.equal(bench.store.bytes, before)
  })
}

test('where two faults fire on one request, the second keeps its turn', () => {
  const faults = new Faults([fault(), fault({ id: 'f2', errno: 'ENOSPC' }), fault({ id: 'f3', disk: 'destination' })], 'source')
  const met = [1, 2, 3].map(() => faults.meet('write', 0, 512)?.id ?? null)
  assert.equal(met, ['f1', 'f2', null])
  const counts: Record<string, number> = {}
  faults.count(counts)
  assert.equal(counts, { f1: 1, f2: 1 })
})

test('a range that only touches a fault’s does not meet it', () => {
  const faults = new Faults([fault({ offsetBytes: 512, lengthBytes: 512 })], 'source')
  assert.is(faults.meet('write', 0, 512), null)
  assert.is(faults.meet('write', 1024, 512), null)
  assert.is(faults.meet('write', 0, 513)?.id, 'f1')
})

test.run()
