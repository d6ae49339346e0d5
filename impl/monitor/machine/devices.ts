/**
 * Adding devices to a machine and taking them away: `-device`, device_add, device_del.
 *
 * What may fail: wrong descriptions, and disks that somebody else uses, as BlockError with QEMU's texts; nothing has changed then.
 */
import { BlockError, type BlockNode, Permission } from '../../block'
import { assert, type Co, makeLabel } from '../../co'
import type { JsonObject, JsonValue } from '../../json'
import { type Device, holderName, holderPath } from './device'
import { type DeviceType, findDeviceType, propertiesOf } from './device_types'
import { removeDrive } from './drives'
import type { BackendState, Bus, Machine } from './machine'
import { SLOTS_MANY } from './machine_types'

const WELL_FORMED = /^[A-Za-z][A-Za-z0-9._-]*$/
const ERROR_ACTIONS: readonly string[] = ['report', 'ignore', 'enospc', 'stop', 'auto']
const DELETED = makeLabel('device-deleted')
const NOT_PROPERTIES = new Set(['driver', 'bus', 'id'])
/** Devices that machines make by themselves for drives stand behind what QEMU's PC has of other kinds. */
const UNATTACHED_FIRST = 22
const UNATTACHED_FLOPPY_FIRST = 16

export interface DevicePlace {
  /** Made for a drive of the machine's own buses. */
  isBuiltIn?: boolean
}

/** Adds a device as `args` say. */
export function* addDevice(machine: Machine, args: JsonObject, place: DevicePlace = {}): Co<Device> {
  const type = typeOf(args)
  const id = idOf(args)
  const bus = findBus(machine, type, args.get('bus'))
  if (machine.isBuilt && !bus.allowsHotplug) throw new BlockError(`Bus '${bus.name}' does not support hotplugging`)
  if (id !== null && machine.findDevice(id) !== null) throw new BlockError(`Duplicate device ID '${id}'`)
  const device = newDevice(machine, type, id, bus, args, place)
  checkProperties(machine, device)
  if (type.disk !== undefined) takeDisk(machine, device)
  machine.devices.push(device)
  const { ownBus } = type
  if (ownBus !== undefined) {
    const name = id === null ? `${ownBus.type.toLowerCase()}.${machine.busesOf(ownBus.type).length}` : ownBus.busName(id)
    machine.buses.push({ name, type: ownBus.type, owner: device, allowsHotplug: true, slots: SLOTS_MANY })
  }
  assert(machine.devices.includes(device), 'device-added')
  return device
}

function typeOf(args: JsonObject): DeviceType {
  const driver = args.get('driver')
  if (typeof driver !== 'string') throw new BlockError("Parameter 'driver' is missing")
  const type = findDeviceType(driver)
  if (type === null) throw new BlockError(`'${driver}' is not a valid device model name`)
  return type
}

function idOf(args: JsonObject): string | null {
  const id = args.get('id')
  if (id === undefined) return null
  if (typeof id !== 'string' || !WELL_FORMED.test(id)) throw new BlockError("Parameter 'id' expects an identifier")
  return id
}

function findBus(machine: Machine, type: DeviceType, wanted: JsonValue | undefined): Bus {
  const isFree = (bus: Bus): boolean => machine.devicesOn(bus).length < bus.slots
  if (wanted === undefined) {
    const fitting = machine.busesOf(type.bus)
    const free = fitting.find(isFree)
    if (free !== undefined) return free
    const what = fitting.length === 0 ? 'found' : 'free'
    if (what === 'found') throw new BlockError(`No '${type.bus}' bus found for device '${type.name}'`)
    throw new BlockError(`No free '${type.bus}' bus found for device '${type.name}'`)
  }
  const bus = machine.buses.find(({ name }) => name === wanted)
  if (bus === undefined) throw new BlockError(`Bus '${String(wanted)}' not found`)
  if (bus.type !== type.bus) throw new BlockError(`Device '${type.name}' can't go on ${bus.type} bus`)
  if (!isFree(bus)) throw new BlockError(`Bus '${bus.name}' is full`)
  return bus
}

