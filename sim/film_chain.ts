/**
 * Pictures of images in a chain: what each layer holds by itself, and what the guest's disk shows. They are taken from the
 * tables that the driver has in memory, and from the files where it has not loaded one; nothing is loaded, and nothing waits.
 */
import type { BlockNode } from '../impl/block'
import { Qcow2Driver } from '../impl/block/drivers/qcow2'
import { ClusterType } from '../impl/block/drivers/qcow2/layout'
import { peekRun, Run, readRun } from '../impl/block/drivers/qcow2/mapping'
import { SimDisk } from './disk'
import { DiskCamera, sectorAt, shared } from './film_disk'
import { CORRUPT_SECTOR, type DiskFrame, NOTHING_SECTOR } from './film_frames'
import { SECTOR_BYTES } from './plan'
import type { DiskStore } from './store'

const EMPTY: DiskFrame = { sectors: new Uint32Array(0), allocated: new Uint8Array(0) }

function storeOf(node: BlockNode | undefined): DiskStore | null {
  return node?.driver instanceof SimDisk ? node.driver.store : null
}

/** Unit in which a layer takes space. */
export function unitBytesOf({ driver }: BlockNode): number {
  if (driver instanceof Qcow2Driver) return driver.image.geometry.clusterBytes
  return driver instanceof SimDisk ? driver.store.allocationUnitBytes : SECTOR_BYTES
}

/** One for each layer. A layer that is closed stays as it was. */
export class LayerCamera {
  private old: DiskFrame = EMPTY
  private readonly plain = new DiskCamera()
  private readonly place = new Run()
  private readonly sector = new Uint8Array(SECTOR_BYTES)
  /** Where everything lay when it was looked at, and what was in the files. */
  private seen = ''

  frame(node: BlockNode | null): DiskFrame {
    if (node === null) return this.old
    const { driver } = node
    if (driver instanceof SimDisk) this.old = this.plain.frame(driver.store)
    else if (driver instanceof Qcow2Driver) this.look(node, driver)
    return this.old
  }

  private look(node: BlockNode, driver: Qcow2Driver): void {
    const file = storeOf(node.children.get('file')?.node)
    if (file === null) return
    const data = storeOf(node.children.get('data-file')?.node) ?? file
    const runs = this.runsOf(node, driver, file)
    const seen = `${file.changeCount} ${data.changeCount} ${runs.map(({ at, type, hostBytes }) => `${at}:${type}:${hostBytes}`)}`
    if (seen === this.seen) return
    this.seen = seen
    const unitBytes = driver.image.geometry.clusterBytes
    const sectors = new Uint32Array(node.lengthBytes / SECTOR_BYTES)
    const allocated = new Uint8Array(Math.ceil(node.lengthBytes / unitBytes))
    for (const { at, endBytes, type, hostBytes } of runs) {
      const takesSpace = type !== ClusterType.UnallocatedPlain && type !== ClusterType.ZeroPlain
      if (takesSpace) allocated.fill(1, Math.floor(at / unitBytes), Math.ceil(endBytes / unitBytes))
      for (let byte = at; byte < endBytes; byte += SECTOR_BYTES)
        sectors[byte / SECTOR_BYTES] = this.valueAt(byte, type, hostBytes + byte - at, data)
    }
    const { old } = this
    this.old = { sectors: shared(sectors, old.sectors), allocated: shared(allocated, old.allocated) }
  }

  private valueAt(byte: number, type: ClusterType, hostBytes: number, data: DiskStore): number {
    if (type === ClusterType.UnallocatedPlain || type === ClusterType.UnallocatedAllocated) return NOTHING_SECTOR
    if (type === ClusterType.ZeroPlain || type === ClusterType.ZeroAllocated) return 0
    // Compressed clusters of these worlds are those that were there before, and nobody reads them here.
    if (type !== ClusterType.Normal) return CORRUPT_SECTOR
    data.read(hostBytes, this.sector)
    return sectorAt(this.sector, 0, byte / SECTOR_BYTES)
  }

  private runsOf(
    node: BlockNode,
    { image }: Qcow2Driver,
    file: DiskStore,
  ): Array<{ at: number; endBytes: number; type: ClusterType; hostBytes: number }> {
    const run = this.place
    const runs = []
    for (let at = 0; at < node.lengthBytes; at += run.bytes) {
      const left = node.lengthBytes - at
      if (!peekRun(image, at, left, run)) {
        const from = image.sliceOffset(image.l2Offset(at), at)
        const words = Uint32Array.from({ length: image.sliceBytes / 4 }, (_, index) => wordAt(file, from + index * 4))
        readRun(image, words, at, left, run)
      }
      runs.push({ at, endBytes: at + run.bytes, type: run.type, hostBytes: run.hostBytes })
    }
    return runs
  }
}

function wordAt({ bytes, lengthBytes }: DiskStore, at: number): number {
  if (at + 4 > lengthBytes) return 0
  return new DataView(bytes.buffer, bytes.byteOffset + at, 4).getUint32(0)
}

/** What shows through the layers, from the top down; `old` where that has not changed. What ends early reads zero behind it. */
export function shownThrough(layers: readonly DiskFrame[], old: DiskFrame | null): DiskFrame {
  const [top = EMPTY] = layers
  const sectors = top.sectors.map((value, sector) => {
    if (value !== NOTHING_SECTOR) return value
    for (const layer of layers.slice(1)) {
      const below = layer.sectors[sector] ?? 0
      if (below !== NOTHING_SECTOR) return below
    }
    return 0
  })
  const shown = shared(sectors, old?.sectors)
  return old !== null && shown === old.sectors && top.allocated === old.allocated
    ? old
    : { sectors: shown, allocated: top.allocated }
}
