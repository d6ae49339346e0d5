import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { RequestFlag } from '../block'
import { EIO, ENOSPC, makeLabel, OK } from '../co'
import { VirtioBlk } from './blk'
import { GuestMemory } from './guest_memory'
import { BASE, EVENT_IDX, header, type Part, pattern, type RawBench, type RawOptions, range, rawBench } from './testing'

const IN = 0
const OUT = 1
const FLUSH = 4
const GET_ID = 8
const DISCARD = 11
const WRITE_ZEROES = 13
const UNMAP = 1

const F_FLUSH = 1 << 9
const F_CONFIG_WCE = 1 << 11

function started(options: RawOptions = {}, features?: number): RawBench {
  const bench = rawBench(options)
  bench.start(16, features)
  return bench
}

function kinds(bench: RawBench): string {
  return bench.disk.log.map(({ kind }) => kind).join(' ')
}

test('what was written is read back, and the used lengths are true', () => {
  const bench = started()
  const bytes = pattern(1, 2048)
  assert.equal(bench.request([header(OUT, 3n), bytes, 1]), { status: 0, data: new Uint8Array(0), length: 1 })
  assert.equal(bench.disk.data.slice(1536, 3584), bytes)
  assert.equal(bench.request([header(IN, 3n), 2048, 1]), { status: 0, data: bytes, length: 2049 })
})

test('segments reach the block layer as one request', () => {
  const bench = started()
  const bytes = pattern(2, 2048)
  bench.request([header(OUT), bytes.slice(0, 512), bytes.slice(512, 1500), bytes.slice(1500), 1])
  assert.equal(bench.request([header(IN), 100, 1900, 48, 1]).data, bytes)
  assert.is(kinds(bench), 'write read')
})

interface Refused {
  what: string
  parts: Part[]
  status: number
  device?: RawOptions['device']
}

const REFUSED: Refused[] = [
  { what: 'a read beyond the end', parts: [header(IN, 127n), 1024, 1], status: 1 },
  { what: 'a write beyond the end', parts: [header(OUT, 128n), new Uint8Array(512), 1], status: 1 },
  { what: 'a read at a sector that no number holds', parts: [header(IN, 2n ** 64n - 1n), 512, 1], status: 1 },
  { what: 'a write whose end overflows 64 bits of bytes', parts: [header(OUT, 2n ** 55n), new Uint8Array(512), 1], status: 1 },
  { what: 'a read of part of a sector', parts: [header(IN), 511, 1], status: 1 },
  { what: 'a write of part of a sector', parts: [header(OUT), new Uint8Array(513), 1], status: 1 },
  { what: 'a read of part of a block', parts: [header(IN), 512, 1], status: 1, device: { blockBytes: 4096 } },
  {
    what: 'a write at part of a block',
    parts: [header(OUT, 1n), new Uint8Array(4096), 1],
    status: 1,
    device: { blockBytes: 4096 },
  },
  { what: 'a type that nobody knows', parts: [header(0x1234), 512, 1], status: 2 },
  { what: 'a discard with a flag', parts: [header(DISCARD), range(0, 8, UNMAP), 1], status: 2 },
  { what: 'a discard with an unknown flag, even beyond the end', parts: [header(DISCARD), range(999, 8, 2), 1], status: 2 },
  { what: 'a discard beyond the end', parts: [header(DISCARD), range(121, 8), 1], status: 1 },
  { what: 'a discard without a range', parts: [header(DISCARD), 1], status: 1 },
  { what: 'a discard with part of a range', parts: [header(DISCARD), range(0, 8).slice(0, 15), 1], status: 1 },
  { what: 'a discard of two ranges', parts: [header(DISCARD), range(0, 8), range(8, 8), 1], status: 2 },
  { what: 'a discard that is too long', parts: [header(DISCARD), range(0, 9), 1], status: 1, device: { discardMaxSectors: 8 } },
  { what: 'a discard of part of a block', parts: [header(DISCARD), range(0, 9), 1], status: 1, device: { blockBytes: 4096 } },
  { what: 'a discard that was not offered', parts: [header(DISCARD), range(0, 8), 1], status: 2, device: { discard: false } },
  { what: 'a write-zeroes with an unknown flag', parts: [header(WRITE_ZEROES), range(0, 8, 3), 1], status: 2 },
  { what: 'a write-zeroes beyond the end', parts: [header(WRITE_ZEROES), range(128, 1), 1], status: 1 },
  { what: 'a write-zeroes of two ranges', parts: [header(WRITE_ZEROES), range(0, 8), range(8, 8), 1], status: 2 },
  {
    what: 'a write-zeroes that is too long',
    parts: [header(WRITE_ZEROES), range(0, 9), 1],
    status: 1,
    device: { writeZeroesMaxSectors: 8 },
  },
  {
    what: 'a write-zeroes that was not offered',
    parts: [header(WRITE_ZEROES), range(0, 8), 1],
    status: 2,
    device: { writeZeroes: false },
  },
  {
    what: 'ranges of which the second is wrong',
    parts: [header(WRITE_ZEROES), range(0, 8), range(128, 8), 1],
    status: 1,
    device: { writeZeroesSegmentsMax: 2 },
  },
]

