/**
 * The program qemu-system-ARCHITECTURE, without a processor: block devices, monitors and jobs as tests and tools drive them with
 * `-accel qtest` or `-machine none`.
 *
 * Exit codes: 0 after `quit` or a signal; 1 if an option could not be followed.
 */
import * as fs from 'node:fs'
import { type Co, OK, SteppedClock } from '../../../co'
import { SYSTEM_COMMANDS } from '../../../monitor'
import { deviceHelp } from '../../../monitor/machine/device_types'
import { formatsText } from '../../../monitor/machine/drives'
import { Machine } from '../../../monitor/machine/machine'
import { findMachineType, type MachineType, machineHelp, machinesOf } from '../../../monitor/machine/machine_types'
import { loadMachine } from '../../../monitor/machine/vm_snapshots'
import { VERSION } from '../../version'
import { becomeDaemon, isDaemon, startDaemon } from '../daemon'
import { writePidFile } from '../pid_file'
import { QmpHost } from '../qmp_host'
import { standardTerminals } from '../terminal'
import { Tool, ToolExit } from '../tool'
import { Builder } from './builder'
import { type GivenOption, parseCommandLine } from './command_line'
import { SYSTEM_USAGE } from './usage'

const SIGNAL_NUMBERS: Readonly<Record<string, number>> = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 }

class SystemProgram {
  private readonly tool: Tool
  private readonly host: QmpHost
  private readonly architecture: string

  constructor(name: string) {
    this.tool = new Tool(name, standardTerminals())
    this.architecture = name.replace(/^qemu-system-/, '')
    // The end is told before the answer; what runs is stopped after it.
    this.host = new QmpHost(this.tool, SYSTEM_COMMANDS, function* ({ environment }) {
      environment.events.emit('SHUTDOWN', { guest: false, reason: 'host-qmp-quit' })
    })
    this.host.onSignal = (signal) => {
      this.tool.complain(`terminating on signal ${SIGNAL_NUMBERS[signal] ?? signal}`)
      this.host.environment.events.emit('SHUTDOWN', { guest: false, reason: 'host-signal' })
    }
  }

  async main(args: readonly string[]): Promise<number> {
    const { tool } = this
    let isInFront = false
    const self = this
    const code = await tool.run(function* () {
      const options = parseCommandLine(tool, args)
      if (self.tellIfAsked(options)) return OK
      isInFront = options.some(({ name }) => name === 'daemonize') && !isDaemon()
      return isInFront ? OK : yield* self.serve(options)
    })
    return isInFront && code === OK ? await startDaemon() : code
  }

  /** True if only a text was wanted. */
  private tellIfAsked(options: readonly GivenOption[]): boolean {
    const { tool } = this
    const asksHelp = (value: string): boolean => value === 'help' || value === '?'
    for (const { name, value } of options) {
      if (name === 'help' || name === 'h') tool.print(SYSTEM_USAGE.replaceAll('NAME', tool.name))
      else if (name === 'version') {
        tool.print(`QEMU emulator version 11.0.0 (mirrorsim ${VERSION})\nCopyright (c) the mirrorsim authors\n`)
      } else if (name === 'accel' && asksHelp(value)) tool.print('Accelerators supported in QEMU binary:\nqtest\n')
      else if ((name === 'machine' || name === 'M') && asksHelp(value)) tool.print(machineHelp(this.architecture))
      else if (name === 'trace' && asksHelp(value)) tool.print('')
      else continue
      return true
    }
    // Where scripts probe they name no accelerator.
    for (const { name, value } of options) {
      if (name === 'device' && asksHelp(value.split(',')[0]!)) tool.print(deviceHelp())
      else if (name === 'drive' && /(^|,)format=(help|\?)(,|$)/.test(value)) tool.print(formatsText())
      else continue
      return true
    }
    return false
  }

  private *serve(options: readonly GivenOption[]): Co<number> {
    const { tool, host } = this
    applyMessageForm(tool, options)
    const machine = this.makeMachine(options)
    const pidFile = lastValue(options, 'pidfile')
    if (pidFile !== null) writePidFile(pidFile)
    try {
      // Clients are heard when everything is there.
      yield* host.dispatcher.inTurn(() => this.build(machine, options))
    } catch (error) {
      if (pidFile !== null) fs.rmSync(pidFile, { force: true })
      throw error
    }
    const mustDetach = options.some(({ name }) => name === 'daemonize')
    const isWhole = yield* host.serve(() => {
      if (mustDetach) becomeDaemon()
    })
    if (pidFile !== null) fs.rmSync(pidFile, { force: true })
    return isWhole ? host.exitCode : process.exit(1)
  }

