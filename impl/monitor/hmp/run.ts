/**
 * The human monitor, line by line. What it prints goes through `say`; what commands of qemu-io print goes to the program's
 * output, as in QEMU.
 */
import { BlockError } from '../../block'
import type { Co } from '../../co'
import type { QmpEnvironment } from '../environment'
import { BLOCK_HUMAN_COMMANDS } from './block_commands'
import { errorText, type HumanCommand } from './command'
import { INFO_COMMANDS } from './info_commands'
import { JOB_HUMAN_COMMANDS } from './job_commands'
import { MACHINE_HUMAN_COMMANDS } from './machine_commands'
import { MIGRATION_HUMAN_COMMANDS, MIGRATION_INFO } from './migration_commands'
import { HumanComplaint, parseArguments, wordAt } from './parse'

const ALL_INFO: readonly HumanCommand[] = [...INFO_COMMANDS, ...MIGRATION_INFO]

const HELP: HumanCommand = {
  names: ['help', '?'],
  arguments: [{ name: 'name', kind: 'string', isOptional: true }],
  usage: '[cmd]',
  summary: 'show the help',
  *run(_environment, values, say) {
    const wanted = values.get('name')
    if (wanted === 'info') {
      for (const command of ALL_INFO) say(helpLine(command, 'info '))
      return
    }
    for (const command of COMMANDS) {
      if (wanted === undefined || command.names.includes(String(wanted))) say(helpLine(command, ''))
    }
  },
}

/** In the order of their names. */
const COMMANDS: readonly HumanCommand[] = [
  HELP,
  ...BLOCK_HUMAN_COMMANDS,
  ...JOB_HUMAN_COMMANDS,
  ...MACHINE_HUMAN_COMMANDS,
  ...MIGRATION_HUMAN_COMMANDS,
].sort((a, b) => (a.names[0]! < b.names[0]! ? -1 : 1))

/** What QEMU's monitor has and this one has not. */
const NOT_THERE = new Set(
  (
    'boot_set calc chardev-add chardev-change chardev-remove cpu cpu_inject dump-guest-memory expire_password gdbserver ' +
    'gva2gpa hostfwd_add i log logfile mce migrate_pause ' +
    'migrate_recover mouse_button mouse_move mouse_set ' +
    'netdev_add netdev_del nmi o object_add object_del pcie_aer_inject_error pmemsave print qom-get qom-list qom-set ' +
    'ringbuf_read ringbuf_write screendump sendkey set_link set_password stopcapture sum sync-profile trace-event ' +
    'wavcapture x x-colo-lost-heartbeat xp'
  ).split(' '),
)

const INFO_NOT_THERE = new Set(
  (
    'balloon capture cpus cryptodev dirty_rate dump firmware-log history hotpluggable-cpus irq jit kvm lapic mem memdev ' +
    'memory-devices memory_size_summary mice mshv mtree numa opcount pci pic ' +
    'qdm qom-tree ramblock registers replay roms sev sgx spice stats sync-profile tlb tpm trace-events usb usbhost usernet ' +
    'vcpu_dirty_limit via virtio virtio-queue-element virtio-queue-status virtio-status virtio-vhost-queue-status vnc'
  )
    .split(' ')
    .map((name) => `info ${name}`),
)

function helpLine({ names, usage, summary }: HumanCommand, prefix: string): string {
  return `${prefix}${names.join('|')} ${usage} -- ${summary}\n`
}

function find(commands: readonly HumanCommand[], name: string): HumanCommand | null {
  return commands.find(({ names }) => names.includes(name)) ?? null
}

/** Runs one line; an empty one does nothing. */
export function* runHumanLine(environment: QmpEnvironment, line: string, say: (text: string) => void): Co<void> {
  try {
    yield* runLine(environment, line, say)
  } catch (error) {
    if (error instanceof HumanComplaint) say(`${error.message}\n`)
    else if (error instanceof BlockError) say(`Error: ${errorText(error)}`)
    else throw error
  }
}

function* runLine(environment: QmpEnvironment, line: string, say: (text: string) => void): Co<void> {
  const complain = environment.say
  const first = wordAt(line, 0, complain)
  if (first === null) return
  let name = first.text
  let { end } = first
  let command = find(COMMANDS, name)
  if (name === 'info') {
    const second = wordAt(line, end, complain)
    if (second === null) {
      for (const each of ALL_INFO) say(helpLine(each, 'info '))
      return
    }
    end = second.end
    name = `info ${second.text}`
    command = find(ALL_INFO, second.text)
  }
  if (command === null) {
    if (NOT_THERE.has(name) || INFO_NOT_THERE.has(name)) throw new BlockError(`'${name}' is not supported`)
    say(`unknown command: '${name}'\n`)
    return
  }
  yield* command.run(environment, parseArguments(command, name, line, end, complain), say)
}

/** human-monitor-command: what the command prints. */
export function* runHumanCommand(environment: QmpEnvironment, line: string): Co<string> {
  let text = ''
  yield* runHumanLine(environment, line, (part) => {
    text += part.replaceAll('\n', '\r\n')
  })
  return text
}