function newDevice(
  machine: Machine,
  type: DeviceType,
  id: string | null,
  bus: Bus,
  args: JsonObject,
  { isBuiltIn = false }: DevicePlace,
): Device {
  const properties = new Map([...args].filter(([name]) => !NOT_PROPERTIES.has(name)))
  const known = new Set(propertiesOf(type))
  for (const { model, property, value } of machine.globals) {
    if (model !== type.name) continue
    if (!known.has(property)) {
      const reason = `Property '${model}.${property}' not found`
      throw new BlockError(`can't apply global ${model}.${property}=${value}: ${reason}`)
    }
    if (!args.has(property)) properties.set(property, value)
  }
  const path = `/machine/${id === null ? anonymousPlace(machine, type, isBuiltIn) : `peripheral/${id}`}`
  return { type, id, path, bus, properties, disk: null, isTrayOpen: false, isLocked: false, isLeaving: false }
}

function anonymousPlace(machine: Machine, { bus }: DeviceType, isBuiltIn: boolean): string {
  if (!isBuiltIn) return `peripheral-anon/device[${machine.takeAnonymous('')}]`
  const first = bus === 'floppy-bus' ? UNATTACHED_FLOPPY_FIRST : UNATTACHED_FIRST
  return `unattached/device[${first + machine.takeAnonymous(bus)}]`
}

function checkProperties({ environment }: Machine, { type, properties }: Device): void {
  const known = new Set(propertiesOf(type))
  for (const [name, value] of properties) {
    if (!known.has(name)) throw new BlockError(`Property '${type.name}.${name}' not found`)
    if ((name === 'werror' || name === 'rerror') && !ERROR_ACTIONS.includes(String(value))) {
      throw new BlockError(`Parameter '${name}' does not accept value '${String(value)}'`)
    }
    if (name === 'iothread' && !environment.objects.ofType('iothread').includes(String(value))) {
      throw new BlockError(`Device '${String(value)}' not found`, { qmpClass: 'DeviceNotFound' })
    }
  }
}

function flag(device: Device, name: string): boolean {
  const value = device.properties.get(name)
  if (value === undefined || typeof value === 'boolean') return value ?? false
  if (value === 'on' || value === 'yes' || value === 'true' || value === 'y') return true
  if (value === 'off' || value === 'no' || value === 'false' || value === 'n') return false
  throw new BlockError(`Invalid parameter type for '${name}', expected: boolean`)
}

/** The backend that a device names, or one for the node that it names; without one if it needs none. */
function takeDisk(machine: Machine, device: Device): void {
  const { type } = device
  const use = type.disk!
  const name = device.properties.get('drive')
  if (name === undefined && !use.mayBeEmpty) throw new BlockError('drive property not set')
  const holder = use.holder ?? type.name
  const { graph } = machine.environment
  const drive = name === undefined ? null : (machine.drives.get(String(name)) ?? null)
  if (drive !== null && drive.state.device !== null) throw inUse(drive.id, drive.interface !== 'none')
  const node = name === undefined || drive !== null ? null : graph.findNode(String(name))
  if (name !== undefined && drive === null && node === null) {
    throw new BlockError(`Property '${holder}.drive' can't find value '${String(name)}'`)
  }
  const state = drive?.state ?? machine.addBackend('')
  try {
    configure(device, state)
    holdMedium(device, state, node)
  } catch (error) {
    if (drive === null) {
      state.backend.dispose()
      machine.backends.delete(state.backend)
    }
    state.backend.deviceName = ''
    throw error
  }
  state.device = device
  device.disk = state
}

function inUse(id: string, isAutomatic: boolean): BlockError {
  return new BlockError(
    isAutomatic
      ? `Drive '${id}' is already in use because it has been automatically connected to another device ` +
          "(did you need 'if=none' in the drive options?)"
      : `Drive '${id}' is already in use by another device`,
  )
}

