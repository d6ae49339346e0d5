import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EIO, makeLabel, OK } from '../../impl/co'
import type { VirtioMmio } from '../../impl/virtio'
import type { DevicePlan, GuestOperation } from '../plan'
import { type GuestDriver, guestRamBytes, type MmioPort } from './driver'
import { BASE_ADDRESS, type BenchOptions, type GuestBench, guestBench, operation, PLAN, pattern } from './testing'

function up(options: BenchOptions = {}): GuestBench {
  const bench = guestBench(options)
  assert.ok(bench.driver.initialise(), JSON.stringify(bench.findings))
  return bench
}

function keys({ findings }: GuestBench): string[] {
  return findings.map(({ key }) => key.replace('guest-driver/', ''))
}

test('the driver brings the device up and learns of the disk', () => {
  const bench = up({ plan: { queueCount: 4, indirect: true, eventIndex: true } })
  assert.is(bench.driver.capacityBytes, 64 * 1024)
  assert.ok(bench.driver.isReady)
  assert.equal(bench.findings, [])
})

test('every kind of request comes back with what it should', () => {
  const bench = up()
  const bytes = pattern(1, 4096)
  bench.send(operation('write', 512, 4096), bytes)
  bench.clock.run()
  const read = new Uint8Array(4096)
  const id = new Uint8Array(20).fill(1)
  bench.send(operation('read', 512, 4096), read)
  bench.send(operation('get-id'), id)
  bench.send(operation('discard', 512, 512))
  bench.send(operation('write-zeroes', 1024, 512, { unmap: true }))
  bench.clock.run()
  assert.equal(read, bytes)
  assert.equal(id, new Uint8Array(20))
  assert.ok(bench.ended.every(({ status, outcome }) => status === 0 && outcome === 'done'))
  assert.is(bench.ended.length, 5)
  bench.send(operation('flush'))
  bench.clock.run()
  assert.equal(bench.disk.log.map(({ kind }) => kind).join(' '), 'write read zero flush', 'the node ignores discards')
  assert.equal(bench.findings, [])
})

test('a failed request is done with a bad status, and its buffer stays as it was', () => {
  const bench = up()
  bench.disk.fail = () => EIO
  const buffer = new Uint8Array(512).fill(9)
  const request = bench.send(operation('read', 0, 512), buffer)
  bench.clock.run()
  assert.is(request.status, 1)
  assert.equal(buffer, new Uint8Array(512).fill(9))
  assert.equal(bench.findings, [])
})

test('whoever finds the ring full waits for room', () => {
  const bench = up({ plan: { queueSize: 8 } })
  bench.disk.latencyNs = 100
  const done: string[] = []
  for (let lane = 0; lane < 5; lane++) {
    const wanted = operation('write', lane * 512, 512, { lane })
    bench.kernel.spawn(
      (function* () {
        const request = yield* bench.driver.submit(wanted, pattern(lane, 512))
        yield* bench.driver.wait(request)
        done.push(`${lane} at ${bench.kernel.nowNs()}`)
      })(),
      makeLabel(wanted.id),
    )
  }
  bench.clock.run()
  // A write of one sector takes four descriptors of eight.
  assert.equal(done, ['0 at 100', '1 at 100', '2 at 200', '3 at 200', '4 at 300'])
  assert.equal(bench.findings, [])
})

test('whoever finds guest memory full waits for room', () => {
  const bench = up({ ramBytes: guestRamBytes(PLAN, 4096, 1) + 64 })
  bench.disk.latencyNs = 100
  const write = (): GuestOperation => operation('write', 0, 4096)
  bench.send(write(), pattern(1, 4096))
  assert.is(bench.driver.trySubmit(write(), pattern(2, 4096)), null)
  bench.clock.run()
  bench.send(write(), pattern(2, 4096))
  assert.throws(() => bench.send(operation('write', 0, 16384), pattern(1, 16384)), /never fits in memory/)
})

test('a request is known by queue and head while it is in flight', () => {
  const bench = up({ plan: { queueCount: 2 } })
  bench.disk.latencyNs = 10
  const request = bench.send(operation('read', 0, 512, { lane: 3 }), new Uint8Array(512))
  assert.is(request.ring.index, 1)
  assert.is(bench.driver.labelOf(1, request.head).id, request.operation.id)
  assert.ok([...bench.kernel.live].some(({ label }) => label.id === request.operation.id))
  bench.clock.run()
  assert.is(bench.driver.labelOf(1, request.head).id, 'guest')
})

