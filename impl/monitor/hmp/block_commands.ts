/** Commands of the human monitor for drives, nodes and their media. */
import { BlockBackend, BlockError, type BlockNode, Permission } from '../../block'
import { addBlockdev, parseQemuOpts } from '../../blockdev'
import { type Co, ENOMEDIUM, type Errno, OK, strerror } from '../../co'
import { IoSession } from '../../io'
import { commitDown } from '../../jobs'
import { type JsonObject, jsonObject } from '../../json'
import type { QmpEnvironment } from '../environment'
import { DRIVE_INTERFACES } from '../machine/drive'
import { addDrive, asksForFormats, deleteDrive, formatsText, removeDrive } from '../machine/drives'
import { machineOf } from '../machine/machine_of'
import { findDeviceBackend } from '../machine/media'
import { device, errorText, flag, type HumanCommand, type HumanValues, optional, word } from './command'

const text = (values: HumanValues, name: string): string => String(values.get(name) ?? '')
const has = (values: HumanValues, name: string): boolean => values.get(name) === true

/** Sessions of backends that stay: what runs beside the monitor is told by them. */
const sessions = new WeakMap<BlockBackend, IoSession>()

function newSession(environment: QmpEnvironment, say: (text: string) => void): IoSession {
  const { kernel, io } = environment
  return new IoSession(kernel, { ...io.host, report: (line) => say(`${line}\n`) }, io.commands, true)
}

function* qemuIo(environment: QmpEnvironment, values: HumanValues, say: (text: string) => void): Co<void> {
  const name = text(values, 'device')
  const machine = machineOf(environment)
  const backend = has(values, 'qdev')
    ? findDeviceBackend(machine, name).backend
    : (machine.drives.get(name)?.state.backend ?? null)
  if (backend === null) {
    yield* qemuIoOnNode(environment, findNodeOf(environment, name), text(values, 'command'), say)
    return
  }
  const session = sessions.get(backend) ?? newSession(environment, say)
  sessions.set(backend, session)
  session.host.report = (line) => say(`${line}\n`)
  session.backend = backend
  yield* session.execute(text(values, 'command'))
}

function findNodeOf({ graph }: QmpEnvironment, name: string): BlockNode {
  const node = graph.findNode(name)
  if (node === null) throw new BlockError(`Cannot find device='' nor node-name='${name}'`)
  return node
}

/** A node has no user of its own for that: one comes for the command, and goes when all is done. */
function* qemuIoOnNode(environment: QmpEnvironment, node: BlockNode, command: string, say: (text: string) => void): Co<void> {
  const { graph } = environment
  const backend = new BlockBackend(graph, '')
  backend.attach(node, Permission.None, Permission.All)
  const session = newSession(environment, say)
  session.backend = backend
  yield* session.execute(command)
  yield* session.settle()
  const held = backend.root?.node ?? null
  backend.dispose()
  if (held !== null) yield* graph.release(held)
}

function* driveAdd(environment: QmpEnvironment, values: HumanValues, say: (text: string) => void): Co<void> {
  const given = text(values, 'opts')
  if (has(values, 'node')) {
    yield* nodeAdd(environment, given, say)
    return
  }
  const machine = machineOf(environment)
  try {
    const { id, options } = parseQemuOpts(given, null, () => {})
    if (asksForFormats(options)) {
      say(formatsText())
      return
    }
    const defaultInterface = machine.type.driveInterface
    const drive = yield* addDrive(machine, id, options, defaultInterface, (warning) => say(`warning: ${warning}\n`))
    if (drive.interface !== 'none') {
      yield* removeDrive(machine, drive)
      say(`Can't hot-add drive to type ${DRIVE_INTERFACES.indexOf(drive.interface)}\n`)
      return
    }
    say('OK\n')
  } catch (error) {
    sayPlainly(error, say)
  }
}

function* nodeAdd(environment: QmpEnvironment, given: string, say: (text: string) => void): Co<void> {
  try {
    const { options } = parseQemuOpts(given, null, () => {})
    if (!options.has('node-name')) throw new BlockError("'node-name' needs to be specified")
    yield* addBlockdev(environment.context, new Map(options.entries()))
  } catch (error) {
    sayPlainly(error, say)
  }
}

/** Errors that QEMU reports without a word in front. */
function sayPlainly(error: unknown, say: (text: string) => void): void {
  if (!(error instanceof BlockError)) throw error
  say(errorText(error))
}

function* commit(environment: QmpEnvironment, values: HumanValues, say: (text: string) => void): Co<void> {
  const { drives } = machineOf(environment)
  const name = text(values, 'device')
  if (name === 'all') {
    for (const { state } of drives.values()) {
      const node = state.backend.root?.node ?? null
      if (node !== null && node.skipFilters().backing !== null) yield* commitOne(environment, state.backend)
    }
    return
  }
  const drive = drives.get(name)
  if (drive === undefined) {
    say(`Device '${name}' not found\n`)
    return
  }
  const node = drive.state.backend.root?.node ?? null
  if (node === null) {
    say(`Device '${name}' has no medium\n`)
    return
  }
  const errno = yield* commitOne(environment, drive.state.backend)
  if (errno !== OK) say(`'commit' error for '${name}': ${strerror(errno)}\n`)
}

