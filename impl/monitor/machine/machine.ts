/**
 * A machine without a processor: its buses, the devices on them, the drives of its users, and whether it runs. Devices use
 * their disks as those of a real machine do (permissions, drained sections, media), but nobody drives them; what is read and
 * written through them comes from the monitor.
 *
 * What never may: a backend without a place in `backends`; a device whose bus is not there any more.
 */
import { BlockBackend } from '../../block'
import { BlockAccounting } from '../../block/accounting'
import type { ThrottleMember } from '../../block/throttle'
import { assert, type Clock } from '../../co'
import type { QmpEnvironment } from '../environment'
import { Migration } from '../migration/migration'
import type { Device } from './device'
import type { BusType } from './device_types'
import type { Drive } from './drive'
import type { MachineType } from './machine_types'
import { RunState } from './run_state'

/** Latency of every request on a clock that stands still. */
const STEPPED_LATENCY_NS = 1_000_000

export interface Bus {
  readonly name: string
  readonly type: BusType
  readonly owner: Device | null
  readonly allowsHotplug: boolean
  readonly slots: number
}

/** What a machine knows about one of its backends. */
export interface BackendState {
  readonly backend: BlockBackend
  /** As the user made it, or null: it was made by a device for a node. */
  drive: Drive | null
  device: Device | null
  writesBack: boolean
  onReadError: string
  onWriteError: string
  throttle: ThrottleMember | null
  /** What it holds on a medium that comes, beside what the medium allows. */
  permission: number
  shared: number
}

export interface MachineOptions {
  architecture: string
  type: MachineType
  /** The clock of guests; it stands still if it is moved by a test alone. */
  clock: Clock
  isStepped: boolean
}

export class Machine {
  readonly environment: QmpEnvironment
  readonly architecture: string
  readonly type: MachineType
  readonly clock: Clock
  private readonly isStepped: boolean
  readonly runState: RunState
  readonly migration: Migration
  readonly buses: Bus[]
  /** In order of their making. */
  readonly devices: Device[] = []
  readonly drives = new Map<string, Drive>()
  /** In order of their making, as queries tell them. */
  readonly backends = new Map<BlockBackend, BackendState>()
  private readonly anonymousDevices = new Map<string, number>()
  /** `-snapshot`: changes of drives are lost with the program, unless a drive says otherwise. */
  usesTemporaryLayers = false
  /** Properties of device models where a device itself says nothing: `-global`. */
  readonly globals: Array<{ readonly model: string; readonly property: string; readonly value: string }> = []
  /** False while the command line is followed. */
  isBuilt = false
  name: string | null = null

  constructor(environment: QmpEnvironment, options: MachineOptions) {
    this.environment = environment
    this.architecture = options.architecture
    this.type = options.type
    this.clock = options.clock
    this.isStepped = options.isStepped
    this.runState = new RunState(environment.events)
    this.migration = new Migration(environment, this)
    this.buses = options.type.buses.map((bus) => ({ ...bus, owner: null }))
    environment.machine = this
  }

  /** Makes a backend of the machine. Throws BlockError if the name is taken. */
  addBackend(name: string): BackendState {
    const backend = new BlockBackend(this.environment.graph, name)
    const state: BackendState = {
      ...{ backend, drive: null, device: null, writesBack: true, throttle: null, permission: 0, shared: 0 },
      ...{ onReadError: 'report', onWriteError: 'enospc' },
    }
    backend.accounting = this.newAccounting({})
    this.backends.set(backend, state)
    return state
  }
  newAccounting(options: { accountInvalid?: boolean; accountFailed?: boolean }): BlockAccounting {
    return new BlockAccounting(this.clock, { ...options, ...(this.isStepped ? { fixedLatencyNs: STEPPED_LATENCY_NS } : {}) })
  }

  stateOf(backend: BlockBackend): BackendState {
    const state = this.backends.get(backend)
    assert(state !== undefined, 'backend-of-machine', () => backend.name)
    return state
  }
  deviceOf(backend: BlockBackend): Device | null {
    return this.backends.get(backend)?.device ?? null
  }

  /** A device by its id, or by its path among the machine's objects. */
  findDevice(idOrPath: string): Device | null {
    return this.devices.find(({ id, path }) => (id !== null && id === idOrPath) || path === idOrPath) ?? null
  }
  devicesOn(bus: Bus): Device[] {
    return this.devices.filter((device) => device.bus === bus)
  }
  /** The number of the next device without an id among those of a kind. */
  takeAnonymous(kind: string): number {
    const number = this.anonymousDevices.get(kind) ?? 0
    this.anonymousDevices.set(kind, number + 1)
    return number
  }
  busesOf(type: BusType): Bus[] {
    return this.buses.filter((bus) => bus.type === type)
  }
}
