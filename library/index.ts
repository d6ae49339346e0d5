/**
 * What `import { … } from 'mirrorsim'` gives. docs/library.md walks through it; the examples there are compiled and run by a
 * test. Names that are not here are free to change at any time; these follow semantic versions.
 */
export { CHECKER_NAMES, isProfile, PROFILE_NAMES, type ProfileName } from '../commands/subject'
export type { FailureGroup, FoundFailure } from '../properties/campaign'
export type { Decisions, Shrunk } from '../properties/shrink'
export { WorldFailed } from '../properties/world_failed'
export {
  formatReport,
  makeReport,
  parseReport,
  type Reading,
  type Report,
  readReport,
  reportFileName,
  writeReport,
} from '../reports/format'
export { failureText } from '../reports/text'
export type { Judgement, Verdict } from '../reports/verdict'
export {
  data,
  discard,
  type Expectation,
  fault,
  flush,
  KiB,
  MiB,
  on,
  read,
  type Scenario,
  type ScenarioParts,
  scenario,
  trouble,
  write,
  zero,
  zeroes,
} from '../scenarios/build'
export type { CorruptionView } from '../sim/corruption'
export type { MetDisk, MetRequest, OwnFault } from '../sim/faults'
export type {
  Checker,
  CheckerFactory,
  DiskRequestView,
  DiskView,
  ImageFiles,
  JobEventView,
  MirrorView,
  SurvivingImages,
  WorldView,
} from '../sim/observer'
export type {
  ControlOperation,
  DiskName,
  DiskOperation,
  DiskPlan,
  FaultPlan,
  GuestOperation,
  MirrorPlan,
  OwnFaultPlan,
  Plan,
  Trigger,
} from '../sim/plan'
export { SECTOR_BYTES } from '../sim/plan'
export { checkPlan } from '../sim/plan_check'
export {
  EXIT_CODES,
  type Failure,
  type FailureClass,
  type Finding,
  type TraceRecord,
  type WorldEnd,
  type WorldResult,
} from '../sim/verdict'
export { type MirrorPropertyOptions, mirrorProperty, planArbitrary } from './fast_check'
export { ERRNO, type FaultOccasion, withFault } from './own'
export {
  type Campaign,
  type CampaignOptions,
  PlanRefused,
  planOf,
  type Replay,
  type RunOptions,
  replayReport,
  runCampaign,
  runPlan,
  runScenario,
  type ScenarioOutcome,
  shrinkPlan,
} from './run'
