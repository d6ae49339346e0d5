/**
 * From a request to its answer: the form of the request, the command, its arguments, the run. One request runs at a time,
 * whichever monitor it came from, in order of arrival.
 *
 * What may fail: the request, which is answered with an error in QEMU's words. A command that throws anything but BlockError
 * is a defect and ends the program.
 */
import { BlockError } from '../block'
import { assert, type Co, type Kernel, Mutex } from '../co'
import { type JsonMessage, type JsonObject, type JsonValue, jsonObject } from '../json'
import { checkObject, introspect, type QapiCommand, type QapiModule, QapiSchema } from '../qapi'
import { Arguments } from './arguments'
import type { CommandTable } from './command'
import type { QmpEnvironment } from './environment'

/** One monitor, as far as requests depend on which one they come from. */
export interface RequestOrigin {
  /** `qmp_capabilities` has been run. */
  hasNegotiated: boolean
  /** The client has asked for out-of-band execution. */
  allowsOutOfBand: boolean
  readonly offersOutOfBand: boolean
}

const NEGOTIATE = 'qmp_capabilities'

export class Dispatcher {
  readonly environment: QmpEnvironment
  readonly schema: QapiSchema
  private readonly commands: CommandTable
  private readonly running: Mutex

  /** Commands that are declared but not in the table do not exist. */
  constructor(kernel: Kernel, environment: QmpEnvironment, modules: readonly QapiModule[], commands: CommandTable) {
    this.environment = environment
    this.commands = commands
    this.schema = new QapiSchema(modules).withCommands((name) => BUILT_IN.has(name) || Object.hasOwn(commands, name))
    for (const name of Object.keys(commands)) assert(this.schema.commands.has(name), 'command-declared', () => name)
    this.running = new Mutex(kernel, 'the monitor')
    environment.invoke = (name, args) => this.invoke(name, args)
    environment.inTurn = (body) => this.inTurn(body)
  }

  /** The answer to a message. */
  *answer(message: JsonMessage, origin: RequestOrigin): Co<JsonObject> {
    if (message.error !== undefined) return errorAnswer(new BlockError(message.error), undefined)
    const id = message.value instanceof Map ? message.value.get('id') : undefined
    yield* this.running.lock()
    try {
      const value = yield* this.run(message.value, origin)
      const answer = jsonObject({ return: value ?? new Map() })
      if (id !== undefined) answer.set('id', id)
      return answer
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
      return errorAnswer(error, id)
    } finally {
      this.running.unlock()
    }
  }

  private *run(request: JsonValue, origin: RequestOrigin): Co<JsonValue | undefined> {
    const { name, args, isOutOfBand } = parseRequest(request, origin)
    const command = this.schema.commands.get(name)
    if (!origin.hasNegotiated && name !== NEGOTIATE) {
      const text = "Expecting capabilities negotiation with 'qmp_capabilities'"
      throw new BlockError(text, { qmpClass: 'CommandNotFound' })
    }
    if (command === undefined) {
      throw new BlockError(`The command ${name} has not been found`, { qmpClass: 'CommandNotFound' })
    }
    if (isOutOfBand && !command.allowsOutOfBand) throw new BlockError(`The command ${name} does not support OOB`)
    const checked = this.check(command, args)
    const builtIn = this.builtIn(name, checked, origin)
    if (builtIn !== null) return builtIn.value
    return yield* this.commands[name]!(this.environment, new Arguments(checked))
  }

  /** A command inside of one that runs. Throws BlockError. */
  private invoke(name: string, args: JsonObject): Co<JsonValue | undefined> {
    const command = this.schema.commands.get(name)
    if (command === undefined) throw new BlockError(`The command ${name} has not been found`, { qmpClass: 'CommandNotFound' })
    return this.commands[name]!(this.environment, new Arguments(this.check(command, args)))
  }
  /** Runs something of another kind of monitor, one after the other with the requests of all. */
  *inTurn<T>(body: () => Co<T>): Co<T> {
    yield* this.running.lock()
    try {
      return yield* body()
    } finally {
      this.running.unlock()
    }
  }

  private check(command: QapiCommand, args: JsonObject): JsonObject {
    if (!command.isUnchecked) return checkObject(this.schema, command.arguments, args)
    const declared: JsonObject = new Map()
    const rest: JsonObject = new Map()
    const members = new Set(this.schema.membersOf(command.arguments).map((member) => member.name))
    for (const [key, value] of args) (members.has(key) ? declared : rest).set(key, value)
    const checked = checkObject(this.schema, command.arguments, declared)
    for (const [key, value] of rest) checked.set(key, value)
    return checked
  }

  private builtIn(name: string, args: JsonObject, origin: RequestOrigin): { value: JsonValue | undefined } | null {
    switch (name) {
      case NEGOTIATE:
        negotiate(args, origin)
        return { value: undefined }
      case 'query-commands':
        return { value: [...this.schema.commands.keys()].reverse().map((command) => jsonObject({ name: command })) }
      case 'query-qmp-schema':
        return { value: introspect(this.schema) }
      case 'query-version':
        return { value: versionObject(this.environment) }
      default:
        return null
    }
  }
}

const BUILT_IN: ReadonlySet<string> = new Set([NEGOTIATE, 'query-commands', 'query-qmp-schema', 'query-version'])

export function versionObject({ version }: QmpEnvironment): JsonObject {
  const { major, minor, micro } = version
  return jsonObject({ qemu: jsonObject({ major, minor, micro }), package: version.package })
}

function negotiate(args: JsonObject, origin: RequestOrigin): void {
  if (origin.hasNegotiated) {
    const text = 'Capabilities negotiation is already complete, command ignored'
    throw new BlockError(text, { qmpClass: 'CommandNotFound' })
  }
  const wanted = args.get('enable')
  if (Array.isArray(wanted) && wanted.length > 0) {
    if (!origin.offersOutOfBand) throw new BlockError('Capability oob not available')
    origin.allowsOutOfBand = true
  }
  origin.hasNegotiated = true
}

interface Request {
  name: string
  args: JsonObject
  isOutOfBand: boolean
}

/** Throws BlockError for what is no request. */
function parseRequest(request: JsonValue, origin: RequestOrigin): Request {
  if (!(request instanceof Map)) throw new BlockError('QMP input must be a JSON object')
  let name: string | null = null
  let args: JsonObject = new Map()
  let isOutOfBand = false
  for (const [key, value] of request) {
    if (key === 'execute' || (key === 'exec-oob' && origin.allowsOutOfBand)) {
      if (typeof value !== 'string') throw new BlockError(`QMP input member '${key}' must be a string`)
      if (name !== null) throw new BlockError("QMP input member 'execute' clashes with 'exec-oob'")
      name = value
      isOutOfBand = key === 'exec-oob'
    } else if (key === 'arguments') {
      if (!(value instanceof Map)) throw new BlockError("QMP input member 'arguments' must be an object")
      args = value
    } else if (key !== 'id') throw new BlockError(`QMP input member '${key}' is unexpected`)
  }
  if (name === null) throw new BlockError("QMP input lacks member 'execute'")
  return { name, args, isOutOfBand }
}

export function errorAnswer(error: BlockError, id: JsonValue | undefined): JsonObject {
  const answer = jsonObject({ error: jsonObject({ class: error.qmpClass, desc: error.message }) })
  if (id !== undefined) answer.set('id', id)
  return answer
}
