import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { GuestMemory } from './guest_memory'
import {
  BASE,
  type Descriptor,
  EVENT_IDX,
  F_INDIRECT,
  F_NEXT,
  F_WRITE,
  header,
  INDIRECT_DESC,
  pattern,
  putDescriptor,
  RAM_BYTES,
  type RawBench,
  rawBench,
} from './testing'
import { Virtqueue } from './virtqueue'

const RING = 16
const SEGMENTS_MAX = 6

interface Malformed {
  rule: string
  /** Lays what breaks the rule; the head is 0 unless it returns another. */
  lay(bench: RawBench): number | undefined
  fault: RegExp
  features?: number
}

const GOOD: Partial<Descriptor> = { address: BASE + 0x50000, length: 16 }

/** An indirect table whose descriptors are all good: header, data, status. */
function indirectTable(bench: RawBench, change: Array<Partial<Descriptor>> = []): number {
  const table = bench.alloc(48)
  const good: Array<Partial<Descriptor>> = [
    { address: bench.alloc(16), length: 16, flags: F_NEXT, next: 1 },
    { address: bench.alloc(512), length: 512, flags: F_NEXT | F_WRITE, next: 2 },
    { address: bench.alloc(1), length: 1, flags: F_WRITE },
  ]
  for (const [index, descriptor] of good.entries())
    putDescriptor(bench.view, table - BASE + index * 16, { ...descriptor, ...change[index] })
  return table
}

const MALFORMED: Malformed[] = [
  {
    rule: 'a head lies inside the table',
    lay: () => RING,
    fault: /head 16 is outside a table of 16/,
  },
  {
    rule: 'the next descriptor lies inside the table',
    lay: (bench) => bench.describe(0, { ...GOOD, flags: F_NEXT, next: RING }) as undefined,
    fault: /descriptor 16 is outside a table of 16/,
  },
  {
    rule: 'a chain has no loop',
    lay(bench) {
      bench.describe(0, { ...GOOD, flags: F_NEXT, next: 1 })
      bench.describe(1, { ...GOOD, flags: F_NEXT, next: 0 })
      return undefined
    },
    fault: /a chain of more than 16 descriptors/,
  },
  {
    rule: 'a descriptor does not follow itself',
    lay: (bench) => bench.describe(0, { ...GOOD, flags: F_NEXT | F_WRITE, next: 0 }) as undefined,
    fault: /a chain of more than 16 descriptors/,
  },
  {
    rule: 'readable descriptors come before writable ones',
    lay(bench) {
      bench.chain([header(0), 512, new Uint8Array(4), 1])
      return undefined
    },
    fault: /a readable descriptor after a writable one/,
  },
  {
    rule: 'a buffer is not empty',
    lay(bench) {
      bench.chain([header(0), 0, 1])
      return undefined
    },
    fault: /a descriptor of no bytes/,
  },
  {
    rule: 'a buffer begins in memory',
    lay: (bench) => bench.describe(0, { address: BASE - 1, length: 16 }) as undefined,
    fault: /a buffer outside memory/,
  },
  {
    rule: 'a buffer ends in memory',
    lay: (bench) => bench.describe(0, { address: BASE + RAM_BYTES - 15, length: 16 }) as undefined,
    fault: /a buffer outside memory/,
  },
  {
    rule: 'a buffer does not wrap around the address space',
    lay: (bench) => bench.describe(0, { address: 2 ** 63 + 2 ** 62, length: 0xffff_ffff }) as undefined,
    fault: /a buffer outside memory/,
  },
  {
    rule: 'indirect descriptors are agreed on first',
    features: 0,
    lay: (bench) => bench.describe(0, { address: indirectTable(bench), length: 48, flags: F_INDIRECT }) as undefined,
    fault: /without VIRTIO_F_INDIRECT_DESC/,
  },
  {
    rule: 'an indirect descriptor ends its chain',
    lay: (bench) =>
      bench.describe(0, { address: indirectTable(bench), length: 48, flags: F_INDIRECT | F_NEXT, next: 1 }) as undefined,
    fault: /an indirect descriptor with a next one/,
  },
  {
    rule: 'an indirect table has no indirect descriptors',
    lay(bench) {
      const inner = indirectTable(bench)
      const outer = indirectTable(bench, [{}, { address: inner, length: 48, flags: F_INDIRECT, next: 0 }])
      bench.describe(0, { address: outer, length: 48, flags: F_INDIRECT })
      return undefined
    },
    fault: /inside an indirect table/,
  },
  {
    rule: 'an indirect table is not empty',
    lay: (bench) => bench.describe(0, { address: indirectTable(bench), length: 0, flags: F_INDIRECT }) as undefined,
    fault: /an indirect table of 0 bytes/,
  },
  {
    rule: 'an indirect table is made of whole descriptors',
    lay: (bench) => bench.describe(0, { address: indirectTable(bench), length: 47, flags: F_INDIRECT }) as undefined,
    fault: /an indirect table of 47 bytes/,
  },
  {
    rule: 'an indirect table lies in memory',
    lay: (bench) => bench.describe(0, { address: BASE + RAM_BYTES - 32, length: 48, flags: F_INDIRECT }) as undefined,
    fault: /an indirect table outside memory/,
  },
  {
    rule: 'a next descriptor lies inside the indirect table',
    lay: (bench) =>
      bench.describe(0, { address: indirectTable(bench, [{ next: 3 }]), length: 48, flags: F_INDIRECT }) as undefined,
    fault: /descriptor 3 is outside a table of 3/,
  },
  {
    rule: 'an indirect table has no loop',
    lay: (bench) =>
      bench.describe(0, { address: indirectTable(bench, [{ next: 0 }]), length: 48, flags: F_INDIRECT }) as undefined,
    fault: /a chain of more than 16 descriptors/,
  },
  {
    rule: 'no more chains are available than the ring holds',
    lay(bench) {
      bench.chain([header(4), 1])
      for (let index = 0; index < RING; index++) bench.offer(0)
      return 0
    },
    fault: /17 chains are available in a ring of 16/,
  },
  {
    rule: 'a head is not made available again before it is used',
    lay(bench) {
      bench.chain([header(4), 1])
      bench.offer(0)
      return 0
    },
    fault: /head 0 is available a second time/,
  },
  {
    rule: 'a request has a whole header',
    lay(bench) {
      bench.chain([new Uint8Array(15), 1])
      return undefined
    },
    fault: /a request of 15 readable and 1 writable bytes/,
  },
  {
    rule: 'a request has room for its status',
    lay(bench) {
      bench.chain([header(4)])
      return undefined
    },
    fault: /a request of 16 readable and 0 writable bytes/,
  },
]

