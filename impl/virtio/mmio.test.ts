import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BASE, EVENT_IDX, header, INDIRECT_DESC, rawBench } from './testing'

const FLUSH = 1 << 9
const CONFIG_WCE = 1 << 11
const MULTI_QUEUE = 1 << 12

test('the identification registers say virtio block, version 2', () => {
  const { get } = rawBench()
  assert.is(get(0x000), 0x74726976)
  assert.is(get(0x004), 2)
  assert.is(get(0x008), 2)
  assert.is.not(get(0x00c), 0)
})

test('control registers take aligned 32-bit accesses only', () => {
  const { mmio, get } = rawBench()
  for (const size of [1, 2, 8]) assert.is(mmio.read(0, size), 0, `size ${size}`)
  assert.is(mmio.read(2, 4), 0)
  mmio.write(0x70, 1, 1)
  assert.is(get(0x70), 0)
})

test('a device without shared memory gives all ones for its length and base', () => {
  const { get, set } = rawBench()
  set(0xac, 3)
  for (const register of [0xb0, 0xb4, 0xb8, 0xbc]) assert.is(get(register), 0xffff_ffff)
})

test('registers that are not there, and those that can only be written, read zero', () => {
  const { get, set } = rawBench()
  for (const register of [0x018, 0x020, 0x03c, 0x050, 0x080, 0x0c0, 0x0f8]) {
    set(register, 0x55)
    assert.is(get(register), 0, register.toString(16))
  }
})

test('the features are shown in two words, and nothing beyond', () => {
  const { get, set, device } = rawBench()
  set(0x14, 0)
  assert.is(get(0x10), device.offeredFeatures[0])
  set(0x14, 1)
  assert.is(get(0x10), 1)
  set(0x14, 2)
  assert.is(get(0x10), 0)
})

test('each option of the device shows as its feature bit', () => {
  const offered = (device: object): number => rawBench({ device }).device.offeredFeatures[0]
  const plain = offered({})
  const cases: Array<[object, number]> = [
    [{ indirect: false }, INDIRECT_DESC],
    [{ eventIndex: false }, EVENT_IDX],
    [{ segmentBytesMax: 4096 }, 1 << 1],
    [{ readOnly: true }, 1 << 5],
    [{ configWriteCache: false }, CONFIG_WCE],
    [{ queueCount: 2 }, MULTI_QUEUE],
    [{ discard: false }, 1 << 13],
    [{ writeZeroes: false }, 1 << 14],
  ]
  for (const [device, bit] of cases) assert.is((offered(device) ^ plain) >>> 0, bit >>> 0, JSON.stringify(device))
  for (const always of [1 << 2, 1 << 6, FLUSH, 1 << 10]) assert.ok((plain & always) !== 0)
})

test('FEATURES_OK stays only for a subset of what is offered', () => {
  const bench = rawBench({ device: { discard: false } })
  assert.is(bench.negotiate(FLUSH), 11)
  assert.is(bench.negotiate(1 << 13), 3, 'a bit that is not offered')
  bench.set(0x20, FLUSH)
  bench.set(0x70, 11)
  assert.is(bench.get(0x70), 11, 'the driver may try again with less')
})

test('FEATURES_OK is refused without VERSION_1, and with bits beyond the second word', () => {
  const bench = rawBench()
  const { set, get } = bench
  set(0x70, 3)
  set(0x70, 11)
  assert.is(get(0x70), 3, 'without VERSION_1')
  set(0x24, 1)
  set(0x20, 1)
  set(0x24, 2)
  set(0x20, 1)
  set(0x70, 11)
  assert.is(get(0x70), 3, 'with bit 64')
})

test('features cannot be changed after FEATURES_OK', () => {
  const { negotiate, set, device } = rawBench()
  negotiate(FLUSH)
  set(0x24, 0)
  set(0x20, FLUSH | EVENT_IDX)
  assert.is(device.driverFeatures[0], FLUSH)
})

test('DRIVER_OK needs FEATURES_OK, and status bits go away by reset only', () => {
  const { set, get, negotiate } = rawBench()
  set(0x70, 7)
  assert.is(get(0x70), 3)
  negotiate(0)
  set(0x70, 15)
  set(0x70, 1)
  assert.is(get(0x70), 15)
  set(0x70, 0)
  assert.is(get(0x70), 0)
})

test('a queue shows its largest size, and one that does not exist shows none', () => {
  const { get, set } = rawBench({ device: { queueCount: 2, queueSize: 64 } })
  for (const [index, size] of [
    [0, 64],
    [1, 64],
    [2, 0],
  ] as const) {
    set(0x30, index)
    assert.is(get(0x34), size)
    set(0x44, 1)
    assert.is(get(0x44), 0, 'not before FEATURES_OK')
  }
})

test('a queue takes powers of two up to its largest size', () => {
  const { device, set, negotiate } = rawBench({ device: { queueSize: 64 } })
  negotiate(0)
  set(0x30, 0)
  for (const [wanted, taken] of [
    [16, 16],
    [0, 16],
    [12, 16],
    [128, 16],
    [64, 64],
  ] as const) {
    set(0x38, wanted)
    assert.is(device.queues[0]!.size, taken, `${wanted}`)
  }
})

test('addresses take both halves in either order, and stay while the queue is in use', () => {
  const { device, set, start } = rawBench()
  const queue = device.queues[0]!
  set(0x84, 3)
  set(0x80, 0x8000_0010)
  assert.is(queue.descriptorAddress, 3 * 2 ** 32 + 0x8000_0010)
  set(0xa0, 0x20)
  set(0xa4, 1)
  assert.is(queue.deviceAddress, 2 ** 32 + 0x20)
  set(0x94, 0xffff_ffff)
  set(0x90, 0x1234)
  set(0x94, 0)
  assert.is(queue.driverAddress, 0x1234, 'a huge high half does not spoil the low one')
  start()
  set(0x80, 0)
  assert.is(queue.descriptorAddress, BASE)
})