for (const { what, parts, status, device } of REFUSED) {
  test(`${what} is answered ${status === 1 ? 'IOERR' : 'UNSUPP'} and does not reach the disk`, () => {
    const bench = started({ device: device ?? {} })
    const answer = bench.request(parts)
    assert.is(answer.status, status)
    assert.equal(answer.data, new Uint8Array(answer.data.length), 'nothing of the buffer shows')
    assert.is(answer.length, answer.data.length + 1)
    assert.is(bench.disk.log.length, 0)
    assert.is(bench.device.fault, '')
  })
}

test('a request of no data is done at once', () => {
  const bench = started()
  assert.is(bench.request([header(IN), 1]).status, 0)
  assert.is(bench.request([header(OUT), 1]).status, 0)
  assert.is(bench.request([header(IN, 128n), 1]).status, 0, 'at the very end too')
  assert.is(bench.disk.log.length, 0)
})

test('a read-only device writes nothing', () => {
  const bench = started({ readOnly: true, device: { readOnly: true } })
  for (const parts of [
    [header(OUT), new Uint8Array(512), 1],
    [header(DISCARD), range(0, 8), 1],
    [header(WRITE_ZEROES), range(0, 8), 1],
  ]) {
    assert.is(bench.request(parts).status, 1)
  }
  assert.is(bench.request([header(IN), 512, 1]).status, 0)
  assert.is(kinds(bench), 'read')
})

test('the serial number is padded with zeroes, cut to 20 bytes, and fits what there is', () => {
  const ascii = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1')
  assert.is(ascii(started({ device: { serial: 'disk-7' } }).request([header(GET_ID), 20, 1]).data), 'disk-7'.padEnd(20, '\0'))
  const bench = started({ device: { serial: '0123456789abcdefghijklmn' } })
  assert.is(ascii(bench.request([header(GET_ID), 20, 1]).data), '0123456789abcdefghij')
  assert.is(ascii(bench.request([header(GET_ID), 4, 1]).data), '0123')
  assert.equal(bench.request([header(GET_ID), 24, 1]), {
    status: 0,
    data: new Uint8Array(Buffer.from('0123456789abcdefghij\0\0\0\0')),
    length: 25,
  })
})

test('a flush reaches the disk, and its failure the guest', () => {
  const bench = started()
  bench.request([header(OUT), new Uint8Array(512), 1])
  assert.is(bench.request([header(FLUSH), 1]).status, 0)
  assert.is(kinds(bench), 'write flush')
  bench.disk.fail = ({ kind }) => (kind === 'flush' ? EIO : OK)
  bench.request([header(OUT), new Uint8Array(512), 1])
  assert.is(bench.request([header(FLUSH), 1]).status, 1)
})

test('writes are durable at once unless both sides know of a write cache that is on', () => {
  const cases: Array<[features: number, writeCache: boolean, guestSwitch: number | null, log: string]> = [
    [F_FLUSH | F_CONFIG_WCE, true, null, 'write zero'],
    [F_FLUSH | F_CONFIG_WCE, true, 0, 'write flush zero flush'],
    [F_FLUSH | F_CONFIG_WCE, false, null, 'write flush zero flush'],
    [F_FLUSH | F_CONFIG_WCE, false, 1, 'write zero'],
    [F_FLUSH, true, null, 'write zero'],
    [F_FLUSH, false, null, 'write flush zero flush'],
    [0, true, null, 'write flush zero flush'],
    [F_CONFIG_WCE, true, null, 'write flush zero flush'],
  ]
  for (const [features, writeCache, guestSwitch, log] of cases) {
    const bench = started({ device: { writeCache } }, features | (1 << 14))
    if (guestSwitch !== null) bench.mmio.write(0x120, 1, guestSwitch)
    bench.request([header(OUT), new Uint8Array(512).fill(1), 1])
    bench.request([header(WRITE_ZEROES), range(8, 8), 1])
    assert.is(kinds(bench), log, JSON.stringify([features, writeCache, guestSwitch]))
  }
})

