/**
 * For tests: a device over a disk in memory, and a driver without any wisdom of its own, which writes into registers and
 * rings whatever a test wants. Rings lie at fixed places; buffers are taken one after another and never reused.
 */
import { type MemoryStack, memoryStack } from '../block/testing'
import { VirtioBlk } from './blk'
import type { VirtioBlkOptions } from './blk_options'
import { GuestMemory } from './guest_memory'
import { VirtioMmio } from './mmio'

export const BASE = 0x8000_0000
export const RAM_BYTES = 1 << 20
const TABLE = 0x0000
const AVAILABLE = 0x8000
const USED = 0xa000
const QUEUE_STRIDE = 0x10000
const HEAP = 0x40000

export const F_NEXT = 1
export const F_WRITE = 2
export const F_INDIRECT = 4
export const EVENT_IDX = 1 << 29
export const INDIRECT_DESC = 1 << 28

/** A buffer of a chain: bytes for the device to read, or a number of bytes for it to write. */
export type Part = Uint8Array | number
export interface Descriptor {
  address: number
  length: number
  flags: number
  next: number
}

export interface RawBench extends MemoryStack {
  device: VirtioBlk
  mmio: VirtioMmio
  ram: Uint8Array
  view: DataView
  interrupts: { raised: number; cleared: number }
  /** Register access. */
  get(register: number): number
  set(register: number, value: number): void
  /** Up to FEATURES_OK with these features of the low word; returns the status. */
  negotiate(features: number): number
  /** Programs a queue and makes it ready. */
  queue(index: number, size: number): void
  /** All of the above with everything offered, and DRIVER_OK. */
  start(size?: number, features?: number, queueCount?: number): void
  alloc(bytes: number): number
  describe(index: number, descriptor: Partial<Descriptor>, queueIndex?: number): void
  /** Lays parts out as a chain of descriptors first, first + 1, …; returns the address of each. */
  chain(parts: Part[], first?: number, queueIndex?: number): number[]
  /** Puts a head on the available ring, without telling. */
  offer(head: number, queueIndex?: number): void
  kick(queueIndex?: number): void
  usedIndex(queueIndex?: number): number
  used(slot: number, queueIndex?: number): { id: number; length: number }
  bytesAt(address: number, length: number): Uint8Array
  /** chain, offer, kick, run to rest. Returns the status byte and what lies before it. */
  request(parts: Part[], queueIndex?: number): { status: number; data: Uint8Array; length: number }
}

export interface RawOptions {
  device?: Partial<VirtioBlkOptions>
  lengthBytes?: number
  readOnly?: boolean
}

