/**
 * How the guest's driver brings the device up (VIRTIO 1.2, 3.1.1 and 4.2.3.1), in the order in which Linux does it. Whatever
 * the device answers that it may not is told to `found` under a stable key.
 */
import { type DevicePlan, SECTOR_BYTES } from '../plan'
import type { MmioPort } from './driver'
import { Feat, ID_BLOCK, MAGIC_VALUE, MMIO_VERSION, Reg, Stat, VERSION_1_HIGH } from './registers'
import type { GuestRing } from './ring'

/** What both sides agreed on. */
export interface Negotiated {
  capacityBytes: number
  segmentsMax: number
  discardMaxBytes: number
  writeZeroesMaxBytes: number
}

type Found = (key: string, text: string) => void

const CONFIG_READS_MAX = 8

/** Resets the device, agrees on features and reads the configuration. null: the device is not what it should be. */
export function negotiate(port: MmioPort, plan: DevicePlan, found: Found): Negotiated | null {
  const isBlock = port.read(Reg.Magic, 4) === MAGIC_VALUE && port.read(Reg.Device, 4) === ID_BLOCK
  if (!isBlock || port.read(Reg.Version, 4) !== MMIO_VERSION) {
    found('wrong-device', 'there is no virtio block device of version 2 behind the registers')
    return null
  }
  port.write(Reg.Status, 4, 0)
  port.write(Reg.Status, 4, Stat.Acknowledge)
  port.write(Reg.Status, 4, Stat.Acknowledge | Stat.Driver)
  if (!agreeOnFeatures(port, plan, found)) return null

  const capacitySectors = readCapacity(port)
  if (capacitySectors < 0) {
    found('config-unstable', 'the configuration changes whenever it is read')
    return null
  }
  const blockBytes = port.read(Reg.ConfigBlkSize, 4)
  if (blockBytes !== plan.blockBytes) found('block-size', `the device has blocks of ${blockBytes} bytes, not ${plan.blockBytes}`)
  if (plan.queueCount > 1 && port.read(Reg.ConfigNumQueues, 2) < plan.queueCount)
    found('queue-count', 'the device has fewer queues than it should')
  const wce = plan.writeCache ? 1 : 0
  if (port.read(Reg.ConfigWce, 1) !== wce) port.write(Reg.ConfigWce, 1, wce)
  if (port.read(Reg.ConfigWce, 1) !== wce) found('write-cache', 'the device does not switch its write cache')
  return {
    capacityBytes: capacitySectors * SECTOR_BYTES,
    segmentsMax: port.read(Reg.ConfigSegMax, 4),
    discardMaxBytes: port.read(Reg.ConfigMaxDiscardSectors, 4) * SECTOR_BYTES,
    writeZeroesMaxBytes: port.read(Reg.ConfigMaxWriteZeroesSectors, 4) * SECTOR_BYTES,
  }
}

function agreeOnFeatures(port: MmioPort, plan: DevicePlan, found: Found): boolean {
  port.write(Reg.HostFeaturesSel, 4, 1)
  const high = port.read(Reg.HostFeatures, 4)
  port.write(Reg.HostFeaturesSel, 4, 0)
  const low = port.read(Reg.HostFeatures, 4)
  let wanted = bit(Feat.SegMax) | bit(Feat.BlkSize) | bit(Feat.Flush) | bit(Feat.Topology) | bit(Feat.ConfigWce)
  wanted |= bit(Feat.Discard) | bit(Feat.WriteZeroes)
  if (plan.queueCount > 1) wanted |= bit(Feat.Mq)
  if (plan.indirect) wanted |= bit(Feat.IndirectDesc)
  if (plan.eventIndex) wanted |= bit(Feat.EventIdx)
  if ((wanted & ~low) !== 0 || (high & VERSION_1_HIGH) === 0) {
    found('features-missing', `the device lacks features ${(wanted & ~low).toString(16)}`)
    return false
  }
  port.write(Reg.GuestFeaturesSel, 4, 1)
  port.write(Reg.GuestFeatures, 4, VERSION_1_HIGH)
  port.write(Reg.GuestFeaturesSel, 4, 0)
  port.write(Reg.GuestFeatures, 4, wanted)
  port.write(Reg.Status, 4, Stat.Acknowledge | Stat.Driver | Stat.FeaturesOk)
  if ((port.read(Reg.Status, 4) & Stat.FeaturesOk) !== 0) return true
  found('features-refused', 'the device refuses features that it offers')
  return false
}

function bit(feature: number): number {
  return 1 << feature
}

/** Both halves from the same generation of the configuration (2.5.3.1); -1 if it never stands still. */
function readCapacity(port: MmioPort): number {
  for (let attempt = 0; attempt < CONFIG_READS_MAX; attempt++) {
    const generation = port.read(Reg.ConfigGeneration, 4)
    const low = port.read(Reg.ConfigCapacityLow, 4)
    const high = port.read(Reg.ConfigCapacityHigh, 4)
    if (port.read(Reg.ConfigGeneration, 4) === generation) return high * 2 ** 32 + low
  }
  return -1
}

/** Tells the device where a ring lies. False: it does not take it. */
export function programQueue(port: MmioPort, ring: GuestRing): boolean {
  port.write(Reg.QueueSel, 4, ring.index)
  if (port.read(Reg.QueueReady, 4) !== 0 || port.read(Reg.QueueNumMax, 4) < ring.size) return false
  port.write(Reg.QueueNum, 4, ring.size)
  writeAddress(port, Reg.DescLow, ring.addressOf(ring.tableOffset))
  writeAddress(port, Reg.AvailLow, ring.addressOf(ring.availOffset))
  writeAddress(port, Reg.UsedLow, ring.addressOf(ring.usedOffset))
  port.write(Reg.QueueReady, 4, 1)
  return port.read(Reg.QueueReady, 4) === 1
}

function writeAddress(port: MmioPort, lowRegister: number, address: number): void {
  port.write(lowRegister, 4, address % 2 ** 32)
  port.write(lowRegister + 4, 4, Math.floor(address / 2 ** 32))
}

export function startDriver(port: MmioPort): void {
  port.write(Reg.Status, 4, Stat.Acknowledge | Stat.Driver | Stat.FeaturesOk | Stat.DriverOk)
}
