export { type Member, QapiSchema } from './declarations'
export { checkObject, checkValue, type InputMode } from './input'
export { introspect } from './introspect'
export { QMP_MODULES } from './schema'
export {
  alternate,
  command,
  enumeration,
  event,
  type Feature,
  type Members,
  type QapiCommand,
  type QapiEvent,
  type QapiModule,
  type QapiType,
  struct,
  union,
} from './types'
