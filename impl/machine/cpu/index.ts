export { type Bus, VirtualClock } from './bus'
export type { FloatUnit } from './float_unit'
export { Hart, type HartOptions } from './hart'
export { Cause, HartState, Interrupt, Privilege, Status } from './state'
