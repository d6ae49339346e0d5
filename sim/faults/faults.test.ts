import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EIO, OK } from '../../impl/co'
import { Corruption } from '../corruption'
import { dullDecider } from '../decider'
import type { FaultPlan, MisdirectedFaultPlan, OtherFaultPlan } from '../plan'
import { WriteCache } from '../power'
import { type DiskBench, diskBench, KIB, PLAIN_DISK } from '../testing'
import { FAULTS, faultOf, firingsOf } from './index'

const DATA = { id: 's1', offsetBytes: 0, lengthBytes: 16 * KIB, content: 'data' } as const

function planned(kind: OtherFaultPlan['kind'] | 'misdirected-write', operation: FaultPlan['operation'], byBytes = 0): FaultPlan {
  const occasion = { id: 'x1', disk: 'source', operation, offsetBytes: 0, lengthBytes: 16 * KIB, skip: 0, times: 1 } as const
  if (kind !== 'misdirected-write') return { ...occasion, kind }
  return { ...occasion, kind, byBytes } satisfies MisdirectedFaultPlan
}

function bench(fault: FaultPlan): DiskBench & { corruption: Corruption } {
  const made = diskBench({ initial: [DATA] }, [fault])
  const corruption = new Corruption(16 * KIB)
  made.disk.corruption = corruption
  made.disk.original = made.store.copy()
  return { ...made, corruption }
}
function bytes(length: number, fill: number): Uint8Array {
  return new Uint8Array(length).fill(fill)
}

test('no two faults have one name, and what the world has to tell for the stack is excused somewhere', () => {
  assert.is(new Set(FAULTS.map(({ name }) => name)).size, FAULTS.length)
  assert.ok(FAULTS.length >= 15)
  for (const { promise, excuses, about } of FAULTS) {
    assert.ok(about.length > 20)
    if (promise === 'silent') assert.ok(excuses.length > 0)
  }
})

test('a lost write succeeds, changes nothing, and exactly its bytes are marked', () => {
  const { run, backend, store, corruption } = bench(planned('lost-write', 'write'))
  const before = store.bytes.slice()
  assert.equal(run(backend.pwrite(512, bytes(1024, 7))), [OK])
  assert.equal(store.bytes, before)
  assert.is(corruption.hitBytes, 1024)
  assert.ok(corruption.isHit(512) && corruption.isHit(1535) && !corruption.isHit(511) && !corruption.isHit(1536))
})

test('a lost zero write leaves what was there', () => {
  const { run, backend, store, corruption } = bench(planned('lost-write', 'write-zeroes'))
  assert.equal(run(backend.pwriteZeroes(0, 4 * KIB, 0)), [OK])
  assert.not(store.bytes.subarray(0, 4 * KIB).every((byte) => byte === 0))
  assert.is(corruption.hitBytes, 4 * KIB)
})

test('a misdirected write goes elsewhere on the disk, and both places are marked', () => {
  const { run, backend, store, corruption } = bench(planned('misdirected-write', 'write', 2048))
  const before = store.bytes.slice()
  assert.equal(run(backend.pwrite(0, bytes(512, 7))), [OK])
  assert.equal(store.bytes.subarray(0, 512), before.subarray(0, 512))
  assert.equal(store.bytes.subarray(2048, 2560), bytes(512, 7))
  assert.ok(corruption.touches(0, 512) && corruption.touches(2048, 2560) && !corruption.touches(512, 2048))
})

test('a misdirected write stays inside the disk, and one of the whole disk goes where it should', () => {
  const late = bench(planned('misdirected-write', 'write', 12 * KIB))
  assert.equal(late.run(late.backend.pwrite(4096, bytes(2048, 7))), [OK])
  assert.is(late.corruption.hitBytes, 4096)
  const whole = bench(planned('misdirected-write', 'write', 512))
  assert.equal(whole.run(whole.backend.pwrite(0, bytes(whole.store.lengthBytes, 7))), [OK])
  assert.is(whole.corruption.hitBytes, 0)
})

