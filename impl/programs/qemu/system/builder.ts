/**
 * From the command line to a machine: objects, character devices and monitors first, then nodes and drives, then devices, each
 * kind in the order of the command line.
 *
 * What may fail: every option, as one line with the option in front, and ToolExit.
 */
import * as fs from 'node:fs'
import { BlockError } from '../../../block'
import { addBlockdev, Options, parseJsonOrKeyval, parseQemuOpts } from '../../../blockdev'
import { assert, type Co, SteppedClock, strerror } from '../../../co'
import { errnoOf } from '../../../host'
import { type JsonObject, jsonObject } from '../../../json'
import { findDeviceType, propertiesOf } from '../../../monitor/machine/device_types'
import { addDevice } from '../../../monitor/machine/devices'
import type { Drive } from '../../../monitor/machine/drive'
import { addDrive, asksForFormats, formatsText } from '../../../monitor/machine/drives'
import type { Machine } from '../../../monitor/machine/machine'
import { checkObject } from '../../../qapi'
import type { QmpHost } from '../qmp_host'
import { type Tool, ToolExit } from '../tool'
import { applySettings, type GivenOption } from './command_line'
import { compatOptions } from './compat_chardev'
import { QtestSession } from './qtest'

/** Short forms of `-drive`. */
const DISKS: Readonly<Record<string, string>> = {
  hda: 'index=0,media=disk',
  hdb: 'index=1,media=disk',
  hdc: 'index=2,media=disk',
  hdd: 'index=3,media=disk',
  cdrom: 'index=2,media=cdrom',
  fda: 'if=floppy,index=0',
  fdb: 'if=floppy,index=1',
}
const PHASES: ReadonlyArray<readonly string[]> = [
  ['add-fd', 'snapshot', 'global'],
  ['object', 'name'],
  ['chardev'],
  ['mon', 'monitor', 'qmp', 'qmp-pretty', 'qtest', 'serial', 'parallel', 'display', 'trace'],
  ['blockdev'],
  ['drive', ...Object.keys(DISKS)],
]

export class Builder {
  private readonly tool: Tool
  private readonly host: QmpHost
  private readonly machine: Machine
  private compatMonitors = 0
  /** Drives that the machine connects to devices by itself, with the option that each comes from. */
  private readonly automatic: Array<{ drive: Drive; text: string }> = []
  private qtestLog: string | null = null

  constructor(tool: Tool, host: QmpHost, machine: Machine) {
    this.tool = tool
    this.host = host
    this.machine = machine
  }

  *follow(given: readonly GivenOption[]): Co<void> {
    const options = applySettings(this.tool, given)
    this.qtestLog = options.find(({ name }) => name === 'qtest-log')?.value ?? null
    for (const names of PHASES) {
      for (const option of options) if (names.includes(option.name)) yield* this.guarded(option.text, () => this.take(option))
    }
    if (!options.some(({ name }) => name === 'nodefaults')) yield* this.addDefaultDrives()
    yield* this.connectAll(({ interface: kind }) => kind !== 'virtio')
    for (const option of options) {
      if (option.name === 'device') yield* this.guarded(option.text, () => this.addDevice(option.value))
    }
    yield* this.connectAll(({ interface: kind }) => kind === 'virtio')
  }

  /** An option that cannot be followed ends the program. Throws ToolExit. */
  private *guarded(text: string, body: () => Co<void>): Co<void> {
    try {
      yield* body()
    } catch (error) {
      this.tool.failWith(error, `${text}: `)
    }
  }

  private *take({ name, value, text }: GivenOption): Co<void> {
    switch (name) {
      case 'object':
        this.addObject(value)
        return
      case 'add-fd':
        this.addDescriptor(value)
        return
      case 'snapshot':
        this.machine.usesTemporaryLayers = true
        return
      case 'global':
        this.addGlobal(value)
        return
      case 'name':
        this.setName(value)
        return
      case 'chardev':
        yield* this.addChardev(value)
        return
      case 'mon':
        this.addMonitor(value)
        return
      case 'monitor':
      case 'qmp':
      case 'qmp-pretty':
        yield* this.addCompatMonitor(name, value)
        return
      case 'qtest':
        yield* this.addQtest(value)
        return
      case 'blockdev':
        yield* addBlockdev(this.tool.context, this.checked('BlockdevOptions', value, 'driver'))
        return
      case 'drive':
        yield* this.addDrive(value, text, null)
        return
      default:
        if (Object.hasOwn(DISKS, name)) yield* this.addDrive(DISKS[name]!, text, value)
        else this.check(name, value)
    }
  }

