/** Commands of the human monitor that move the machine to another program. */
import { type JsonObject, jsonObject } from '../../json'
import { machineOf } from '../machine/machine_of'
import { flag, type HumanCommand, word } from './command'
import { HumanComplaint } from './parse'

export const MIGRATION_HUMAN_COMMANDS: readonly HumanCommand[] = [
  {
    names: ['migrate'],
    arguments: [flag('d', 'detach'), flag('r', 'resume'), word('uri')],
    usage: '[-d] [-r] uri',
    summary: 'migrate to URI (using -d to not wait for completion)',
    *run(environment, values, say) {
      const detaches = values.get('detach') === true
      yield* environment.invoke('migrate', jsonObject({ uri: String(values.get('uri')) }))
      if (!detaches) say('terminal does not allow synchronous migration, continuing detached\n')
    },
  },
  simple('migrate_cancel', [], 'cancel the current VM migration', 'migrate_cancel'),
  simple('migrate_incoming', ['uri'], 'Continue an incoming migration from an -incoming defer', 'migrate-incoming'),
  simple('migrate_continue', ['state'], 'Continue migration from the given paused state', 'migrate-continue'),
  simple('migrate_start_postcopy', [], 'switch migration to postcopy mode', 'migrate-start-postcopy'),
  {
    names: ['migrate_set_capability'],
    arguments: [word('capability'), word('state')],
    usage: 'capability state',
    summary: 'Enable/Disable the usage of a capability for migration',
    *run(environment, values) {
      const state = String(values.get('state'))
      if (state !== 'on' && state !== 'off') {
        throw new HumanComplaint(`Expected 'on' or 'off'\nTry "help migrate_set_capability" for more information`)
      }
      machineOf(environment).migration.settings.setCapability(String(values.get('capability')), state === 'on')
    },
  },
  {
    names: ['migrate_set_parameter'],
    arguments: [word('parameter'), word('value')],
    usage: 'parameter value',
    summary: 'Set the parameter for migration',
    *run(environment, values) {
      const { settings } = machineOf(environment).migration
      settings.setParameterText(String(values.get('parameter')), String(values.get('value')))
    },
  },
]

function simple(name: string, words: readonly string[], summary: string, target: string): HumanCommand {
  return {
    ...{ names: [name], arguments: words.map(word), usage: words.join(' '), summary },
    *run(environment, values) {
      const args: JsonObject = new Map(words.map((each) => [each, String(values.get(each))]))
      yield* environment.invoke(target, args)
    },
  }
}

/** `info migrate`, `info migrate_capabilities`, `info migrate_parameters`. */
export const MIGRATION_INFO: readonly HumanCommand[] = [
  {
    names: ['migrate'],
    arguments: [],
    usage: '',
    summary: 'show migration status',
    *run(environment, _values, say) {
      const { status } = machineOf(environment).migration
      if (status !== 'none') say(`Migration status: ${status}\n`)
    },
  },
  {
    names: ['migrate_capabilities'],
    arguments: [],
    usage: '',
    summary: 'show current migration capabilities',
    *run(environment, _values, say) {
      say(machineOf(environment).migration.settings.capabilityLines())
    },
  },
  {
    names: ['migrate_parameters'],
    arguments: [],
    usage: '',
    summary: 'show current migration parameters',
    *run(environment, _values, say) {
      say(machineOf(environment).migration.settings.parameterLines())
    },
  },
]
