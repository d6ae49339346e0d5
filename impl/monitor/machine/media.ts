/**
 * Media that come and go: trays, eject, insertion.
 *
 * What may fail: everything that the device does not allow now, as BlockError with QEMU's texts.
 */
import { BlockError, type BlockNode } from '../../block'
import type { Co } from '../../co'
import { hasTray, holderName } from './device'
import { holdMedium } from './devices'
import type { BackendState, Machine } from './machine'

/** The backend that a command means, by the name of the drive or the id of the device. */
export function findBackend(machine: Machine, device: string | undefined, id: string | undefined): BackendState {
  if ((device === undefined) === (id === undefined)) throw new BlockError("Need exactly one of 'device' and 'id'")
  if (device !== undefined) {
    const drive = machine.drives.get(device)
    if (drive === undefined) throw new BlockError(`Device '${device}' not found`, { qmpClass: 'DeviceNotFound' })
    return drive.state
  }
  return findDeviceBackend(machine, id!)
}

export function findDeviceBackend(machine: Machine, id: string): BackendState {
  const path = id.startsWith('/') || !id.includes('/') ? id : `/machine/peripheral/${id}`
  const found =
    machine.findDevice(path) ?? machine.devices.find((device) => device.disk !== null && holderName(device) === path) ?? null
  if (found === null) throw new BlockError(`Device '${id}' not found`, { qmpClass: 'DeviceNotFound' })
  if (found.disk === null) throw new BlockError('Device does not have a block device backend')
  return found.disk
}

/** Without a device, everything can be taken out. */
function isRemovable({ device }: BackendState): boolean {
  return device === null || device.type.disk!.isRemovable
}

function moveTray(machine: Machine, { device, backend }: BackendState, isOpen: boolean): void {
  if (device === null || !hasTray(device) || device.isTrayOpen === isOpen) return
  device.isTrayOpen = isOpen
  machine.environment.events.emit('DEVICE_TRAY_MOVED', {
    device: backend.name,
    id: holderName(device),
    'tray-open': isOpen,
  })
}

/** False: there is no tray to be opened. Throws BlockError. */
function openTray(machine: Machine, state: BackendState, name: string, isForced: boolean): boolean {
  const { device } = state
  if (!isRemovable(state)) throw new BlockError(`Device '${name}' is not removable`)
  if (device === null || !hasTray(device)) return false
  if (device.isTrayOpen) return true
  if (device.isLocked && !isForced) {
    throw new BlockError(`Device '${name}' is locked and force was not specified, wait for tray to open and try again`)
  }
  moveTray(machine, state, true)
  return true
}

/** blockdev-open-tray. */
export function openTrayOf(machine: Machine, state: BackendState, name: string, isForced: boolean): void {
  if (!openTray(machine, state, name, isForced)) throw new BlockError(`Device '${name}' does not have a tray`)
}

/** blockdev-close-tray. */
export function closeTrayOf(machine: Machine, state: BackendState, name: string): void {
  if (!isRemovable(state)) throw new BlockError(`Device '${name}' is not removable`)
  moveTray(machine, state, false)
}

/** blockdev-remove-medium. */
export function* removeMedium(machine: Machine, state: BackendState, name: string): Co<void> {
  const { device, backend } = state
  const { graph } = machine.environment
  if (!isRemovable(state)) throw new BlockError(`Device '${name}' is not removable`)
  if (device !== null && hasTray(device) && !device.isTrayOpen) throw new BlockError(`Tray of device '${name}' is not open`)
  const node = backend.root?.node ?? null
  if (node === null) return
  for (const blocker of node.blockers) {
    if (!blocker.allows.has('eject')) throw new BlockError(`Node '${node.name}' is busy: ${blocker.reason}`)
  }
  yield* graph.drainedBegin(node)
  backend.detach()
  graph.drainedEnd(node)
  yield* graph.release(node)
}

/** Puts a node into a device that is open and empty. */
export function insertMedium(state: BackendState, node: BlockNode): void {
  const { device, backend } = state
  if (!isRemovable(state)) throw new BlockError('Device is not removable')
  if (device !== null && hasTray(device) && !device.isTrayOpen) throw new BlockError('Tray of the device is not open')
  if (backend.root !== null) throw new BlockError('There already is a medium in the device')
  if (device !== null) holdMedium(device, state, node)
  else backend.attach(node, state.permission, state.shared)
}

/** eject. */
export function* eject(machine: Machine, state: BackendState, name: string, isForced: boolean): Co<void> {
  openTray(machine, state, name, isForced)
  yield* removeMedium(machine, state, name)
}

/** blockdev-change-medium with a node that has been opened for it. */
export function* changeMedium(machine: Machine, state: BackendState, name: string, node: BlockNode, isForced: boolean): Co<void> {
  openTray(machine, state, name, isForced)
  yield* removeMedium(machine, state, name)
  insertMedium(state, node)
  moveTray(machine, state, false)
}
