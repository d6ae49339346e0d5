/** One device of a machine: where it is, and the disk that it uses. */
import type { JsonValue } from '../../json'
import type { DeviceType } from './device_types'
import type { BackendState, Bus } from './machine'

export interface Device {
  readonly type: DeviceType
  readonly id: string | null
  /** Among the machine's objects: `/machine/peripheral/ID`. */
  readonly path: string
  readonly bus: Bus
  readonly properties: ReadonlyMap<string, JsonValue>
  disk: BackendState | null
  /** For those whose medium comes and goes. */
  isTrayOpen: boolean
  isLocked: boolean
  /** The guest has been asked to let it go. */
  isLeaving: boolean
}

/** How the holder of the backend is called: by its id or else its path. */
export function holderName({ type, id, path }: Device): string {
  if (type.disk?.holder !== undefined) return holderPath(path)
  return id ?? path
}

export function holderPath(path: string): string {
  return `${path}/virtio-backend`
}

/** Floppy drives have none. */
export function hasTray({ type }: Device): boolean {
  return type.disk?.isRemovable === true && type.bus !== 'floppy-bus'
}