  /** What only some values are taken of. Throws BlockError. */
  private check(name: string, value: string): void {
    const [first = ''] = value.split(',')
    if (name === 'serial' || name === 'parallel') {
      if (first !== 'none' && first !== 'null')
        throw new BlockError('no processor writes there: only none and null are supported')
    } else if (name === 'display') {
      const known = ['gtk', 'sdl', 'curses', 'vnc', 'egl-headless', 'cocoa', 'spice-app', 'dbus', 'default']
      if (known.includes(first)) throw new BlockError(`Display '${first}' is not available`)
      if (first !== 'none') throw new BlockError(`Parameter 'type' does not accept value '${first}'`)
    } else if (name === 'trace') {
      const { options } = parseQemuOpts(value, 'enable')
      const pattern = options.takeString('enable')
      if (pattern !== undefined && !pattern.includes('*')) {
        this.tool.complain(`-trace ${value}: warning: trace event '${pattern}' does not exist`)
      }
    } else throw new BlockError('not supported')
  }

  private checked(type: string, text: string, implied: string | null): JsonObject {
    const { tree, isText } = parseJsonOrKeyval(text, implied)
    return checkObject(this.host.dispatcher.schema, type, tree, isText ? 'keyval' : 'json')
  }

  private addObject(text: string): void {
    if (text === 'help' || text === '?') {
      const type = this.host.dispatcher.schema.type('ObjectType')
      const names = type?.kind === 'enum' ? type.values : []
      this.tool.print(`List of user creatable objects:\n${names.map((name) => `  ${name}\n`).join('')}`)
      throw new ToolExit(0)
    }
    this.host.environment.objects.add(this.checked('ObjectOptions', text, 'qom-type'))
  }

  private addDescriptor(text: string): void {
    const { options } = parseQemuOpts(text, null)
    const descriptor = options.takeNumber('fd') ?? -1
    const set = options.takeNumber('set') ?? -1
    const opaque = options.takeString('opaque') ?? null
    demandAllTaken(options)
    this.tool.files.fdSets.add(descriptor, set, opaque)
  }

  /** `MODEL.PROPERTY=VALUE`, or the three as options. Throws BlockError. */
  private addGlobal(text: string): void {
    const [, short, shortProperty, shortValue] = /^([^.=]+)\.([^=]+)=(.*)$/s.exec(text) ?? []
    const { options } = parseQemuOpts(short === undefined ? text : '', null)
    const model = short ?? options.takeString('driver')
    const property = shortProperty ?? options.takeString('property')
    const value = shortValue ?? options.takeString('value')
    demandAllTaken(options)
    if (model === undefined || property === undefined || value === undefined) {
      throw new BlockError("options 'driver', 'property', and 'value' are required")
    }
    if (findDeviceType(model) === null) this.tool.complain(`warning: global ${model}.${property} has invalid class name`)
    else this.machine.globals.push({ model, property, value })
  }

  private setName(text: string): void {
    const { options } = parseQemuOpts(text, 'guest')
    this.machine.name = options.takeString('guest') ?? null
    for (const name of ['process', 'debug-threads']) options.takeString(name)
    demandAllTaken(options)
  }

  private *addChardev(text: string): Co<void> {
    const { id, options } = parseQemuOpts(text, 'backend')
    yield* this.host.chardevs.add(id, options)
  }

  private addMonitor(text: string): void {
    const { options } = parseQemuOpts(text, 'chardev')
    const chardev = options.takeString('chardev')
    const mode = options.takeChoice('mode', ['readline', 'control'] as const) ?? 'readline'
    const isPretty = options.takeFlag('pretty') ?? false
    demandAllTaken(options)
    if (chardev === undefined) throw new BlockError("Parameter 'chardev' is missing")
    this.openMonitor(chardev, mode === 'control', isPretty)
  }
  private openMonitor(chardev: string, isControl: boolean, isPretty: boolean): void {
    if (isControl) this.host.addMonitor(chardev, isPretty)
    else if (isPretty) throw new BlockError("'pretty' is not compatible with HMP monitors")
    else this.host.addHumanMonitor(chardev)
  }

  private *addCompatMonitor(name: string, value: string): Co<void> {
    let label: string | null
    try {
      label = yield* this.compatChardev(value, () => `compat_monitor${this.compatMonitors++}`)
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
      this.tool.complainOf(error, `-${name} ${value}: `)
      throw new BlockError(`parse error: ${value}`)
    }
    if (label !== null) this.openMonitor(label, name !== 'monitor', name === 'qmp-pretty')
  }
  /** The id of the device that a short form means, or null: none. */
  private *compatChardev(value: string, newLabel: () => string): Co<string | null> {
    if (value.startsWith('chardev:')) return value.slice('chardev:'.length)
    const options = compatOptions(value)
    if (options === null) return null
    const label = newLabel()
    yield* this.host.chardevs.add(label, options)
    return label
  }

