/** Commands of the human monitor for the machine as a whole. */
import { BlockError } from '../../block'
import { parseQemuOpts } from '../../blockdev'
import { type JsonObject, jsonObject } from '../../json'
import { deviceHelp } from '../machine/device_types'
import { machineOf } from '../machine/machine_of'
import { deleteMachineSnapshot, loadMachine, saveMachine } from '../machine/vm_snapshots'
import { type HumanCommand, optional, word } from './command'

function simple(names: readonly string[], summary: string, target: string): HumanCommand {
  return {
    ...{ names, arguments: [], usage: '', summary },
    *run(environment) {
      yield* environment.invoke(target, new Map())
    },
  }
}

export const MACHINE_HUMAN_COMMANDS: readonly HumanCommand[] = [
  simple(['quit', 'q'], 'quit the emulator', 'quit'),
  simple(['stop', 's'], 'stop emulation', 'stop'),
  simple(['cont', 'c'], 'resume emulation', 'cont'),
  simple(['system_reset'], 'reset the system', 'system_reset'),
  simple(['system_powerdown'], 'send system power down event', 'system_powerdown'),
  {
    names: ['device_add'],
    arguments: [{ name: 'device', kind: 'rest' }],
    usage: 'driver[,prop=value][,...]',
    summary: 'add device, like -device on the command line',
    *run(environment, values, say) {
      const { id, options, isHelp } = parseQemuOpts(String(values.get('device') ?? ''), 'driver', () => {})
      if (isHelp || options.get('driver') === 'help' || options.get('driver') === '?') {
        say(deviceHelp())
        return
      }
      if (!options.has('driver')) throw new BlockError("Parameter 'driver' is missing")
      const args: JsonObject = new Map(options.entries())
      if (id !== null) args.set('id', id)
      yield* environment.invoke('device_add', args)
    },
  },
  {
    names: ['device_del'],
    arguments: [word('id')],
    usage: 'device',
    summary: 'remove device',
    *run(environment, values) {
      yield* environment.invoke('device_del', jsonObject({ id: String(values.get('id')) }))
    },
  },
  {
    names: ['getfd'],
    arguments: [word('fdname')],
    usage: 'getfd name',
    summary: 'receive a file descriptor via SCM rights and assign it a name',
    *run(environment, values) {
      yield* environment.invoke('getfd', jsonObject({ fdname: String(values.get('fdname')) }))
    },
  },
  {
    names: ['closefd'],
    arguments: [word('fdname')],
    usage: 'closefd name',
    summary: 'close a file descriptor previously passed via SCM rights',
    *run(environment, values) {
      yield* environment.invoke('closefd', jsonObject({ fdname: String(values.get('fdname')) }))
    },
  },
  {
    names: ['savevm'],
    arguments: [optional(word('name'))],
    usage: 'tag',
    summary: 'save a VM snapshot. If no tag is provided, a new snapshot is created',
    *run(environment, values) {
      yield* saveMachine(machineOf(environment), values.has('name') ? String(values.get('name')) : null)
    },
  },
  {
    names: ['loadvm'],
    arguments: [word('name')],
    usage: 'tag',
    summary: 'restore a VM snapshot from its tag',
    *run(environment, values) {
      yield* loadMachine(machineOf(environment), String(values.get('name')))
    },
  },
  {
    names: ['delvm'],
    arguments: [word('name')],
    usage: 'tag',
    summary: 'delete a VM snapshot from its tag',
    *run(environment, values) {
      yield* deleteMachineSnapshot(machineOf(environment), String(values.get('name')))
    },
  },
]