for (const [what, register, value] of [
  ['a descriptor table that is not aligned', 0x80, BASE + 8],
  ['an available ring that is not aligned', 0x90, BASE + 0x8001],
  ['a used ring that is not aligned', 0xa0, BASE + 0xa002],
  ['a descriptor table outside memory', 0x84, 1],
  ['an available ring that reaches over the end of memory', 0x90, BASE + (1 << 20) - 8],
  ['a used ring before memory', 0xa0, 0x1000],
] as const) {
  test(`${what} needs a reset`, () => {
    const { negotiate, queue, set, get, device } = rawBench()
    negotiate(0)
    queue(0, 16)
    set(0x44, 0)
    set(register, value)
    set(0x44, 1)
    assert.is(get(0x44), 0)
    assert.is(get(0x70) & 64, 64, device.fault)
  })
}

test('the configuration space holds what the options say', () => {
  const { mmio } = rawBench({
    lengthBytes: 1 << 20,
    device: {
      queueCount: 3,
      blockBytes: 512,
      physicalBlockBytes: 4096,
      minIoBytes: 1024,
      optIoBytes: 65536,
      segmentsMax: 30,
      segmentBytesMax: 8192,
      discardMaxSectors: 77,
      discardSegmentsMax: 2,
      discardGranularityBytes: 4096,
      writeZeroesMaxSectors: 88,
      writeZeroesSegmentsMax: 3,
    },
  })
  const fields: Array<[name: string, offset: number, size: number, value: number]> = [
    ['capacity low', 0, 4, 2048],
    ['capacity high', 4, 4, 0],
    ['size_max', 8, 4, 8192],
    ['seg_max', 12, 4, 30],
    ['blk_size', 20, 4, 512],
    ['physical_block_exp', 24, 1, 3],
    ['alignment_offset', 25, 1, 0],
    ['min_io_size', 26, 2, 2],
    ['opt_io_size', 28, 4, 128],
    ['writeback', 32, 1, 1],
    ['unused0', 33, 1, 0],
    ['num_queues', 34, 2, 3],
    ['max_discard_sectors', 36, 4, 77],
    ['max_discard_seg', 40, 4, 2],
    ['discard_sector_alignment', 44, 4, 8],
    ['max_write_zeroes_sectors', 48, 4, 88],
    ['max_write_zeroes_seg', 52, 4, 3],
    ['write_zeroes_may_unmap', 56, 1, 1],
    ['unused1', 57, 1, 0],
    ['beyond the end', 60, 4, 0],
    ['the last byte of the window', 255, 1, 0],
    ['an access that is not aligned', 21, 2, 0],
    ['an access of 8 bytes', 0, 8, 0],
  ]
  for (const [name, offset, size, value] of fields) assert.is(mmio.read(0x100 + offset, size), value, name)
})

test('only the write cache can be configured, and only if that was agreed on', () => {
  const { mmio, negotiate } = rawBench()
  negotiate(FLUSH)
  mmio.write(0x120, 1, 0)
  assert.is(mmio.read(0x120, 1), 1, 'not agreed on')
  negotiate(FLUSH | CONFIG_WCE)
  mmio.write(0x120, 1, 0)
  assert.is(mmio.read(0x120, 1), 0)
  mmio.write(0x100, 4, 5)
  assert.is(mmio.read(0x100, 4), 128, 'the capacity stays')
  mmio.write(0x70, 4, 0)
  assert.is(mmio.read(0x120, 1), 1, 'a reset restores it')
})

test('a driver that cannot flush starts with a write-through cache', () => {
  const { mmio, negotiate } = rawBench()
  negotiate(CONFIG_WCE)
  assert.is(mmio.read(0x120, 1), 0)
})

test('the interrupt line goes up with the first cause and down with the last acknowledgement', () => {
  const { start, chain, offer, kick, clock, get, set, interrupts, device } = rawBench()
  start(16, 0)
  chain([header(0), 512, 1])
  offer(0)
  kick()
  clock.run()
  assert.is(get(0x60), 1)
  device.resized()
  assert.is(get(0x60), 3)
  assert.equal(interrupts, { raised: 1, cleared: 0 })
  set(0x64, 1)
  assert.is(get(0x60), 2)
  assert.is(interrupts.cleared, 0)
  set(0x64, 2)
  assert.equal(interrupts, { raised: 1, cleared: 1 })
})

test('a new length of the medium changes capacity and generation, and interrupts a running driver', () => {
  const { mmio, device, disk, get, start, interrupts } = rawBench()
  const before = get(0xfc)
  disk.data = new Uint8Array(1024)
  device.resized()
  assert.is(interrupts.raised, 0, 'nobody drives the device yet')
  start()
  disk.data = new Uint8Array(2048)
  assert.is(mmio.read(0x100, 4), 2, 'the configuration changes only together with its generation')
  device.resized()
  assert.is(mmio.read(0x100, 4), 4)
  assert.is(get(0xfc), before + 2)
  assert.is(get(0x60), 2)
})

test('a reset takes the interrupt line down and forgets the queues', () => {
  const { start, device, set, get, interrupts } = rawBench()
  start()
  device.resized()
  set(0x70, 0)
  assert.is(get(0x60), 0)
  assert.is(interrupts.cleared, 1)
  set(0x30, 0)
  assert.is(get(0x44), 0)
  assert.equal(device.driverFeatures, [0, 0])
})

test.run()