  private *addQtest(value: string): Co<void> {
    const { clock } = this.machine
    if (!(clock instanceof SteppedClock)) throw new BlockError('the clock runs by itself: use -accel qtest')
    const label = yield* this.compatChardev(value, () => 'qtest')
    if (label === null) return
    const { kernel, terminals } = this.tool
    const log = this.openQtestLog(terminals.err)
    this.host.serveSessions(label, (stream) => new QtestSession({ kernel, clock, stream, log }))
  }
  private openQtestLog(standard: { write(text: string): void }): (text: string) => void {
    const file = this.qtestLog
    if (file === 'none') return () => {}
    if (file === null) return (text) => standard.write(text)
    try {
      const descriptor = fs.openSync(file, 'w')
      return (text) => fs.writeSync(descriptor, text)
    } catch (error) {
      throw new BlockError(`Could not open '${file}': ${strerror(errnoOf(error))}`)
    }
  }

  private *addDrive(description: string, text: string, filename: string | null): Co<void> {
    const { id, options } = parseQemuOpts(description, 'file', (warning) => this.tool.complain(`${text}: warning: ${warning}`))
    if (filename !== null) options.set('file', filename)
    if (asksForFormats(options)) {
      this.tool.print(formatsText())
      throw new ToolExit(0)
    }
    const warn = (warning: string): void => this.tool.complain(`${text}: warning: ${warning}`)
    const drive = yield* addDrive(this.machine, id, options, this.machine.type.driveInterface, warn)
    if (drive.interface !== 'none') this.automatic.push({ drive, text })
  }

  /** What a PC has without being asked. */
  private *addDefaultDrives(): Co<void> {
    const { machine } = this
    if (machine.type.alias !== 'pc') return
    const has = (kind: string, index: number): boolean =>
      [...machine.drives.values()].some((drive) => drive.interface === kind && drive.bus * 2 + drive.unit === index)
    if (!has('ide', 2)) yield* this.addDrive('if=ide,index=2,media=cdrom', 'default CD-ROM', null)
    if (!has('floppy', 0)) yield* this.addDrive('if=floppy,index=0', 'default floppy', null)
    if (has('sd', 0)) return
    // It has no place to go, and nobody complains.
    yield* addDrive(machine, null, new Options([['index', '0']]), 'sd', () => {})
  }

  private *connectAll(isMeant: (drive: Drive) => boolean): Co<void> {
    for (const { drive, text } of this.automatic) if (isMeant(drive)) yield* this.guarded(text, () => this.connect(drive))
  }

  /** The device that a drive of an interface means. Throws BlockError. */
  private *connect(drive: Drive): Co<void> {
    const { machine } = this
    const { id, bus, unit, isCd } = drive
    const kind = drive.interface
    const args: JsonObject = jsonObject({ drive: id })
    if (kind === 'virtio') args.set('driver', 'virtio-blk')
    else if (kind === 'floppy') {
      if (!machine.buses.some(({ type }) => type === 'floppy-bus')) throw orphan(drive)
      args.set('driver', 'floppy')
    } else if (kind === 'ide') {
      const name = machine.type.alias === 'q35' ? `ide.${bus * 2 + unit}` : `ide.${bus}`
      if (!machine.buses.some((each) => each.name === name)) throw orphan(drive)
      args.set('driver', isCd ? 'ide-cd' : 'ide-hd')
      args.set('bus', name)
    } else throw orphan(drive)
    yield* addDevice(machine, args, { isBuiltIn: kind !== 'virtio' })
    assert(drive.state.device !== null, 'drive-connected', () => id)
  }

  private *addDevice(text: string): Co<void> {
    let args: JsonObject
    if (text.startsWith('{')) args = parseJsonOrKeyval(text, null).tree
    else {
      const { id, options, isHelp } = parseQemuOpts(text, 'driver')
      const type = findDeviceType(String(options.get('driver') ?? ''))
      if (isHelp && type !== null) {
        const lines = propertiesOf(type).map((name) => `  ${name}=<...>\n`)
        this.tool.print(`${type.name} options:\n${lines.join('')}`)
        throw new ToolExit(0)
      }
      args = new Map(options.entries())
      if (id !== null) args.set('id', id)
    }
    yield* addDevice(this.machine, args)
  }
}

function demandAllTaken(options: Options): void {
  const left = options.firstLeft()
  if (left !== null) throw new BlockError(`Invalid parameter '${left}'`)
}

function orphan({ interface: kind, bus, unit }: Drive): BlockError {
  return new BlockError(`machine type does not support if=${kind},bus=${bus},unit=${unit}`)
}