test('discards and zero writes reach the disk as what they are', () => {
  const bench = started({ device: { discardSegmentsMax: 2, writeZeroesSegmentsMax: 2 } })
  bench.disk.data.fill(7)
  assert.is(bench.request([header(DISCARD), range(8, 8), range(32, 16), 1]).status, 0)
  assert.is(bench.request([header(WRITE_ZEROES), range(64, 8, UNMAP), range(80, 8), 1]).status, 0)
  assert.equal(
    bench.disk.log.map(({ kind, offsetBytes, lengthBytes, flags }) => [kind, offsetBytes / 512, lengthBytes / 512, flags]),
    [
      ['discard', 8, 8, 0],
      ['discard', 32, 16, 0],
      ['zero', 64, 8, RequestFlag.MayUnmap],
      ['zero', 80, 8, 0],
    ],
  )
})

test('an error of the disk is an I/O error for the guest, and a failed read shows nothing', () => {
  const bench = started()
  bench.disk.data.fill(0x5a)
  bench.disk.fail = ({ kind }) => (kind === 'write' ? ENOSPC : EIO)
  for (const parts of [
    [header(OUT), new Uint8Array(512), 1],
    [header(DISCARD), range(0, 8), 1],
    [header(WRITE_ZEROES), range(0, 8), 1],
  ]) {
    assert.is(bench.request(parts).status, 1)
  }
  assert.equal(bench.request([header(IN), 512, 1]), { status: 1, data: new Uint8Array(512), length: 513 })
})

test('of several ranges the ones behind a failing one are left alone', () => {
  const bench = started({ device: { discardSegmentsMax: 3 } })
  bench.disk.fail = ({ offsetBytes }) => (offsetBytes === 4096 ? EIO : OK)
  assert.is(bench.request([header(DISCARD), range(0, 8), range(8, 8), range(16, 8), 1]).status, 1)
  assert.is(bench.disk.log.length, 2)
})

test('a guest that changes its buffer during a write does not change what is written', () => {
  const bench = started()
  bench.disk.latencyNs = 100
  const bytes = pattern(4, 512)
  const [, data] = bench.chain([header(OUT), bytes, 1])
  bench.offer(0)
  bench.kick()
  bench.clock.run(50)
  bench.ram.fill(0, data! - BASE, data! - BASE + 512)
  bench.clock.run()
  assert.equal(bench.disk.data.slice(0, 512), bytes)
})

test('after a reset a request in flight touches nothing, and the next one waits for its end', () => {
  const bench = started()
  bench.disk.latencyNs = 100
  bench.chain([header(OUT), pattern(1, 512), 1], 0)
  const [, data, status] = bench.chain([header(IN), 512, 1], 3)
  bench.offer(0)
  bench.offer(3)
  bench.kick()
  bench.clock.run(50)
  bench.start()
  bench.chain([header(OUT), pattern(2, 512), 1], 6)
  bench.offer(6)
  bench.kick()
  bench.clock.run(90)
  assert.is(kinds(bench), 'write read', 'the new write waits')
  bench.clock.run(150)
  assert.is(kinds(bench), 'write read write')
  assert.equal(bench.bytesAt(data!, 512), new Uint8Array(512).fill(0xee))
  assert.equal(bench.bytesAt(status!, 1), new Uint8Array(1).fill(0xee))
  assert.is(bench.usedIndex(), 0)
  bench.clock.run()
  assert.equal(bench.used(0), { id: 6, length: 1 })
  assert.equal(bench.disk.data.slice(0, 512), pattern(2, 512), 'the newer write is the one that stays')
})

test('a request that is reset away before it begins has no effect', () => {
  const bench = started()
  bench.chain([header(OUT), pattern(1, 512), 1])
  bench.offer(0)
  bench.kick()
  bench.start()
  bench.clock.run()
  assert.is(bench.disk.log.length, 0)
  assert.is(bench.usedIndex(), 0)
  assert.is(bench.request([header(IN), 512, 1]).status, 0)
})

test('when the device needs a reset, requests in flight end into nothing', () => {
  const bench = started()
  bench.disk.latencyNs = 100
  bench.chain([header(IN), 512, 1])
  bench.offer(0)
  bench.kick()
  bench.clock.run(50)
  bench.offer(16)
  bench.kick()
  bench.clock.run()
  assert.is(bench.get(0x70) & 64, 64)
  assert.is(bench.usedIndex(), 0)
  bench.disk.latencyNs = 0
  bench.start()
  assert.is(bench.request([header(IN), 512, 1]).status, 0)
})

test('a drained device leaves its rings alone and looks at them when the drain ends', () => {
  const bench = started()
  bench.run(bench.graph.drainedBegin(bench.node))
  bench.chain([header(FLUSH), 1])
  bench.offer(0)
  bench.kick()
  bench.clock.run()
  assert.is(bench.kernel.live.size, 0, 'no request has begun')
  assert.is(bench.usedIndex(), 0)
  bench.graph.drainedEnd(bench.node)
  bench.clock.run()
  assert.is(bench.usedIndex(), 1)
})

