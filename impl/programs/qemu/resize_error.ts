/** Why the length of an image cannot be changed, in QEMU's words: drivers answer with an errno. */
import type { BlockBackend, PreallocationMode } from '../../block'
import { ENOTSUP, EPERM, type Errno, strerror } from '../../co'

export function resizeErrorText(disk: BlockBackend, errno: Errno, preallocation: PreallocationMode): string {
  const driver = disk.root?.node.skipFilters().driver
  if (driver === undefined) return 'No medium found'
  const carrier = driver.name === 'raw' ? (driver.node.children.get('file')?.node.driver ?? driver) : driver
  if (errno === EPERM) return 'Image is read-only'
  if (errno === ENOTSUP && preallocation !== 'off') return `Unsupported preallocation mode: ${preallocation}`
  if (errno === ENOTSUP && carrier.name === 'host_device') return 'Cannot grow device files'
  if (errno === ENOTSUP && carrier.name === 'qcow2') return "Can't resize an image which has snapshots"
  if (errno === ENOTSUP && carrier.name === 'qed') return 'Shrinking images is currently not supported'
  if (errno === ENOTSUP) return 'Image format driver does not support resize'
  return `Failed to resize the image: ${strerror(errno)}`
}
