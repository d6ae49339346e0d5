/** Moving the machine to another program. */
import { BlockError } from '../../block'
import type { JsonObject } from '../../json'
import type { CommandTable } from '../command'
import { machineOf } from '../machine/machine_of'

export const MIGRATION_COMMANDS: CommandTable = {
  *'query-migrate'(environment) {
    return machineOf(environment).migration.query()
  },
  *'migrate-set-capabilities'(environment, args) {
    const { migration } = machineOf(environment)
    if (migration.isUnderWay && !migration.isArrival) throw new BlockError("There's a migration process in progress")
    for (const item of args.list('capabilities') as JsonObject[]) {
      migration.settings.setCapability(String(item.get('capability')), item.get('state') === true)
    }
    return undefined
  },
  *'query-migrate-capabilities'(environment) {
    return machineOf(environment).migration.settings.queryCapabilities()
  },
  *'migrate-set-parameters'(environment, args) {
    machineOf(environment).migration.settings.setParameters(args.object)
    return undefined
  },
  *'query-migrate-parameters'(environment) {
    return machineOf(environment).migration.settings.queryParameters()
  },
  *'migrate-start-postcopy'(environment) {
    const { migration } = machineOf(environment)
    const { settings } = migration
    if (!settings.has('postcopy-ram') && !settings.has('dirty-bitmaps')) {
      throw new BlockError('Enable postcopy with migrate_set_capability before the start of migration')
    }
    if (migration.status === 'none') throw new BlockError('Postcopy must be started after migration has been started')
    // There is no memory that could come later.
    return undefined
  },
  *migrate_cancel(environment) {
    machineOf(environment).migration.cancel()
    return undefined
  },
  *'migrate-continue'(environment, args) {
    machineOf(environment).migration.proceed(args.string('state'))
    return undefined
  },
  *migrate(environment, args) {
    if (args.optionalFlag('resume') ?? false) throw new BlockError('Cannot resume if there is no paused migration')
    const uri = args.optionalString('uri')
    if (uri === undefined) throw new BlockError("need either 'uri' or 'channels' argument")
    machineOf(environment).migration.leave(uri)
    return undefined
  },
  *'migrate-incoming'(environment, args) {
    const uri = args.optionalString('uri')
    if (uri === undefined) throw new BlockError("need either 'uri' or 'channels' argument")
    yield* machineOf(environment).migration.expect(uri)
    return undefined
  },
  *'migrate-pause'() {
    throw new BlockError('migrate-pause is currently only supported during postcopy-active state')
  },
}