function configure(device: Device, state: BackendState): void {
  const { backend } = state
  backend.deviceName = holderName(device)
  const action = (name: string, otherwise: string): string => {
    const value = device.properties.get(name)
    return value === undefined || value === 'auto' ? otherwise : String(value)
  }
  state.onReadError = action('rerror', state.onReadError)
  state.onWriteError = action('werror', state.onWriteError)
  if (device.properties.has('write-cache') && device.properties.get('write-cache') !== 'auto') {
    state.writesBack = flag(device, 'write-cache')
  }
}

/** Takes the permissions of the device on its medium, the one that is there or `node`. */
export function holdMedium(device: Device, state: BackendState, node: BlockNode | null): void {
  const use = device.type.disk!
  const { backend } = state
  const medium = node ?? backend.root?.node ?? null
  const others = (use.mayBeResized ? Permission.Resize : 0) | (flag(device, 'share-rw') ? Permission.Write : 0)
  state.shared = Permission.ConsistentRead | Permission.WriteUnchanged | others
  // A disk on IDE has to be one that can be written to.
  const needsWriting = device.type.name === 'ide-hd'
  const copying = backend.copiesOnRead && medium?.options.readOnly === false ? Permission.WriteUnchanged : 0
  const isWritable = !use.isReadOnly && medium !== null && (needsWriting || !medium.options.readOnly)
  state.permission = Permission.ConsistentRead | (isWritable ? Permission.Write : 0) | copying
  if (medium === null) {
    if (!use.mayBeEmpty) throw new BlockError('Device needs media, but drive is empty')
    return
  }
  if (backend.root === null) backend.attach(medium, state.permission, state.shared)
  else backend.setPermissions(state.permission, state.shared)
}

/** device_del. What a guest has to let go leaves at the next reset. Throws BlockError. */
export function* requestRemoval(machine: Machine, id: string): Co<void> {
  const device = machine.findDevice(id)
  if (device === null) throw new BlockError(`Device '${id}' not found`, { qmpClass: 'DeviceNotFound' })
  if (device.isLeaving) throw new BlockError(`Device ${id} is already in the process of unplug`)
  if (!device.bus.allowsHotplug) throw new BlockError(`Bus '${device.bus.name}' does not support hotplugging`)
  device.isLeaving = true
  if (device.bus.type !== 'PCI') yield* removeDevice(machine, device)
}

/** Devices that were asked to leave do so. */
export function* removeLeaving(machine: Machine): Co<void> {
  for (const device of [...machine.devices]) if (device.isLeaving) yield* removeDevice(machine, device)
}

/** Takes a device away, and what is on its bus before. */
function* removeDevice(machine: Machine, device: Device): Co<void> {
  for (const bus of machine.buses.filter(({ owner }) => owner === device)) {
    for (const child of machine.devicesOn(bus)) yield* removeDevice(machine, child)
    machine.buses.splice(machine.buses.indexOf(bus), 1)
  }
  const at = machine.devices.indexOf(device)
  if (at < 0) return
  machine.devices.splice(at, 1)
  yield* leaveDisk(machine, device)
  machine.environment.kernel.spawn(tellDeleted(machine, device), DELETED)
}

/** After the answer to the command that it follows from. */
function* tellDeleted({ environment }: Machine, { type, id, path }: Device): Co<void> {
  const { events } = environment
  if (type.disk?.holder !== undefined) events.emit('DEVICE_DELETED', { path: holderPath(path) })
  events.emit('DEVICE_DELETED', { ...(id === null ? {} : { device: id }), path })
}

/** What was made for the device goes with it, and so does the drive that it used. */
function* leaveDisk(machine: Machine, device: Device): Co<void> {
  const { disk } = device
  if (disk === null) return
  const { backend, drive } = disk
  device.disk = null
  disk.device = null
  backend.deviceName = ''
  if (drive !== null) {
    yield* removeDrive(machine, drive)
    return
  }
  const node = backend.root?.node ?? null
  const { graph } = machine.environment
  if (node !== null) {
    yield* graph.drainedBegin(node)
    backend.dispose()
    graph.drainedEnd(node)
  } else backend.dispose()
  machine.backends.delete(backend)
  if (disk.throttle !== null) machine.environment.context.throttleGroups.leave(disk.throttle)
  if (node !== null) yield* graph.release(node)
}
