/**
 * The device models that machines here can have: controllers with a bus for disks, and disks. Names, buses and aliases are
 * QEMU's; a model that is not listed is none.
 */
export type BusType = 'PCI' | 'SCSI' | 'IDE' | 'floppy-bus' | 'virtio-bus'

export interface DeviceType {
  readonly name: string
  readonly alias?: string
  readonly bus: BusType
  readonly summary?: string
  readonly category: 'Controller/Bridge/Hub' | 'Storage'
  /** The bus that it brings, and how a bus is called after the device's id. */
  readonly ownBus?: { readonly type: BusType; busName(id: string): string }
  /** How it uses a disk; absent: it does not. */
  readonly disk?: DiskUse
  /** Properties besides those of its bus and of disks. */
  readonly properties: readonly string[]
}

export interface DiskUse {
  /** The object that holds the backend is a part of the device: `PATH/virtio-backend`, of a type of its own. */
  readonly holder?: string
  /** Its medium comes and goes, behind a tray. */
  readonly isRemovable: boolean
  readonly isReadOnly: boolean
  /** It works without a medium. */
  readonly mayBeEmpty: boolean
  /** Others may change the length of its node. */
  readonly mayBeResized: boolean
  readonly hasIoStatus: boolean
}

const HARD_DISK: DiskUse = { isRemovable: false, isReadOnly: false, mayBeEmpty: false, mayBeResized: true, hasIoStatus: true }
const CD: DiskUse = { isRemovable: true, isReadOnly: true, mayBeEmpty: true, mayBeResized: false, hasIoStatus: true }

/** Of all devices that use a disk. */
export const DISK_PROPERTIES: readonly string[] = [
  'drive',
  'share-rw',
  'werror',
  'rerror',
  'write-cache',
  'logical_block_size',
  'physical_block_size',
  'min_io_size',
  'opt_io_size',
  'discard_granularity',
  'account-invalid',
  'account-failed',
  'backend_defaults',
  'serial',
  'bootindex',
]
/** Of all devices on a bus. */
export const BUS_PROPERTIES: Readonly<Record<BusType, readonly string[]>> = {
  PCI: ['addr', 'romfile', 'rombar', 'multifunction', 'acpi-index', 'failover_pair_id'],
  SCSI: ['channel', 'scsi-id', 'lun'],
  IDE: ['unit'],
  'floppy-bus': ['unit'],
  'virtio-bus': [],
}
const VIRTIO = [
  'iothread',
  'iothread-vq-mapping',
  'num-queues',
  'queue-size',
  'ioeventfd',
  'event_idx',
  'indirect_desc',
  'packed',
]
const VIRTIO_PCI = [...VIRTIO, 'disable-legacy', 'disable-modern', 'vectors', 'class', 'iommu_platform', 'ats']
const VIRTIO_BLK = [
  'config-wce',
  'discard',
  'write-zeroes',
  'max-discard-sectors',
  'max-write-zeroes-sectors',
  'request-merging',
  'seg-max-adjust',
  'report-discard-granularity',
]
const VIRTIO_SCSI = ['hotplug', 'param_change', 'cmd_per_lun', 'max_sectors', 'seg_max_adjust', 'virtqueue_size']
const SCSI_DISK = [
  'ver',
  'vendor',
  'product',
  'device_id',
  'wwn',
  'port_wwn',
  'port_index',
  'removable',
  'dpofua',
  'rotation_rate',
]
const IDE_DISK = ['ver', 'model', 'wwn', 'bios-chs-trans', 'rotation_rate']
const afterId = (id: string): string => `${id}.0`

export const DEVICE_TYPES: readonly DeviceType[] = [
  {
    name: 'pci-bridge',
    bus: 'PCI',
    summary: 'Standard PCI Bridge',
    category: 'Controller/Bridge/Hub',
    ownBus: { type: 'PCI', busName: (id) => id },
    properties: ['chassis_nr', 'msi', 'shpc'],
  },
  {
    name: 'lsi53c895a',
    alias: 'lsi',
    bus: 'PCI',
    category: 'Storage',
    ownBus: { type: 'SCSI', busName: afterId },
    properties: [],
  },
  {
    name: 'virtio-scsi-pci',
    alias: 'virtio-scsi',
    bus: 'PCI',
    category: 'Storage',
    ownBus: { type: 'SCSI', busName: afterId },
    properties: [...VIRTIO_PCI, ...VIRTIO_SCSI],
  },
  {
    name: 'virtio-scsi-device',
    bus: 'virtio-bus',
    category: 'Storage',
    ownBus: { type: 'SCSI', busName: afterId },
    properties: [...VIRTIO, ...VIRTIO_SCSI],
  },
  {
    name: 'floppy',
    bus: 'floppy-bus',
    summary: 'virtual floppy drive',
    category: 'Storage',
    disk: { isRemovable: true, isReadOnly: false, mayBeEmpty: true, mayBeResized: false, hasIoStatus: false },
    properties: ['drive-type'],
  },
  { name: 'ide-cd', bus: 'IDE', summary: 'virtual IDE CD-ROM', category: 'Storage', disk: CD, properties: IDE_DISK },
  { name: 'ide-hd', bus: 'IDE', summary: 'virtual IDE disk', category: 'Storage', disk: HARD_DISK, properties: IDE_DISK },
  { name: 'scsi-cd', bus: 'SCSI', summary: 'virtual SCSI CD-ROM', category: 'Storage', disk: CD, properties: SCSI_DISK },
  { name: 'scsi-hd', bus: 'SCSI', summary: 'virtual SCSI disk', category: 'Storage', disk: HARD_DISK, properties: SCSI_DISK },
  {
    name: 'virtio-blk-device',
    bus: 'virtio-bus',
    category: 'Storage',
    disk: HARD_DISK,
    properties: [...VIRTIO, ...VIRTIO_BLK],
  },
  {
    name: 'virtio-blk-pci',
    alias: 'virtio-blk',
    bus: 'PCI',
    category: 'Storage',
    disk: { ...HARD_DISK, holder: 'virtio-blk-device' },
    properties: [...VIRTIO_PCI, ...VIRTIO_BLK],
  },
]

export function findDeviceType(name: string): DeviceType | null {
  return DEVICE_TYPES.find((type) => type.name === name || type.alias === name) ?? null
}

/** What `-device help` prints. */
export function deviceHelp(): string {
  const categories: ReadonlyArray<DeviceType['category']> = ['Controller/Bridge/Hub', 'Storage']
  return categories
    .map((category) => {
      const lines = DEVICE_TYPES.filter((type) => type.category === category).map(typeLine)
      return `${category} devices:\n${lines.join('')}`
    })
    .join('\n')
}

function typeLine({ name, bus, alias, summary }: DeviceType): string {
  const known = alias === undefined ? '' : `, alias "${alias}"`
  const said = summary === undefined ? '' : `, desc "${summary}"`
  return `name "${name}", bus ${bus}${known}${said}\n`
}

/** Every property of a model, in the order of letters. */
export function propertiesOf(type: DeviceType): string[] {
  const disk = type.disk === undefined ? [] : DISK_PROPERTIES
  return [...new Set([...BUS_PROPERTIES[type.bus], ...disk, ...type.properties])].sort()
}
