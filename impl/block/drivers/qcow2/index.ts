export { createQcow2, type Qcow2CreateOptions } from './create'
export { openQcow2, Qcow2Driver, type Qcow2Info, type Repair } from './driver'
export type { Corruption, Qcow2Image, Qcow2Settings } from './image'
export { overlapChecksOf, type Qcow2OpenOptions } from './open'
