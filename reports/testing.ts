/** Small plans and reports for tests. */
import type { DiskPlan, Plan } from '../sim/plan'
import type { Report } from './format'

const disk: DiskPlan = {
  lengthBytes: 65536,
  requestAlignmentBytes: 512,
  maxTransferBytes: 0,
  maxWriteZeroesBytes: 0,
  writeZeroesAlignmentBytes: 512,
  maxDiscardBytes: 0,
  discardAlignmentBytes: 512,
  allocationUnitBytes: 4096,
  writeZeroes: 'unmapping',
  discard: 'reads-zero',
  reportsHoles: true,
  holesReadZero: true,
  node: { discard: 'unmap', detectZeroes: 'off' },
  latency: { minNs: 1000, stepNs: 500, steps: 4 },
  initial: [],
}

/** A plan with one guest write, valid in every field. */
export const samplePlan: Plan = {
  format: 'mirrorsim-plan',
  version: 1,
  seed: 'abc.7',
  profile: 'uniform',
  device: { queueCount: 1, queueSize: 16, blockBytes: 512, indirect: false, eventIndex: false, segmentsMax: 4, writeCache: true },
  source: disk,
  destination: disk,
  mirror: {
    sync: 'full',
    copyMode: 'write-blocking',
    granularityBytes: 4096,
    bufferBytes: 0,
    speedBytesPerSecond: 0,
    unmap: true,
    targetIsZero: false,
    onSourceError: 'report',
    onTargetError: 'report',
    autoFinalize: true,
  },
  guest: [{ id: 'g1', kind: 'write', lane: 0, offsetBytes: 4096, lengthBytes: 1024, thinkNs: 0 }],
  control: [{ id: 'c1', when: { on: 'start', afterNs: 0 }, kind: 'mirror-start' }],
  faults: [],
  bounds: { eventsMax: 10_000, timeMaxNs: 1_000_000_000 },
}

/** A report about a sector that is stale on the destination. */
export const sampleReport: Report = {
  format: 'mirrorsim-report',
  version: 1,
  failure: {
    class: 'content',
    key: 'content/destination-stale',
    text: 'the destination still holds what the guest has overwritten',
    disk: 'destination',
    offsetBytes: 4096,
    lengthBytes: 512,
    chunkIndex: 1,
    operationId: 'g1',
    expected: 'written by g1',
    actual: 'zeroes',
    step: 130,
    timeNs: 12_345_678,
  },
  label: { seed: 'abc.7', profile: 'uniform', revision: '0123456789ab', node: '20.20.2', command: 'npm run fuzz -- --seed abc' },
  plan: samplePlan,
  trace: {
    events: 130,
    timeNs: 12_345_678,
    hash: '0badcafe',
    checkpoints: ['00000001', '00000002'],
    last: [{ step: 130, timeNs: 12_345_678, lane: 'destination', text: 'write 4096+1024 done' }],
  },
}
