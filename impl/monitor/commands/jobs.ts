/** Verbs of jobs, and what they tell of themselves. */
import { BlockError } from '../../block'
import { type CopyMode, type Job, MirrorJob } from '../../jobs'
import type { JsonValue } from '../../json'
import type { CommandHandler, CommandTable } from '../command'
import type { QmpEnvironment } from '../environment'
import { toJson } from '../events'
import { ImageJob } from '../image_job'

const jobVerb = (act: (job: Job) => void): CommandHandler =>
  function* ({ jobs }, args) {
    act(jobs.find(args.string('id')))
    return undefined
  }

function blockJob({ jobs }: QmpEnvironment, id: string): Job {
  const job = jobs.findBlockJob(id)
  if (job instanceof ImageJob) {
    throw new BlockError(`Block job '${id}' not found`, { qmpClass: 'DeviceNotActive' })
  }
  return job
}
const blockJobVerb = (name: 'device' | 'id', act: (job: Job) => void): CommandHandler =>
  function* (environment, args) {
    act(blockJob(environment, args.string(name)))
    return undefined
  }

export const JOB_COMMANDS: CommandTable = {
  'job-pause': jobVerb((job) => job.pause()),
  'job-resume': jobVerb((job) => job.resume()),
  'job-cancel': jobVerb((job) => job.cancel(true)),
  'job-complete': jobVerb((job) => job.complete()),
  'job-finalize': jobVerb((job) => job.finalize()),
  'job-dismiss': jobVerb((job) => job.dismiss()),
  *'query-jobs'({ jobs }) {
    return [...jobs.jobs.values()].map((job) => toJson(job.queryJob()))
  },
  'block-job-pause': blockJobVerb('device', (job) => job.pause()),
  'block-job-resume': blockJobVerb('device', (job) => job.resume()),
  'block-job-complete': blockJobVerb('device', (job) => job.complete()),
  'block-job-finalize': blockJobVerb('id', (job) => job.finalize()),
  'block-job-dismiss': blockJobVerb('id', (job) => job.dismiss()),
  *'block-job-cancel'(environment, args) {
    blockJob(environment, args.string('device')).cancel(args.optionalFlag('force') ?? false)
    return undefined
  },
  *'block-job-set-speed'(environment, args) {
    blockJob(environment, args.string('device')).setSpeed(args.integer('speed'))
    return undefined
  },
  *'block-job-change'(environment, args) {
    const job = blockJob(environment, args.string('id'))
    const copyMode = args.has('copy-mode') ? args.string('copy-mode') : undefined
    if (!(job instanceof MirrorJob)) throw new BlockError('Job type does not support change')
    // QEMU does not compare the type that is named with that of the job.
    const activeSpeed = args.optionalInteger('active-speed')
    job.changeCopyMode((copyMode ?? 'background') as CopyMode | 'auto', {
      allowsReverse: args.optionalFlag('allow-reverse') ?? false,
      ...(activeSpeed === undefined ? {} : { activeSpeedBytesPerSecond: activeSpeed }),
    })
    return undefined
  },
  *'query-block-jobs'({ jobs }, args) {
    const tells = args.optionalFlag('convergence') ?? false
    const list: JsonValue[] = []
    for (const job of jobs.jobs.values()) {
      if (job instanceof ImageJob) continue
      const convergence = tells && job instanceof MirrorJob && job.type === 'mirror' ? { convergence: job.convergence() } : {}
      list.push(toJson({ ...job.query(), ...convergence }))
    }
    return list
  },
}