/** Its user sees no change by it, so what the user forbids others does not count meanwhile. */
function* commitOne({ graph }: QmpEnvironment, backend: BlockBackend): Co<Errno> {
  const { root } = backend
  if (root === null) return ENOMEDIUM
  const { permission, shared } = root
  try {
    backend.setPermissions(permission, Permission.All)
    try {
      return yield* commitDown(graph, root.node)
    } finally {
      backend.setPermissions(permission, shared)
    }
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
    return error.errno
  }
}

/** What only passes its arguments on. */
function passing(
  names: readonly string[],
  args: HumanCommand['arguments'],
  usage: string,
  summary: string,
  target: string,
  make: (values: HumanValues) => JsonObject,
): HumanCommand {
  return {
    ...{ names, arguments: args, usage, summary },
    *run(environment, values) {
      yield* environment.invoke(target, make(values))
    },
  }
}

const LIMITS = ['bps', 'bps_rd', 'bps_wr', 'iops', 'iops_rd', 'iops_wr'] as const

export const BLOCK_HUMAN_COMMANDS: readonly HumanCommand[] = [
  {
    names: ['qemu-io'],
    arguments: [flag('d', 'qdev'), device(), word('command')],
    usage: '[-d] [device] "[command]"',
    summary: 'run a qemu-io command on a block device\n\t\t\t-d: [device] is a device ID rather than a drive ID or node name',
    run: qemuIo,
  },
  {
    names: ['drive_add'],
    arguments: [flag('n', 'node'), word('pci_addr'), word('opts')],
    usage:
      '[-n] [[<domain>:]<bus>:]<slot>\n[file=file][,if=type][,bus=n]\n[,unit=m][,media=d][,index=i]\n[,snapshot=on|off][,cache=on|off]\n[,readonly=on|off][,copy-on-read=on|off]',
    summary: 'add drive to PCI storage controller',
    run: driveAdd,
  },
  {
    names: ['drive_del'],
    arguments: [device('id')],
    usage: 'device',
    summary: 'remove host block device',
    *run(environment, values, say) {
      const id = text(values, 'id')
      try {
        const machine = machineOf(environment)
        if (!machine.drives.has(id) && environment.graph.findNode(id) !== null) {
          yield* environment.invoke('blockdev-del', jsonObject({ 'node-name': id }))
        } else yield* deleteDrive(machine, id)
      } catch (error) {
        sayPlainly(error, say)
      }
    },
  },
  {
    names: ['commit'],
    arguments: [device()],
    usage: 'device|all',
    summary: 'commit changes to the disk images (if -snapshot is used) or backing files',
    run: commit,
  },
  passing(
    ['block_resize'],
    [device(), { name: 'size', kind: 'size' }],
    'device size',
    'resize a block image',
    'block_resize',
    (values) => jsonObject({ device: text(values, 'device'), size: Number(values.get('size')) }),
  ),
  passing(
    ['eject'],
    [flag('f', 'force'), device()],
    '[-f] device',
    'eject a removable medium (use -f to force it)',
    'eject',
    (values) => jsonObject({ device: text(values, 'device'), force: has(values, 'force') }),
  ),
  {
    names: ['change'],
    arguments: [
      device(),
      flag('f', 'force'),
      { name: 'target', kind: 'filename' },
      optional(word('format')),
      optional(word('mode')),
    ],
    usage: 'device [-f] filename [format [read-only-mode]]',
    summary: 'change a removable medium, optional format',
    *run(environment, values) {
      const args = {
        device: text(values, 'device'),
        filename: text(values, 'target'),
        format: values.get('format') as string | undefined,
        'read-only-mode': values.get('mode') as string | undefined,
        force: has(values, 'force'),
      }
      yield* environment.invoke('blockdev-change-medium', jsonObject(args))
    },
  },
  passing(
    ['block_set_io_throttle'],
    [device(), ...LIMITS.map((name) => ({ name, kind: 'integer' }) as const)],
    'device bps bps_rd bps_wr iops iops_rd iops_wr',
    'change I/O throttle limits for a block drive',
    'block_set_io_throttle',
    (values) =>
      jsonObject({
        device: text(values, 'device'),
        ...Object.fromEntries(LIMITS.map((name) => [name, Number(values.get(name))])),
      }),
  ),
  {
    names: ['snapshot_blkdev'],
    arguments: [flag('n', 'reuse'), device(), optional(word('file')), optional(word('format'))],
    usage: '[-n] device [new-image-file] [format]',
    summary: 'initiates a live snapshot of device',
    *run(environment, values) {
      const file = values.get('file')
      if (file === undefined) throw new BlockError("Parameter 'snapshot-file' is missing")
      const args = {
        device: text(values, 'device'),
        'snapshot-file': String(file),
        format: String(values.get('format') ?? 'qcow2'),
        mode: has(values, 'reuse') ? 'existing' : 'absolute-paths',
      }
      yield* environment.invoke('blockdev-snapshot-sync', jsonObject(args))
    },
  },
  passing(
    ['snapshot_blkdev_internal'],
    [device(), word('name')],
    'device name',
    'take an internal snapshot of device',
    'blockdev-snapshot-internal-sync',
    (values) => jsonObject({ device: text(values, 'device'), name: text(values, 'name') }),
  ),
  passing(
    ['snapshot_delete_blkdev_internal'],
    [device(), word('name'), optional(word('id'))],
    'device name [id]',
    'delete an internal snapshot of device',
    'blockdev-snapshot-delete-internal-sync',
    (values) =>
      jsonObject({ device: text(values, 'device'), name: text(values, 'name'), id: values.get('id') as string | undefined }),
  ),
]