test('a device on a backend that is drained already waits too', () => {
  const { kernel, backend, graph, node, run } = rawBench()
  run(graph.drainedBegin(node))
  const device = new VirtioBlk(kernel, backend, new GuestMemory(new Uint8Array(4096)), { interrupt: () => {} })
  assert.ok(device.isDrained)
  graph.drainedEnd(node)
  assert.not(device.isDrained)
})

test('no more requests run than the device allows, and queues take turns', () => {
  const bench = rawBench({ device: { queueCount: 2, queueSize: 16, inFlightMax: 1 } })
  bench.start(16, EVENT_IDX | (1 << 12), 2)
  bench.disk.latencyNs = 100
  for (const [queue, head, sector] of [
    [0, 0, 1],
    [0, 3, 2],
    [0, 6, 3],
    [1, 0, 4],
    [1, 3, 5],
  ] as const) {
    bench.chain([header(IN, BigInt(sector)), 512, 1], head, queue)
    bench.offer(head, queue)
  }
  bench.kick(0)
  bench.kick(1)
  bench.clock.run(50)
  assert.is(bench.kernel.live.size, 1)
  bench.clock.run()
  assert.equal(
    bench.disk.log.map(({ offsetBytes }) => offsetBytes / 512),
    [1, 4, 2, 5, 3],
  )
  assert.is(bench.usedIndex(0), 3)
  assert.is(bench.usedIndex(1), 2)
})

test('each queue has rings of its own', () => {
  const bench = rawBench({ device: { queueCount: 4, queueSize: 8 } })
  bench.start(8, 1 << 12, 3)
  for (const queue of [2, 0, 1]) {
    const bytes = pattern(queue, 512)
    assert.is(bench.request([header(OUT, BigInt(queue)), bytes, 1], queue).status, 0)
    assert.equal(bench.disk.data.slice(queue * 512, queue * 512 + 512), bytes)
  }
  bench.kick(3)
  bench.kick(99)
  assert.is(bench.device.fault, '', 'a notification of a queue that is not there means nothing')
})

test('a request runs under the label that the owner gives to its queue and head', () => {
  const asked: string[] = []
  const bench = rawBench({
    device: {
      queueCount: 2,
      labelRequest: (queueIndex, headIndex) => {
        asked.push(`${queueIndex}/${headIndex}`)
        return makeLabel('mine')
      },
    },
  })
  bench.start(16, 1 << 12, 2)
  bench.disk.latencyNs = 10
  bench.chain([header(IN), 512, 1], 5, 1)
  bench.offer(5, 1)
  bench.kick(1)
  assert.equal(
    [...bench.kernel.live].map(({ label }) => label.id),
    ['mine'],
  )
  assert.equal(asked, ['1/5'])
})

for (const [device, text] of [
  [{ queueCount: 0 }, 'num-queues property must be larger than 0'],
  [{ queueCount: 1025 }, 'num-queues property must not be larger than 1024'],
  [{ queueSize: 24 }, 'invalid queue-size property (24), must be a power of 2 (max 1024)'],
  [{ queueSize: 2048 }, 'invalid queue-size property (2048), must be a power of 2 (max 1024)'],
  [{ blockBytes: 256 }, 'invalid logical_block_size (256)'],
  [{ physicalBlockBytes: 5000 }, 'invalid physical_block_size (5000)'],
  [{ blockBytes: 4096, physicalBlockBytes: 512 }, 'logical_block_size > physical_block_size not supported'],
  [{ discardMaxSectors: 0 }, 'invalid max-discard-sectors property (0), must be between 1 and 4194176'],
  [{ writeZeroesMaxSectors: 2 ** 22 }, 'invalid max-write-zeroes-sectors property (4194304), must be between 1 and 4194176'],
  [{ segmentsMax: 0 }, 'segmentsMax must be larger than 0'],
] as const) {
  test(`${JSON.stringify(device)} is refused`, () => {
    assert.throws(
      () => rawBench({ device }),
      (error: Error) => error.message === text,
    )
  })
}

test('a device needs a medium, which it may write to unless it is read-only', () => {
  assert.throws(() => rawBench({ readOnly: true }), /Block node is read-only/)
  const { kernel, backend } = rawBench()
  backend.detach()
  const memory = new GuestMemory(new Uint8Array(4096))
  assert.throws(() => new VirtioBlk(kernel, backend, memory, { interrupt: () => {} }), /Device needs media, but drive is empty/)
})

test.run()
