/** All named plans. Each is a bug that somebody had, as the smallest world that shows it, with what must come out instead. */
import type { Scenario } from './build'
import { ERRORS } from './errors'
import { FAULTS } from './faults'
import { FORMATS } from './formats'
import { GEOMETRY } from './geometry'
import { JOB_CONTROL } from './job_control'
import { ORIGIN } from './origin'
import { POWER } from './power'
import { QEMU_FINDINGS } from './qemu_findings'
import { RACES } from './races'
import { ZERO_BITS } from './zero_bits'

export type { Expectation, Scenario } from './build'

export const SCENARIOS: readonly Scenario[] = [
  ...ORIGIN,
  ...ZERO_BITS,
  ...RACES,
  ...JOB_CONTROL,
  ...ERRORS,
  ...GEOMETRY,
  ...POWER,
  ...FORMATS,
  ...FAULTS,
  ...QEMU_FINDINGS,
]