for (const { rule, lay, fault, features } of MALFORMED) {
  test(`${rule}, or the device needs a reset and says so`, () => {
    const bench = rawBench({ device: { segmentsMax: SEGMENTS_MAX } })
    bench.start(RING, features)
    bench.offer(lay(bench) ?? 0)
    bench.kick()
    bench.clock.run()
    assert.match(bench.device.fault, fault)
    assert.is(bench.get(0x70), 15 | 64)
    assert.is(bench.get(0x60) & 2, 2, 'a configuration change tells the driver')
    assert.is(bench.usedIndex(), 0, 'nothing completes any more')
    bench.kick()
    bench.clock.run()
    assert.is(bench.interrupts.raised, 1)
  })

  test(`after a reset the device works again although ${rule} was broken`, () => {
    const bench = rawBench({ device: { segmentsMax: SEGMENTS_MAX } })
    bench.start(RING, features)
    bench.offer(lay(bench) ?? 0)
    bench.kick()
    bench.clock.run()
    bench.start(RING)
    assert.is(bench.device.fault, '')
    assert.is(bench.request([header(4), 1]).status, 0)
  })
}

test('nothing is taken off a ring before DRIVER_OK, and everything at it', () => {
  const bench = rawBench()
  bench.negotiate(0)
  bench.queue(0, 8)
  bench.chain([header(4), 1])
  bench.offer(0)
  bench.kick()
  bench.clock.run()
  assert.is(bench.usedIndex(), 0)
  bench.set(0x70, 15)
  bench.clock.run()
  assert.is(bench.usedIndex(), 1)
})

