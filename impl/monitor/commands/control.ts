/** The monitor itself, and objects. */
import { jsonObject } from '../../json'
import type { CommandHandler, CommandTable } from '../command'
import { getObjectProperty, listObject } from '../machine/object_tree'

export const CONTROL_COMMANDS: CommandTable = {
  *quit(environment) {
    yield* environment.quit()
    return undefined
  },
  *'object-add'({ objects }, args) {
    objects.add(args.object)
    return undefined
  },
  *'object-del'({ objects }, args) {
    objects.remove(args.string('id'))
    return undefined
  },
  *'qom-list'({ objects, machine }, args) {
    const path = args.string('path')
    const ofMachine = machine === null ? null : listObject(machine, path)
    if (ofMachine !== null) return ofMachine.map(({ name, type }) => jsonObject({ name, type }))
    const type = jsonObject({ name: 'type', type: 'string' })
    if (path !== '/objects') return [type]
    return [type, ...objects.entries().map(([name, kind]) => jsonObject({ name, type: `child<${kind}>` }))]
  },
  *'qom-get'({ objects, machine }, args) {
    const found = machine === null ? null : getObjectProperty(machine, args.string('path'), args.string('property'))
    if (found !== null) return found.value
    return objects.get(args.string('path'), args.string('property'))
  },
  *'qom-set'({ objects }, args) {
    objects.set(args.string('path'), args.string('property'), args.get('value') ?? null)
    return undefined
  },
  *'query-chardev'({ listChardevs }) {
    return listChardevs().map(({ label, filename, isOpen }) => jsonObject({ label, filename, 'frontend-open': isOpen }))
  },
}

export const queryIothreads: CommandHandler = function* ({ objects }) {
  return objects
    .ofType('iothread')
    .map((id) => jsonObject({ id, 'thread-id': 0, 'poll-max-ns': 0, 'poll-grow': 0, 'poll-shrink': 0, 'aio-max-batch': 0 }))
}
