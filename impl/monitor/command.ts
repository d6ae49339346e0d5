/** A command of QMP: what runs when its arguments have been checked. */
import type { Co } from '../co'
import type { JsonValue } from '../json'
import type { Arguments } from './arguments'
import type { QmpEnvironment } from './environment'

/** Gives the value of `return`; undefined is the empty object. Throws BlockError. */
export type CommandHandler = (environment: QmpEnvironment, args: Arguments) => Co<JsonValue | undefined>

/** By name. */
export type CommandTable = Readonly<Record<string, CommandHandler>>