test('a chain may be cut anywhere, header and status included', () => {
  const bench = rawBench()
  bench.start()
  bench.disk.data.set(pattern(3, 1024), 512)
  const whole = header(0, 1n)
  const parts = [whole.slice(0, 1), whole.slice(1, 9), whole.slice(9), 1, 510, 3, 511]
  const { status, data, length } = bench.request(parts)
  assert.is(status, 0)
  assert.is(length, 1025)
  assert.equal(data, pattern(3, 1024))
})

test('the status may share a descriptor with data, and the header with data to write', () => {
  const bench = rawBench()
  bench.start()
  const bytes = pattern(5, 1024)
  assert.is(bench.request([Uint8Array.from([...header(1, 2n), ...bytes]), 1]).status, 0)
  assert.equal(bench.disk.data.slice(1024, 2048), bytes)
  const other = pattern(6, 1024)
  assert.is(
    bench.request([Uint8Array.from([...header(1, 4n), ...other.slice(0, 100)]), other.slice(100, 300), other.slice(300), 1])
      .status,
    0,
  )
  assert.equal(bench.disk.data.slice(2048, 3072), other)
  const { status, data } = bench.request([header(0, 2n), 1025])
  assert.is(status, 0)
  assert.equal(data, bytes)
})

test('an indirect table holds a chain, and the write flag of the descriptor that refers to it means nothing', () => {
  for (const flags of [F_INDIRECT, F_INDIRECT | F_WRITE]) {
    const bench = rawBench()
    bench.start()
    bench.describe(3, { address: indirectTable(bench), length: 48, flags })
    bench.offer(3)
    bench.kick()
    bench.clock.run()
    assert.is(bench.device.fault, '')
    assert.equal(bench.used(0), { id: 3, length: 513 })
  }
})

test('plain descriptors may precede an indirect one', () => {
  const bench = rawBench()
  bench.start()
  bench.disk.data.set(pattern(9, 512))
  const first = bench.alloc(16)
  bench.ram.set(header(0), first - BASE)
  const data = bench.alloc(512)
  const status = bench.alloc(1)
  const table = bench.alloc(32)
  putDescriptor(bench.view, table - BASE, { address: data, length: 512, flags: F_WRITE | F_NEXT, next: 1 })
  putDescriptor(bench.view, table - BASE + 16, { address: status, length: 1, flags: F_WRITE })
  bench.describe(0, { address: first, length: 16, flags: F_NEXT, next: 1 })
  bench.describe(1, { address: table, length: 32, flags: F_INDIRECT })
  bench.offer(0)
  bench.kick()
  bench.clock.run()
  assert.equal(bench.bytesAt(data, 512), pattern(9, 512))
  assert.equal(bench.bytesAt(status, 1), new Uint8Array(1))
})

test('an indirect chain may be as long as the segments that the device offers, in a shorter ring', () => {
  const parts = [header(0), ...new Array<number>(8).fill(64), 1]
  for (const [segmentsMax, isTaken] of [
    [8, true],
    [7, false],
  ] as const) {
    const bench = rawBench({ device: { segmentsMax, queueSize: 4 } })
    bench.start(4)
    const table = bench.alloc(parts.length * 16)
    for (const [index, part] of parts.entries()) {
      const length = typeof part === 'number' ? part : part.length
      const flags = (index > 0 ? F_WRITE : 0) | (index < parts.length - 1 ? F_NEXT : 0)
      putDescriptor(bench.view, table - BASE + index * 16, { address: bench.alloc(length), length, flags, next: index + 1 })
    }
    bench.describe(0, { address: table, length: parts.length * 16, flags: F_INDIRECT })
    bench.offer(0)
    bench.kick()
    bench.clock.run()
    assert.is(bench.device.fault === '', isTaken, bench.device.fault)
  }
})

test('indices run around 2^16', () => {
  const bench = rawBench()
  bench.start(2, EVENT_IDX)
  bench.chain([header(99), 1])
  for (let round = 0; round < 0x10003; round++) {
    bench.offer(0)
    bench.kick()
    bench.clock.run()
  }
  assert.is(bench.usedIndex(), 3)
  assert.is(bench.device.fault, '')
})