test('a reset aborts what is in flight, and the driver goes on', () => {
  const bench = up({ plan: { indirect: true } })
  bench.disk.latencyNs = 100
  const write = bench.send(operation('write', 0, 512), pattern(1, 512))
  const read = bench.send(operation('read', 4096, 4096), new Uint8Array(4096))
  bench.clock.run(50)
  assert.ok(bench.driver.reset())
  assert.is(bench.driver.inFlightCount, 0)
  assert.equal([write.outcome, read.outcome], ['aborted', 'aborted'])
  const again = bench.send(operation('write', 0, 512), pattern(2, 512))
  bench.clock.run()
  bench.driver.endQuarantine()
  assert.is(again.status, 0)
  assert.equal(bench.disk.data.slice(0, 512), pattern(2, 512))
  assert.equal(bench.findings, [])
  assert.is(bench.ended.length, 3)
})

test('somebody who waits for an aborted request goes on', () => {
  const bench = up()
  bench.disk.latencyNs = 100
  let outcome = ''
  bench.kernel.spawn(
    (function* () {
      const request = yield* bench.driver.submit(operation('write', 0, 512), pattern(1, 512))
      yield* bench.driver.wait(request)
      outcome = request.outcome
    })(),
    makeLabel('lane'),
  )
  bench.clock.run(50)
  bench.driver.reset()
  bench.clock.run(60)
  assert.is(outcome, 'aborted')
})

test('operations that no guest would make are refused loudly', () => {
  const bench = up({ plan: { blockBytes: 4096 } })
  assert.throws(() => bench.send(operation('read', 512, 4096), new Uint8Array(4096)), /whole blocks/)
  assert.throws(() => bench.send(operation('read', 0, 4096), new Uint8Array(512)), /does not fit/)
  assert.throws(() => bench.send(operation('discard', 0, 2 ** 31)), /longer than the device takes/)
})

/** Lets a device break one rule: `spoil` is called before the driver hears of anything. */
function spoilt(spoil: (bench: GuestBench) => void, kind: 'read' | 'write' = 'read'): string[] {
  let bench!: GuestBench
  bench = up({
    interrupt: (driver: GuestDriver) => {
      spoil(bench)
      driver.interrupt()
    },
  })
  bench.send(operation(kind, 0, 1024), pattern(3, 1024))
  bench.clock.run()
  return keys(bench)
}

const USED = 512
const view = ({ ram }: GuestBench): DataView => new DataView(ram.buffer)

/** Offsets in RAM of the one request of `spoilt`: after the rings come a guard, the header, and so on. */
function places(bench: GuestBench): { used: number; header: number; data: number; status: number } {
  const table = view(bench)
  const address = (descriptor: number): number => table.getUint32(descriptor * 16, true) - BASE_ADDRESS
  const used = Math.ceil((16 * PLAN.queueSize + 6 + 2 * PLAN.queueSize) / 16) * 16
  return { used, header: address(0), data: address(1), status: address(3) }
}

const BREACHES: Array<{ breach: string; key: string; kind?: 'read' | 'write'; spoil(bench: GuestBench): void }> = [
  {
    breach: 'a descriptor that was never submitted',
    key: 'used-unknown',
    spoil: (bench) => view(bench).setUint32(places(bench).used + 4, 9, true),
  },
  {
    breach: 'a descriptor that is no descriptor',
    key: 'used-unknown',
    spoil: (bench) => view(bench).setUint32(places(bench).used + 4, 0xffff_ffff, true),
  },
  {
    breach: 'a completion that comes twice',
    key: 'completed-twice',
    spoil(bench) {
      const { used } = places(bench)
      bench.ram.copyWithin(used + 12, used + 4, used + 12)
      view(bench).setUint16(used + 2, 2, true)
    },
  },
  {
    breach: 'a used index that runs away',
    key: 'used-index',
    spoil: (bench) => view(bench).setUint16(places(bench).used + 2, 17, true),
  },
  {
    breach: 'a used length that is too long',
    key: 'used-length',
    spoil: (bench) => view(bench).setUint32(places(bench).used + 8, 1026, true),
  },
  {
    breach: 'a used length that is too short',
    key: 'used-length',
    spoil: (bench) => view(bench).setUint32(places(bench).used + 8, 1024, true),
  },
  {
    breach: 'a status that is left untouched',
    key: 'no-status',
    spoil: (bench) => bench.ram.fill(0xa5, places(bench).status, places(bench).status + 1),
  },
  {
    breach: 'a request that is unsupported although it was offered',
    key: 'unsupported',
    spoil: (bench) => bench.ram.fill(2, places(bench).status, places(bench).status + 1),
  },
  {
    breach: 'a byte before the data',
    key: 'wrote-beyond',
    spoil: (bench) => bench.ram.fill(0, places(bench).data - 1, places(bench).data),
  },
  {
    breach: 'a byte between two segments',
    key: 'wrote-beyond',
    spoil: (bench) => bench.ram.fill(0, places(bench).data + USED, places(bench).data + USED + 1),
  },
  {
    breach: 'a byte behind the status',
    key: 'wrote-beyond',
    spoil: (bench) => bench.ram.fill(0, places(bench).status + 1, places(bench).status + 2),
  },
  {
    breach: 'a changed header',
    key: 'wrote-header',
    spoil: (bench) => bench.ram.fill(1, places(bench).header + 8, places(bench).header + 9),
  },
  {
    breach: 'changed data of a write',
    key: 'wrote-data',
    kind: 'write',
    spoil: (bench) => bench.ram.fill(1, places(bench).data + 5, places(bench).data + 6),
  },
]

