/** The machines of each architecture, by QEMU's names, with the buses that they are born with. */
import type { BusType } from './device_types'

export interface BusDescription {
  readonly name: string
  readonly type: BusType
  readonly allowsHotplug: boolean
  /** How many devices it takes. */
  readonly slots: number
}

export interface MachineType {
  readonly name: string
  readonly alias?: string
  readonly summary: string
  readonly isDefault: boolean
  /** What `-drive` without `if` means. */
  readonly driveInterface: 'ide' | 'virtio' | 'none'
  readonly cpusMax: number
  readonly buses: readonly BusDescription[]
}

export const SLOTS_MANY = 255
const pci = (name: string): BusDescription => ({ name, type: 'PCI', allowsHotplug: true, slots: 32 })
const ide = (index: number, slots: number): BusDescription => ({
  ...{ name: `ide.${index}`, type: 'IDE', allowsHotplug: false, slots },
})
const FLOPPY: BusDescription = { name: 'floppy-bus.0', type: 'floppy-bus', allowsHotplug: false, slots: 2 }

const NONE: MachineType = {
  ...{ name: 'none', summary: 'empty machine', isDefault: false, driveInterface: 'none', cpusMax: 1, buses: [] },
}
const PC: MachineType = {
  name: 'pc-i440fx-11.0',
  alias: 'pc',
  summary: 'Standard PC (i440FX + PIIX, 1996)',
  isDefault: true,
  driveInterface: 'ide',
  cpusMax: 255,
  buses: [pci('pci.0'), ide(0, 2), ide(1, 2), FLOPPY],
}
const Q35: MachineType = {
  name: 'pc-q35-11.0',
  alias: 'q35',
  summary: 'Standard PC (Q35 + ICH9, 2009)',
  isDefault: false,
  driveInterface: 'ide',
  cpusMax: 4096,
  buses: [pci('pcie.0'), ...[0, 1, 2, 3, 4, 5].map((index) => ide(index, 1))],
}
const VIRT: MachineType = {
  name: 'virt',
  summary: 'VirtIO board',
  isDefault: false,
  driveInterface: 'virtio',
  cpusMax: 512,
  buses: [
    pci('pcie.0'),
    ...[7, 6, 5, 4, 3, 2, 1, 0].map(
      (index): BusDescription => ({ name: `virtio-mmio-bus.${index}`, type: 'virtio-bus', allowsHotplug: false, slots: 1 }),
    ),
  ],
}

const BY_ARCHITECTURE: Readonly<Record<string, readonly MachineType[]>> = {
  x86_64: [PC, Q35, NONE],
  i386: [PC, Q35, NONE],
  riscv64: [NONE, { ...VIRT, summary: 'RISC-V VirtIO board' }],
  riscv32: [NONE, { ...VIRT, summary: 'RISC-V VirtIO board' }],
}

/** Other architectures have the empty machine. */
export function machinesOf(architecture: string): readonly MachineType[] {
  return BY_ARCHITECTURE[architecture] ?? [NONE]
}

export function findMachineType(architecture: string, name: string): MachineType | null {
  return machinesOf(architecture).find((type) => type.name === name || type.alias === name) ?? null
}

/** What `-machine help` prints. */
export function machineHelp(architecture: string): string {
  let text = 'Supported machines are:\n'
  for (const { name, alias, summary, isDefault } of machinesOf(architecture)) {
    if (alias !== undefined) text += `${alias.padEnd(20)} ${summary} (alias of ${name})\n`
    text += `${name.padEnd(20)} ${summary}${isDefault ? ' (default)' : ''}\n`
  }
  return text
}