test('without an event index the flag of the available ring silences interrupts', () => {
  const bench = rawBench()
  bench.start(16, 0)
  bench.view.setUint16(0x8000, 1, true)
  bench.request([header(4), 1])
  assert.is(bench.interrupts.raised, 0)
  bench.view.setUint16(0x8000, 0, true)
  bench.request([header(4), 1])
  assert.is(bench.interrupts.raised, 1)
})

test('with an event index the device interrupts when the index that the driver asks for is passed', () => {
  const bench = rawBench()
  bench.start(16, EVENT_IDX)
  bench.view.setUint16(0x8000, 1, true)
  bench.view.setUint16(0x8000 + 4 + 2 * 16, 2, true)
  const raised: number[] = []
  for (let round = 0; round < 4; round++) {
    bench.request([header(4), 1])
    raised.push(bench.interrupts.raised)
    bench.set(0x64, 1)
  }
  assert.equal(raised, [0, 0, 1, 1], 'the flag means nothing then')
})

test('without an event index the device takes notifications back while it is drained', () => {
  const bench = rawBench()
  bench.start(16, 0)
  assert.is(bench.view.getUint16(0xa000, true), 0)
  bench.run(bench.graph.drainedBegin(bench.node))
  assert.is(bench.view.getUint16(0xa000, true), 1)
  bench.graph.drainedEnd(bench.node)
  assert.is(bench.view.getUint16(0xa000, true), 0)
})

test('with an event index the device asks for a notification at the next chain', () => {
  const bench = rawBench()
  bench.start(16, EVENT_IDX | INDIRECT_DESC)
  const asked = (): number => bench.view.getUint16(0xa000 + 4 + 8 * 16, true)
  assert.is(asked(), 0)
  bench.request([header(4), 1])
  bench.request([header(4), 1])
  assert.is(asked(), 2)
  bench.run(bench.graph.drainedBegin(bench.node))
  bench.offer(0)
  bench.kick()
  assert.is(asked(), 2)
  bench.graph.drainedEnd(bench.node)
  assert.is(asked(), 3)
})

test('a queue that the driver takes away is left alone', () => {
  const bench = rawBench()
  bench.start()
  bench.disk.latencyNs = 100
  const [, data, status] = bench.chain([header(0), 512, 1])
  bench.offer(0)
  bench.kick()
  bench.clock.run(50)
  bench.set(0x30, 0)
  bench.set(0x44, 0)
  assert.is(bench.get(0x44), 0)
  bench.clock.run()
  assert.is(bench.usedIndex(), 0)
  assert.equal(bench.bytesAt(data!, 512), new Uint8Array(512).fill(0xee))
  assert.equal(bench.bytesAt(status!, 1), new Uint8Array(1).fill(0xee))
  bench.disk.latencyNs = 0
  bench.queue(0, 8)
  assert.is(bench.request([header(4), 1]).status, 0)
})

test('a queue is as after power-on until it is set up, takes rings at the very start of memory, and is reset as a whole', () => {
  const queue = new Virtqueue(new GuestMemory(new Uint8Array(65536), BASE), 0, 16, 4)
  const fields = (): number[] => [queue.size, queue.descriptorAddress, queue.driverAddress, queue.deviceAddress, queue.inFlight]
  assert.equal([...fields(), queue.epoch, queue.isReady, queue.fault], [16, 0, 0, 0, 0, 0, false, ''])
  const sizes = [0, 3, 32, 1, 8].map((size) => {
    queue.setSize(size)
    return queue.size
  })
  assert.equal(sizes, [16, 16, 16, 1, 8])
  for (const first of ['descriptorAddress', 'driverAddress', 'deviceAddress'] as const) {
    queue.descriptorAddress = BASE + 4096
    queue.driverAddress = BASE + 8192
    queue.deviceAddress = BASE + 12288
    queue[first] = BASE
    assert.is(queue.enable(false, false), null, first)
    queue.setSize(4)
    assert.is(queue.size, 8, 'a change comes too late')
    queue.disable()
    queue[first] = BASE - 4096
    assert.is(queue.enable(false, false), 'a ring lies outside memory', first)
  }
  assert.is(queue.reset(), 0)
  assert.equal([...fields(), queue.epoch], [16, 0, 0, 0, 0, 4])
})

test.run()
