/** The machine among all objects: what qom-list and qom-get tell of it. Nothing of it can be set. */
import { BlockError } from '../../block'
import type { JsonValue } from '../../json'
import type { Device } from './device'
import { propertiesOf } from './device_types'
import type { Machine } from './machine'

export interface ObjectProperty {
  name: string
  type: string
}

const TYPE: ObjectProperty = { name: 'type', type: 'string' }
const container = (name: string): ObjectProperty => ({ name, type: 'child<container>' })
const FOLDERS = ['/machine/peripheral', '/machine/peripheral-anon', '/machine/unattached']

/** null: there is no such object of the machine. */
export function listObject(machine: Machine, path: string): ObjectProperty[] | null {
  if (path === '/') {
    return [TYPE, container('objects'), { name: 'machine', type: `child<${machine.type.name}-machine>` }, container('chardevs')]
  }
  if (path === '/machine') return [TYPE, ...FOLDERS.map((folder) => container(folder.slice('/machine/'.length)))]
  if (FOLDERS.includes(path)) return [TYPE, ...devicesBelow(machine, path)]
  const device = machine.findDevice(path)
  if (device === null) return null
  return [TYPE, ...['realized', 'hotplugged'].map((name) => ({ name, type: 'bool' })), ...propertiesList(device)]
}

function devicesBelow(machine: Machine, folder: string): ObjectProperty[] {
  return machine.devices
    .filter(({ path }) => path.startsWith(`${folder}/`))
    .map(({ path, type }) => ({ name: path.slice(folder.length + 1), type: `child<${type.name}>` }))
}
function propertiesList({ type }: Device): ObjectProperty[] {
  return propertiesOf(type).map((name) => ({ name, type: 'str' }))
}

/** null: there is no such object of the machine. Throws BlockError if it has no such property, or one without a value. */
export function getObjectProperty(machine: Machine, path: string, property: string): { value: JsonValue } | null {
  const device = machine.findDevice(path)
  if (device === null) return null
  const { type, disk, properties } = device
  if (property === 'type') return { value: type.name }
  if (property === 'realized') return { value: true }
  if (property === 'hotplugged') return { value: false }
  if (property === 'drive' && disk !== null) return { value: disk.backend.name || (disk.backend.root?.node.name ?? '') }
  const value = properties.get(property)
  if (value !== undefined) return { value }
  if (!propertiesOf(type).includes(property)) throw new BlockError(`Property '${type.name}.${property}' not found`)
  throw new BlockError(`The default of property '${type.name}.${property}' is not known here`)
}