for (const { breach, key, kind, spoil } of BREACHES) {
  test(`the driver notices ${breach}`, () => {
    // Others may follow from the first.
    assert.is(spoilt(spoil, kind)[0], key)
  })
}

test('the driver has nothing to say about a device that keeps to the rules', () => {
  assert.equal(
    spoilt(() => {}),
    [],
  )
})

test('the driver notices an interrupt that does not come', () => {
  for (const eventIndex of [false, true]) {
    const bench = guestBench({
      plan: { eventIndex },
      port: (mmio: VirtioMmio): MmioPort => ({
        read: (offset, size) => (offset === 0x60 ? 0 : mmio.read(offset, size)),
        write: (offset, size, value) => mmio.write(offset, size, value),
      }),
    })
    bench.driver.initialise()
    bench.send(operation('flush'))
    bench.clock.run()
    assert.ok(keys(bench).includes('interrupt-missing'))
  }
})

test('an interrupt that is late is not missing', () => {
  let pending = false
  const bench = up({
    interrupt: () => {
      pending = true
    },
  })
  bench.send(operation('flush'))
  bench.clock.run()
  assert.ok(pending)
  assert.is(bench.ended.length, 0)
  bench.driver.interrupt()
  assert.is(bench.ended.length, 1)
  assert.equal(bench.findings, [])
})

test('the driver notices a write into the memory of an aborted request', () => {
  const bench = up()
  bench.disk.latencyNs = 100
  const request = bench.send(operation('read', 0, 512), new Uint8Array(512))
  bench.clock.run(50)
  bench.driver.reset()
  bench.ram[request.block + 40] = 1
  bench.driver.endQuarantine()
  assert.equal(keys(bench), ['touched-after-reset'])
})

const REFUSALS: Array<{ what: string; key: string; register: number; value: number }> = [
  { what: 'another magic number', key: 'wrong-device', register: 0x00, value: 1 },
  { what: 'a legacy device', key: 'wrong-device', register: 0x04, value: 1 },
  { what: 'a network card', key: 'wrong-device', register: 0x08, value: 1 },
  { what: 'missing features', key: 'features-missing', register: 0x10, value: 1 },
  { what: 'refused features', key: 'features-refused', register: 0x70, value: 3 },
  { what: 'a queue that is too small', key: 'queue-refused', register: 0x34, value: 8 },
  { what: 'other blocks', key: 'block-size', register: 0x114, value: 4096 },
]

for (const { what, key, register, value } of REFUSALS) {
  test(`the driver notices ${what}`, () => {
    const bench = guestBench({
      port: (mmio) => ({
        read: (offset, size) => (offset === register ? value : mmio.read(offset, size)),
        write: (offset, size, written) => mmio.write(offset, size, written),
      }),
    })
    bench.driver.initialise()
    assert.ok(keys(bench).includes(key), keys(bench).join(' '))
  })
}

test('a configuration that never stands still is noticed', () => {
  let generation = 0
  const bench = guestBench({
    port: (mmio) => ({
      read: (offset, size) => (offset === 0xfc ? generation++ : mmio.read(offset, size)),
      write: (offset, size, value) => mmio.write(offset, size, value),
    }),
  })
  assert.not(bench.driver.initialise())
  assert.equal(keys(bench), ['config-unstable'])
})

test('a guest without a write cache switches it off', () => {
  const bench = up({ plan: { writeCache: false } })
  bench.send(operation('write', 0, 512), pattern(1, 512))
  bench.clock.run()
  assert.equal(
    bench.disk.log.map(({ kind }) => kind),
    ['write', 'flush'],
  )
})

