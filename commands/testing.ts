/** A subject whose worlds do what their indexes say, and streams that remember what was written. */
import type { Subject } from '../properties/campaign'
import { samplePlan } from '../reports/testing'
import type { Failure, WorldResult } from '../sim/verdict'
import type { Output } from './progress'

export interface Script {
  /** Class and key of the failures, by world index. */
  failures?: Record<number, readonly [failureClass: Failure['class'], key: string]>
  hangs?: readonly number[]
  throws?: readonly number[]
}

export function scriptedSubject({ failures = {}, hangs = [], throws = [] }: Script): Subject {
  return {
    planOf: (seed) => {
      if (throws.includes(indexOf(seed))) throw new Error('no such shape')
      return { ...samplePlan, seed }
    },
    run: ({ seed }) => {
      const index = indexOf(seed)
      while (hangs.includes(index));
      const scripted = failures[index]
      return {
        ...QUIET,
        failure:
          scripted === undefined
            ? null
            : { class: scripted[0], key: scripted[1], text: 'as the script says', operationId: 'g1', step: 60, timeNs: 1234 },
        hash: (0x10000000 + index).toString(16),
        probes: { 'every-world': 1, ...(index % 100 === 0 ? { 'one-in-a-hundred': 1 } : {}) },
      }
    },
  }
}

const QUIET: WorldResult = {
  failure: null,
  events: 60,
  timeNs: 1_000_000,
  hash: '00000000',
  checkpoints: [],
  probes: {},
  faultsFired: {},
  trace: [{ step: 60, timeNs: 1234, lane: 'guest', text: 'write done' }],
  end: {
    jobStatus: 'none',
    jobError: null,
    guestOperationsDone: 0,
    sourceAllocatedBytes: 0,
    destinationAllocatedBytes: 0,
    skippedZeroBytes: 0,
    copiedBytes: 0,
  },
}

function indexOf(seed: string): number {
  return Number(seed.split('.').at(-1))
}

export interface Recorder extends Output {
  text(): string
}

export function recorder(isTTY = false): Recorder {
  let all = ''
  return {
    isTTY,
    columns: 200,
    write: (text) => {
      all += text
    },
    text: () => all,
  }
}
