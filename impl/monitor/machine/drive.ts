/** One drive of a machine: a backend that the user made, as `-drive` describes it. */
import type { BackendState } from './machine'

/** In QEMU's order, whose numbers users see. */
export const DRIVE_INTERFACES = ['none', 'ide', 'scsi', 'floppy', 'pflash', 'mtd', 'sd', 'virtio', 'xen'] as const
export type DriveInterface = (typeof DRIVE_INTERFACES)[number]

export interface Drive {
  readonly id: string
  readonly state: BackendState
  readonly interface: DriveInterface
  readonly bus: number
  readonly unit: number
  readonly isCd: boolean
}
