/** A command of the human monitor: how its line is read, and what it does. */
import type { BlockError } from '../../block'
import type { Co } from '../../co'
import type { QmpEnvironment } from '../environment'

/**
 * What a word of a line is. `device`, `filename` and `string` differ in what is said where one is missing; `rest` is the
 * rest of the line; a `flag` is a letter behind a minus.
 */
export type ArgumentKind = 'device' | 'filename' | 'string' | 'rest' | 'integer' | 'size' | 'flag'

export interface HumanArgument {
  readonly name: string
  readonly kind: ArgumentKind
  readonly isOptional?: boolean
  /** The letter of a flag. */
  readonly letter?: string
}

export type HumanValues = ReadonlyMap<string, string | number | boolean>

export interface HumanCommand {
  /** With its shorter names: `quit|q`. */
  readonly names: readonly string[]
  readonly arguments: readonly HumanArgument[]
  /** As help shows the arguments. */
  readonly usage: string
  readonly summary: string
  /** `say` prints. Throws BlockError, which is printed as `Error: …`. */
  run(environment: QmpEnvironment, values: HumanValues, say: (text: string) => void): Co<void>
}

export const device = (name = 'device'): HumanArgument => ({ name, kind: 'device' })
export const word = (name: string): HumanArgument => ({ name, kind: 'string' })
export const flag = (letter: string, name: string): HumanArgument => ({ name, kind: 'flag', letter, isOptional: true })
export const optional = (argument: HumanArgument): HumanArgument => ({ ...argument, isOptional: true })

/** With the hint below it. */
export function errorText({ message, hint }: BlockError): string {
  return `${message}\n${hint === '' || hint.endsWith('\n') ? hint : `${hint}\n`}`
}
