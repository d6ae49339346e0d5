/** For tests: a device over a disk in memory, and the guest's driver on it, wired as a world does it. */
import { type MemoryStack, memoryStack } from '../../impl/block/testing'
import { GuestMemory, VirtioBlk, type VirtioBlkOptions, VirtioMmio } from '../../impl/virtio'
import type { DevicePlan, GuestOperation, GuestOperationKind } from '../plan'
import type { Finding } from '../verdict'
import { GuestDriver, type GuestRequest, guestRamBytes, type MmioPort } from './driver'

export const PLAN: DevicePlan = {
  queueCount: 1,
  queueSize: 16,
  blockBytes: 512,
  indirect: false,
  eventIndex: false,
  segmentsMax: 2,
  writeCache: true,
}

export const BASE_ADDRESS = 0x8000_0000

export interface GuestBench extends MemoryStack {
  device: VirtioBlk
  mmio: VirtioMmio
  driver: GuestDriver
  ram: Uint8Array
  findings: Finding[]
  /** In order of their end. */
  ended: GuestRequest[]
  /** Submits without waiting for room; throws if there is none. */
  send(operation: GuestOperation, buffer?: Uint8Array): GuestRequest
}

export interface BenchOptions {
  plan?: Partial<DevicePlan>
  device?: Partial<VirtioBlkOptions>
  lengthBytes?: number
  ramBytes?: number
  /** Stands between driver and device, to break rules. */
  port?: (mmio: VirtioMmio) => MmioPort
  /** Replaces the wiring of the interrupt line. */
  interrupt?: (driver: GuestDriver) => void
}

/** After each event of its clock, the driver looks whether an interrupt is missing. */
export function guestBench(options: BenchOptions = {}): GuestBench {
  const plan = { ...PLAN, ...options.plan }
  const stack = memoryStack(options.lengthBytes ?? 64 * 1024)
  const ram = new Uint8Array(options.ramBytes ?? guestRamBytes(plan, 16 * 1024, 4)).fill(0x77)
  const findings: Finding[] = []
  const ended: GuestRequest[] = []
  const device = new VirtioBlk(stack.kernel, stack.backend, new GuestMemory(ram, BASE_ADDRESS), {
    interrupt: () => (options.interrupt ?? ((guest) => guest.interrupt()))(driver),
    labelRequest: (queueIndex, headIndex) => driver.labelOf(queueIndex, headIndex),
    queueCount: plan.queueCount,
    queueSize: plan.queueSize,
    blockBytes: plan.blockBytes,
    ...options.device,
  })
  const mmio = new VirtioMmio(device)
  const driver: GuestDriver = new GuestDriver({
    kernel: stack.kernel,
    ram,
    baseAddress: BASE_ADDRESS,
    port: options.port?.(mmio) ?? mmio,
    plan,
    hooks: {
      completed: (request) => ended.push(request),
      aborted: (request) => ended.push(request),
      found: (finding) => findings.push(finding),
    },
  })
  const send = (operation: GuestOperation, buffer?: Uint8Array): GuestRequest => {
    const request = driver.trySubmit(operation, buffer ?? null)
    if (request === null) throw new Error('no room')
    return request
  }
  const resume = stack.kernel.resume.bind(stack.kernel)
  stack.kernel.resume = (coroutine, parkSerial) => {
    const ran = resume(coroutine, parkSerial)
    driver.checkInterrupt()
    return ran
  }
  return { ...stack, device, mmio, driver, ram, findings, ended, send }
}

let nextId = 0
/** An operation with an id of its own. */
export function operation(
  kind: GuestOperationKind,
  offsetBytes = 0,
  lengthBytes = 0,
  more: Partial<GuestOperation> = {},
): GuestOperation {
  return { id: `g${nextId++}`, kind, lane: 0, offsetBytes, lengthBytes, thinkNs: 0, ...more }
}

/** `lengthBytes` bytes that tell where they came from. */
export function pattern(seed: number, lengthBytes: number): Uint8Array {
  return Uint8Array.from({ length: lengthBytes }, (_, index) => (seed * 31 + index * 7 + (index >> 8)) & 0xff)
}
