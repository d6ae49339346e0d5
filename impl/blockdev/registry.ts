/** All drivers by name, in the order in which programs list them. */
import type { BlockdevDriver } from './driver'
import { BLKDEBUG } from './drivers/blkdebug'
import { BLKLOGWRITES } from './drivers/blklogwrites'
import { BLKVERIFY } from './drivers/blkverify'
import { COMPRESS } from './drivers/compress'
import { COPY_BEFORE_WRITE } from './drivers/copy_before_write'
import { COPY_ON_READ } from './drivers/copy_on_read'
import { FILE, HOST_DEVICE } from './drivers/file'
import { LUKS } from './drivers/luks'
import { NBD } from './drivers/nbd'
import { NULL_AIO, NULL_CO } from './drivers/null'
import { PARALLELS } from './drivers/parallels'
import { PREALLOCATE } from './drivers/preallocate'
import { QCOW } from './drivers/qcow'
import { QCOW2 } from './drivers/qcow2'
import { QED } from './drivers/qed'
import { QUORUM } from './drivers/quorum'
import { RAW } from './drivers/raw'
import { BOCHS, CLOOP, DMG } from './drivers/readonly_formats'
import { SNAPSHOT_ACCESS } from './drivers/snapshot_access'
import { THROTTLE } from './drivers/throttle'
import { VDI } from './drivers/vdi'
import { VMDK } from './drivers/vmdk'
import { VPC } from './drivers/vpc'

export const DRIVERS: readonly BlockdevDriver[] = [
  BLKDEBUG,
  BLKLOGWRITES,
  BLKVERIFY,
  BOCHS,
  CLOOP,
  COMPRESS,
  COPY_BEFORE_WRITE,
  COPY_ON_READ,
  DMG,
  FILE,
  HOST_DEVICE,
  LUKS,
  NBD,
  NULL_AIO,
  NULL_CO,
  PARALLELS,
  PREALLOCATE,
  QCOW,
  QCOW2,
  QED,
  QUORUM,
  RAW,
  SNAPSHOT_ACCESS,
  THROTTLE,
  VDI,
  VMDK,
  VPC,
]

const byName = new Map(DRIVERS.map((driver) => [driver.name, driver]))
const byProtocol = new Map(
  DRIVERS.flatMap((driver) =>
    driver.protocol === null ? [] : [driver.protocol, ...(driver.otherProtocols ?? [])].map((name) => [name, driver] as const),
  ),
)

export function findDriver(name: string): BlockdevDriver | null {
  return byName.get(name) ?? null
}

/** The driver whose file names begin with `protocol` and a colon. */
export function findProtocol(protocol: string): BlockdevDriver | null {
  return byProtocol.get(protocol) ?? null
}