interface Step {
  kind: 'read' | 'write' | 'write-zeroes' | 'discard' | 'flush' | 'get-id' | 'drain' | 'reset'
  block: number
  blocks: number
}

const DISK_BLOCKS = 16

const DEVICE: fc.Arbitrary<DevicePlan> = fc.record({
  queueCount: fc.constantFrom(1, 2, 4),
  queueSize: fc.constantFrom(8, 16, 64),
  blockBytes: fc.constantFrom(512, 4096),
  indirect: fc.boolean(),
  eventIndex: fc.boolean(),
  segmentsMax: fc.constantFrom(1, 2, 4, 6),
  writeCache: fc.boolean(),
})
const STEP: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('read', 'write', 'write-zeroes', 'discard', 'flush', 'get-id', 'drain', 'reset'),
  block: fc.nat(DISK_BLOCKS - 1),
  blocks: fc.integer({ min: 1, max: 4 }),
})

/** Lanes own disjoint parts of the disk, so that an array says what each read must give. */
function runLanes(plan: DevicePlan, lanes: Step[][]): void {
  const { blockBytes } = plan
  const laneBytes = DISK_BLOCKS * blockBytes
  const bench = up({
    plan,
    lengthBytes: laneBytes * lanes.length,
    ramBytes: guestRamBytes(plan, 4 * blockBytes, 3),
  })
  bench.disk.latencyNs = 100
  let ended = 0
  for (const [lane, steps] of lanes.entries()) {
    const expected = new Uint8Array(laneBytes)
    bench.kernel.spawn(
      (function* () {
        for (const [number, { kind, block, blocks }] of steps.entries()) {
          const from = block * blockBytes
          const lengthBytes = Math.min(blocks * blockBytes, laneBytes - from)
          if (kind === 'reset') {
            bench.driver.reset()
            continue
          }
          if (kind === 'drain') {
            yield* bench.graph.drainedBegin(bench.node)
            yield* bench.kernel.sleepNs(30)
            bench.graph.drainedEnd(bench.node)
            continue
          }
          const isRange = kind !== 'flush' && kind !== 'get-id'
          const wanted = operation(kind, isRange ? lane * laneBytes + from : 0, isRange ? lengthBytes : 0, { lane, unmap: true })
          const buffer =
            kind === 'get-id' ? new Uint8Array(20) : kind === 'read' ? new Uint8Array(lengthBytes) : pattern(number, lengthBytes)
          let request = yield* bench.driver.submit(
            wanted,
            kind === 'read' || kind === 'write' || kind === 'get-id' ? buffer : null,
          )
          yield* bench.driver.wait(request)
          // What a reset aborted is done again: nobody else touches this part of the disk.
          while (request.outcome === 'aborted') {
            request = yield* bench.driver.submit(wanted, request.buffer)
            yield* bench.driver.wait(request)
          }
          assert.is(request.status, 0)
          if (kind === 'write') expected.set(buffer, from)
          else if (kind === 'write-zeroes') expected.fill(0, from, from + lengthBytes)
          else if (kind === 'read') assert.equal(buffer, expected.slice(from, from + lengthBytes))
        }
        ended++
      })(),
      makeLabel(`lane${lane}`),
    )
  }
  bench.clock.run()
  bench.driver.endQuarantine()
  assert.is(ended, lanes.length, 'every lane came to its end')
  assert.equal(bench.findings, [])
  assert.is(bench.device.fault, '')
}

test('random lanes of requests over random devices read what an array says, through drains and resets', () => {
  const lanes = fc.array(fc.array(STEP, { minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 5 })
  fc.assert(fc.property(DEVICE, lanes, runLanes), { seed: 20, numRuns: 150 })
})

test('errors of the disk reach exactly the requests that they hit', () => {
  const bench = up({ plan: { queueCount: 2, indirect: true, eventIndex: true } })
  bench.disk.fail = ({ offsetBytes }) => (offsetBytes === 1024 ? EIO : OK)
  for (let lane = 0; lane < 4; lane++) bench.send(operation('read', lane * 512, 512, { lane }), new Uint8Array(512))
  bench.clock.run()
  assert.equal(bench.ended.map(({ operation: { lane }, status }) => [lane, status]).sort(), [
    [0, 0],
    [1, 0],
    [2, 1],
    [3, 0],
  ])
  assert.equal(bench.findings, [])
})

test.run()
