import { BlockError } from '../../block'
import type { QmpEnvironment } from '../environment'
import type { Machine } from './machine'

/** Throws BlockError where a program has no machine. */
export function machineOf({ machine }: QmpEnvironment): Machine {
  if (machine === null) throw new BlockError('There is no machine')
  return machine
}
