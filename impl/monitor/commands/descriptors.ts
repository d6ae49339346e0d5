/**
 * Descriptors that files are opened by: those that the program was started with, in sets. A monitor cannot receive any: the
 * runtime hands on the bytes of a socket alone, so who asks for that hears what QEMU says where none has come.
 */
import { BlockError } from '../../block'
import { jsonObject } from '../../json'
import type { CommandTable } from '../command'

export const DESCRIPTOR_COMMANDS: CommandTable = {
  *'add-fd'() {
    throw nothingReceived()
  },
  *'remove-fd'({ fdSets }, args) {
    const id = args.integer('fdset-id')
    const descriptor = args.optionalInteger('fd') ?? null
    if (fdSets?.remove(id, descriptor) === true) return undefined
    throw notFound(`fdset-id:${id}${descriptor === null ? '' : `, fd:${descriptor}`}`)
  },
  *'query-fdsets'({ fdSets }) {
    return (fdSets?.query() ?? []).map(({ id, descriptors }) =>
      jsonObject({
        'fdset-id': id,
        fds: descriptors.map(({ descriptor, opaque }) => jsonObject({ fd: descriptor, opaque: opaque ?? undefined })),
      }),
    )
  },
  *getfd() {
    throw nothingReceived()
  },
  *closefd(_environment, args) {
    throw notFound(args.string('fdname'))
  },
}

function nothingReceived(): BlockError {
  return new BlockError('No file descriptor supplied via SCM_RIGHTS')
}
function notFound(name: string): BlockError {
  return new BlockError(`File descriptor named '${name}' not found`)
}