  private *build(machine: Machine, options: readonly GivenOption[]): Co<void> {
    const builder = new Builder(this.tool, this.host, machine)
    const incoming = [...options].reverse().find(({ name }) => name === 'incoming')
    if (incoming !== undefined) this.expectArrival(machine)
    yield* builder.follow(options)
    machine.isBuilt = true
    machine.migration.complain = (text) => this.tool.complain(text)
    const state = lastValue(options, 'loadvm')
    if (state !== null) {
      try {
        yield* loadMachine(machine, state)
      } catch (error) {
        this.tool.failWith(error)
      }
    }
    const starts = !options.some(({ name }) => name === 'S')
    if (incoming !== undefined) {
      machine.migration.startsOnArrival = starts
      try {
        if (incoming.value !== 'defer') yield* machine.migration.expect(incoming.value)
      } catch (error) {
        this.tool.failWith(error, `${incoming.text}: `)
      }
    } else if (starts) machine.runState.resume()
  }

  /** The machine comes from another program, which has the images until then. */
  private expectArrival({ migration, runState, environment }: Machine): void {
    environment.context.opensInactive = true
    runState.become('inmigrate')
    migration.isExpected = true
    migration.onLost = (text) => {
      this.tool.complain(text)
      this.host.end(1)
    }
  }

  /** Throws ToolExit. */
  private makeMachine(options: readonly GivenOption[]): Machine {
    const { tool } = this
    const { type, accelerator } = this.chooseMachine(options)
    const isStepped = accelerator === 'qtest'
    if (!isStepped && type.name !== 'none') {
      tool.fail("no processor is emulated: use '-accel qtest' or '-machine none'")
    }
    const clock = isStepped ? new SteppedClock(tool.kernel) : tool.kernel
    if (isStepped) tool.context.throttleGroups.clock = clock
    return new Machine(this.host.environment, { architecture: this.architecture, type, clock, isStepped })
  }

  private chooseMachine(options: readonly GivenOption[]): { type: MachineType; accelerator: string | null } {
    const { tool } = this
    let type = machinesOf(this.architecture).find(({ isDefault }) => isDefault) ?? null
    let accelerator: string | null = null
    const setAccelerator = (name: string, text: string): void => {
      if (name !== 'qtest') tool.fail(`${text}: invalid accelerator ${name}`)
      accelerator = name
    }
    for (const { name, value, text } of options) {
      if (name === 'accel') {
        const [first = ''] = value.split(',')
        setAccelerator(first.replace(/^accel=/, ''), text)
      } else if (name === 'machine' || name === 'M') {
        for (const [index, part] of value.split(',').entries()) {
          const [key, given] = part.includes('=') ? (part.split('=', 2) as [string, string]) : ['type', part]
          if (key === 'type' && index === 0) {
            type = findMachineType(this.architecture, given)
            if (type === null) {
              tool.complain(`unsupported machine type: "${given}"`)
              tool.terminals.err.write('Use -machine help to list supported machines\n')
              throw new ToolExit(1)
            }
          } else if (key === 'accel') for (const each of given.split(':')) setAccelerator(each, text)
          else if (type !== null && !SILENT_PROPERTIES.has(key)) {
            tool.fail(`Property '${type.name}-machine.${key}' not found`)
          }
        }
      }
    }
    if (type === null) {
      tool.complain('No machine specified, and there is no default')
      tool.terminals.err.write('Use -machine help to list supported machines\n')
      throw new ToolExit(1)
    }
    return { type, accelerator }
  }
}

/** Properties of machines that a machine without a processor does not show. */
const SILENT_PROPERTIES = new Set(['usb', 'graphics', 'dump-guest-core', 'mem-merge', 'memory-backend', 'smm', 'vmport', 'acpi'])

function lastValue(options: readonly GivenOption[], name: string): string | null {
  return [...options].reverse().find((option) => option.name === name)?.value ?? null
}

/** `-msg timestamp=on`: the time stands before every complaint. Throws ToolExit. */
function applyMessageForm(tool: Tool, options: readonly GivenOption[]): void {
  for (const { name, value, text } of options) {
    if (name !== 'msg') continue
    for (const part of value.split(',')) {
      const [key, flag = 'on'] = part.split('=', 2) as [string, string?]
      if (key === 'guest-name') continue
      if (key !== 'timestamp') tool.fail(`${text}: Invalid parameter '${key}'`)
      if (flag === 'on') tool.messagePrefix = () => `${new Date().toISOString().replace('Z', '000Z')} `
    }
  }
}

/** Runs qemu-system-* under a name. Gives the exit code. */
export function runSystem(name: string, args: readonly string[]): Promise<number> {
  return new SystemProgram(name).main(args)
}