export function rawBench(options: RawOptions = {}): RawBench {
  const stack = memoryStack(options.lengthBytes ?? 64 * 1024, {}, { discard: 'unmap', readOnly: options.readOnly ?? false })
  const ram = new Uint8Array(RAM_BYTES)
  const view = new DataView(ram.buffer)
  const interrupts = { raised: 0, cleared: 0 }
  const device = new VirtioBlk(stack.kernel, stack.backend, new GuestMemory(ram, BASE), {
    interrupt: () => interrupts.raised++,
    interruptCleared: () => interrupts.cleared++,
    ...options.device,
  })
  const mmio = new VirtioMmio(device)
  const sizes = new Map<number, number>()
  const availableIndex = new Map<number, number>()
  const sizeOf = (queueIndex: number): number => sizes.get(queueIndex)!
  let heap = HEAP

  const bench: RawBench = {
    ...stack,
    device,
    mmio,
    ram,
    view,
    interrupts,
    get: (register) => mmio.read(register, 4),
    set: (register, value) => mmio.write(register, 4, value),
    negotiate(features) {
      bench.set(0x70, 0)
      bench.set(0x70, 1)
      bench.set(0x70, 3)
      bench.set(0x24, 1)
      bench.set(0x20, 1)
      bench.set(0x24, 0)
      bench.set(0x20, features)
      bench.set(0x70, 11)
      return bench.get(0x70)
    },
    queue(index, size) {
      const at = BASE + index * QUEUE_STRIDE
      ram.fill(0, index * QUEUE_STRIDE, index * QUEUE_STRIDE + USED + 0x3000)
      sizes.set(index, size)
      availableIndex.set(index, 0)
      bench.set(0x30, index)
      bench.set(0x38, size)
      for (const [register, offset] of [
        [0x80, TABLE],
        [0x90, AVAILABLE],
        [0xa0, USED],
      ] as const) {
        bench.set(register, at + offset)
        bench.set(register + 4, 0)
      }
      bench.set(0x44, 1)
    },
    start(size = 16, features = device.offeredFeatures[0], queueCount = 1) {
      bench.negotiate(features)
      for (let index = 0; index < queueCount; index++) bench.queue(index, size)
      bench.set(0x70, 15)
    },
    alloc(bytes) {
      const at = heap
      heap += (bytes + 31) & ~15
      return BASE + at
    },
    describe(index, descriptor, queueIndex = 0) {
      const at = queueIndex * QUEUE_STRIDE + TABLE + index * 16
      putDescriptor(view, at, descriptor)
    },
    chain(parts, first = 0, queueIndex = 0) {
      return parts.map((part, index) => {
        const length = typeof part === 'number' ? part : part.length
        const address = bench.alloc(length)
        if (typeof part === 'number') ram.fill(0xee, address - BASE, address - BASE + length)
        else ram.set(part, address - BASE)
        const isLast = index === parts.length - 1
        const flags = (typeof part === 'number' ? F_WRITE : 0) | (isLast ? 0 : F_NEXT)
        bench.describe(first + index, { address, length, flags, next: isLast ? 0 : first + index + 1 }, queueIndex)
        return address
      })
    },
    offer(head, queueIndex = 0) {
      const at = queueIndex * QUEUE_STRIDE + AVAILABLE
      const index = availableIndex.get(queueIndex)!
      view.setUint16(at + 4 + 2 * (index % sizeOf(queueIndex)), head, true)
      availableIndex.set(queueIndex, (index + 1) & 0xffff)
      view.setUint16(at + 2, (index + 1) & 0xffff, true)
    },
    kick: (queueIndex = 0) => bench.set(0x50, queueIndex),
    usedIndex: (queueIndex = 0) => view.getUint16(queueIndex * QUEUE_STRIDE + USED + 2, true),
    used(slot, queueIndex = 0) {
      const at = queueIndex * QUEUE_STRIDE + USED + 4 + 8 * (slot % sizeOf(queueIndex))
      return { id: view.getUint32(at, true), length: view.getUint32(at + 4, true) }
    },
    bytesAt: (address, length) => ram.slice(address - BASE, address - BASE + length),
    request(parts, queueIndex = 0) {
      const addresses = bench.chain(parts, 0, queueIndex)
      const slot = bench.usedIndex(queueIndex)
      bench.offer(0, queueIndex)
      bench.kick(queueIndex)
      stack.clock.run()
      if (bench.usedIndex(queueIndex) === slot) throw new Error(`not answered: ${device.fault}`)
      const written = parts.flatMap((part, index) =>
        typeof part === 'number' ? [...bench.bytesAt(addresses[index]!, part)] : [],
      )
      return {
        status: written[written.length - 1]!,
        data: Uint8Array.from(written.slice(0, -1)),
        length: bench.used(slot, queueIndex).length,
      }
    },
  }
  return bench
}

/** Little-endian, as 2.7.5 has it. */
export function putDescriptor(view: DataView, at: number, descriptor: Partial<Descriptor>): void {
  const { address = 0, length = 0, flags = 0, next = 0 } = descriptor
  view.setBigUint64(at, BigInt(address), true)
  view.setUint32(at + 8, length, true)
  view.setUint16(at + 12, flags, true)
  view.setUint16(at + 14, next, true)
}

/** The header of a request: type, reserved, sector. */
export function header(type: number, sector = 0n): Uint8Array {
  const bytes = new Uint8Array(16)
  new DataView(bytes.buffer).setUint32(0, type, true)
  new DataView(bytes.buffer).setBigUint64(8, sector, true)
  return bytes
}

/** A segment of a discard or write-zeroes request. */
export function range(sector: number, sectors: number, flags = 0): Uint8Array {
  const bytes = new Uint8Array(16)
  const view = new DataView(bytes.buffer)
  view.setBigUint64(0, BigInt(sector), true)
  view.setUint32(8, sectors, true)
  view.setUint32(12, flags, true)
  return bytes
}

/** Bytes that tell where they came from. */
export function pattern(seed: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (seed * 31 + index * 7 + (index >> 8) + 1) & 0xff)
}