test('a stale read gives what was there at first, and marks what has changed since', () => {
  const { run, backend, store, corruption } = bench(planned('stale-read', 'read'))
  const before = store.bytes.slice(0, 1024)
  run(backend.pwrite(512, bytes(512, 7)))
  const buffer = bytes(1024, 0)
  assert.equal(run(backend.pread(0, buffer)), [OK])
  assert.equal(buffer, before)
  assert.is(corruption.touches(0, 512), false)
  assert.ok(corruption.touches(512, 1024))
  assert.equal(run(backend.pread(0, buffer)), [OK])
  assert.equal(buffer.subarray(512), bytes(512, 7))
})

test('a bit rots where a read finds it, and stays so', () => {
  const { run, backend, store, corruption } = bench(planned('bit-rot', 'read'))
  const before = store.bytes.slice(0, 512)
  const buffer = bytes(512, 0)
  for (let count = 0; count < 2; count++) {
    run(backend.pread(0, buffer))
    assert.is(buffer[0], before[0]! ^ 1)
    assert.equal(buffer.subarray(1), before.subarray(1))
  }
  assert.is(corruption.hitBytes, 1)
})

test('a short transfer is finished by whoever has asked for it, in two steps', () => {
  for (const operation of ['read', 'write'] as const) {
    const { run, backend, store, kernel } = bench(planned('short-transfer', operation))
    const buffer = operation === 'write' ? bytes(2048, 7) : bytes(2048, 0)
    const startNs = kernel.nowNs()
    assert.equal(run(operation === 'write' ? backend.pwrite(512, buffer) : backend.pread(512, buffer)), [OK])
    assert.equal(store.bytes.slice(512, 2560), buffer)
    assert.is(kernel.nowNs() - startNs, 2 * PLAIN_DISK.latency.minNs)
  }
})

test('a flush that lies makes nothing safe, and what is lost by it is marked', () => {
  for (const lies of [true, false]) {
    const made = diskBench({}, lies ? [planned('lying-flush', 'flush')] : [])
    const cache = new WriteCache(made.store, PLAIN_DISK)
    made.disk.cache = cache
    const corruption = new Corruption(16 * KIB)
    const hits: string[] = []
    made.run(made.backend.pwrite(512, bytes(512, 7)))
    assert.equal(made.run(made.backend.flush()), [OK])
    made.run(made.backend.pwrite(1024, bytes(512, 8)))
    made.kernel.destroy()
    // Nothing stays that was not flushed.
    cache.cut({ decide: () => 1 }, (probe) => hits.push(probe), corruption)
    assert.is(cache.medium.bytes[512], lies ? 0 : 7)
    assert.is(corruption.hitBytes, lies ? 512 : 0)
    assert.is(hits.includes('power/behind-a-lie'), lies)
  }
})

test('the medium behind a cache gets what a lost or misdirected write has really done', () => {
  for (const fault of [planned('lost-write', 'write'), planned('misdirected-write', 'write', 1024)]) {
    const made = bench(fault)
    const cache = new WriteCache(made.store, { ...PLAIN_DISK, initial: [DATA] })
    made.disk.cache = cache
    made.run(made.backend.pwrite(0, bytes(512, 7)))
    made.run(made.backend.flush())
    made.kernel.destroy()
    cache.cut(dullDecider, () => {}, null)
    assert.equal(cache.medium.bytes.slice(0, 4096), made.store.bytes.slice(0, 4096))
  }
})

test('an entry of a plan leads to its fault, and counts of probes to their faults', () => {
  const error = { ...planned('lost-write', 'write'), kind: 'error', errno: 'EIO' } as const
  assert.is(faultOf(error).name, 'eio')
  assert.is(faultOf({ ...error, errno: 'ENOSPC' }).name, 'enospc')
  assert.is(faultOf({ ...error, torn: true }).name, 'torn-write')
  assert.is(faultOf(planned('bit-rot', 'read')).name, 'bit-rot')
  assert.equal([...firingsOf({ 'fault/eio': 3, 'disk/torn': 1 })], [['eio', 3]])
  const { run, backend } = diskBench({}, [error])
  assert.equal(run(backend.pwrite(0, bytes(512, 1))), [EIO])
})

test.run()
