/**
 * The options of qemu-system-*: which there are, which of them do something here, which change nothing that a machine without a
 * processor could show, and which are refused.
 */
import { parseQemuOpts } from '../../../blockdev'
import type { Tool } from '../tool'

export interface GivenOption {
  name: string
  value: string
  /** As complaints show it. */
  text: string
}

/** What happens to an option. `silent`: it has no effect that anybody could see here. */
type Handling = 'followed' | 'silent' | 'refused'

interface Known {
  hasValue: boolean
  handling: Handling
}

const TABLE: ReadonlyArray<readonly [handling: Handling, withValue: string, without: string]> = [
  [
    'followed',
    'machine M accel blockdev drive hda hdb hdc hdd cdrom fda fdb device object chardev mon monitor qmp qmp-pretty qtest ' +
      'serial parallel display name pidfile msg trace loadvm qtest-log set add-fd incoming global',
    'nodefaults S snapshot daemonize help h version nographic',
  ],
  [
    'silent',
    'm smp cpu vga boot rtc uuid net nic compat action sandbox k L readconfig-none watchdog-action',
    'no-user-config nodefconfig no-reboot no-shutdown no-hpet no-acpi usb',
  ],
  [
    'refused',
    'kernel initrd append dtb bios netdev drive-add fsdev virtfs tpmdev overcommit mem-path numa ' +
      'audio audiodev soundhw usbdevice spice vnc option-rom acpitable smbios icount debugcon gdb d D dfilter seed ' +
      'semihosting-config prom-env echr writeconfig readconfig fw_cfg mtdblock sd pflash iscsi xen-domid ' +
      'xen-attach chroot runas run-with device-add',
    'preconfig enable-kvm xen-domid-restrict full-screen portrait win2k-hack mem-prealloc s singlestep ' +
      'semihosting old-param win2k only-migratable enable-sync-profile dump-vmstate xen-attach',
  ],
]

const KNOWN = new Map<string, Known>()
for (const [handling, withValue, without] of TABLE) {
  for (const name of withValue.split(' ')) KNOWN.set(name, { hasValue: true, handling })
  for (const name of without.split(' ')) if (!KNOWN.has(name)) KNOWN.set(name, { hasValue: false, handling })
}

/** Throws ToolExit. */
export function parseCommandLine(tool: Tool, args: readonly string[]): GivenOption[] {
  const options: GivenOption[] = []
  for (let index = 0; index < args.length; index++) {
    const arg = args[index]!
    if (!arg.startsWith('-') || arg === '-') {
      options.push({ name: 'hda', value: arg, text: arg })
      continue
    }
    const name = arg.replace(/^--?/, '')
    const known = KNOWN.get(name)
    if (known === undefined) tool.fail(`${arg}: invalid option`)
    if (!known.hasValue) options.push({ name, value: '', text: arg })
    else {
      const value = args[++index]
      if (value === undefined) tool.fail(`${arg}: requires an argument`)
      options.push({ name, value, text: `${arg} ${value}` })
    }
    const { text } = options[options.length - 1]!
    if (known.handling === 'refused') tool.fail(`${text}: not supported`)
    if (name === 'help' || name === 'h' || name === 'version') break
  }
  return options
}

/** Whether an option changes nothing here. */
export function isSilent(name: string): boolean {
  return KNOWN.get(name)?.handling === 'silent'
}

/** Groups of options whose members have ids that `-set` can name. */
const GROUPS: ReadonlySet<string> = new Set(['drive', 'device', 'chardev', 'mon', 'netdev', 'add-fd', 'fsdev', 'tpmdev'])

/** The options with what `-set` adds to those before it. Throws ToolExit. */
export function applySettings(tool: Tool, given: readonly GivenOption[]): GivenOption[] {
  const options = given.map((option) => ({ ...option }))
  for (const [index, { name, value, text }] of given.entries()) {
    if (name !== 'set') continue
    const [, group, id, arg, wanted] = /^([^.]{1,63})\.([^.]{1,63})\.([^=]{1,63})=(.*)$/s.exec(value) ?? []
    if (group === undefined || arg === undefined) tool.fail(`${text}: can't parse: "${value}"`)
    if (!GROUPS.has(group)) tool.fail(`${text}: There is no option group '${group}'`)
    const target = options.slice(0, index).find((option) => option.name === group && idOf(option) === id)
    if (target === undefined) tool.fail(`${text}: there is no ${group} "${id}" defined`)
    target.value += `,${arg}=${(wanted ?? '').replaceAll(',', ',,')}`
  }
  return options.filter(({ name }) => name !== 'set')
}

function idOf({ value }: GivenOption): string | null {
  return value.startsWith('{') ? null : parseQemuOpts(value, '').id
}
