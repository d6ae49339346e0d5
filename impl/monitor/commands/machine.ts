/** The machine as a whole: whether it runs, its devices, what it is. */
import { activateAll } from '../../block/activation'
import type { JsonValue } from '../../json'
import { jsonObject } from '../../json'
import type { CommandTable } from '../command'
import { runHumanCommand } from '../hmp/run'
import { addDevice, removeLeaving, requestRemoval } from '../machine/devices'
import { machineOf } from '../machine/machine_of'
import { machinesOf } from '../machine/machine_types'

const NO_UUID = '00000000-0000-0000-0000-000000000000'

export const MACHINE_COMMANDS: CommandTable = {
  *'query-status'(environment) {
    const { isRunning, status } = machineOf(environment).runState
    return jsonObject({ running: isRunning, status })
  },
  *stop(environment) {
    const { runState, migration } = machineOf(environment)
    if (runState.status === 'inmigrate') migration.startsOnArrival = false
    runState.stop()
    return undefined
  },
  *cont(environment) {
    const { runState, migration } = machineOf(environment)
    if (runState.status === 'inmigrate') migration.startsOnArrival = true
    else {
      // What was given away comes back, if the other program has let it go.
      yield* activateAll(environment.graph)
      runState.resume()
    }
    return undefined
  },
  *system_reset(environment) {
    const machine = machineOf(environment)
    environment.events.emit('RESET', { guest: false, reason: 'host-qmp-system-reset' })
    yield* removeLeaving(machine)
    return undefined
  },
  *system_powerdown(environment) {
    // Nobody in there hears it.
    environment.events.emit('POWERDOWN')
    return undefined
  },
  *'query-name'(environment) {
    const { name } = machineOf(environment)
    return jsonObject({ name: name ?? undefined })
  },
  *'query-uuid'() {
    return jsonObject({ UUID: NO_UUID })
  },
  *'query-target'(environment) {
    return jsonObject({ arch: machineOf(environment).architecture })
  },
  *'query-current-machine'() {
    return jsonObject({ 'wakeup-suspend-support': false })
  },
  *'query-machines'(environment) {
    return machinesOf(machineOf(environment).architecture).map(
      (type): JsonValue =>
        jsonObject({
          name: type.name,
          alias: type.alias,
          'is-default': type.isDefault ? true : undefined,
          'cpu-max': type.cpusMax,
          'hotpluggable-cpus': false,
          'numa-mem-supported': false,
          deprecated: false,
          acpi: false,
        }),
    )
  },
  *device_add(environment, args) {
    yield* addDevice(machineOf(environment), args.object)
    return undefined
  },
  *device_del(environment, args) {
    yield* requestRemoval(machineOf(environment), args.string('id'))
    return undefined
  },
  *'human-monitor-command'(environment, args) {
    return yield* runHumanCommand(environment, args.string('command-line'))
  },
}
