/**
 * What else the mirror's code distinguishes, one at a time: orders, policies, kinds of disks and images, and faults that a plain
 * grid has not. A setting changes a plan of the grid; two of them together are the random worlds' business.
 */
import {
  type ControlOperation,
  type DiskPlan,
  type FaultPlan,
  type FormatPlan,
  type InitialExtent,
  type Plan,
  SECTOR_BYTES,
  type Trigger,
} from '../../sim/plan'

export interface Setting {
  readonly name: string
  change(plan: Plan): Plan
}

const CLUSTER_BYTES = 2048
/** Shorter than any disk of the grid. */
const BASE_BYTES = 1024
const FILE_BYTES_MAX = 2 ** 30
/** When the grid's operations come that come late: the mirror is READY then. */
const READY_NS = 40_000_000

function ordered(name: string, ...orders: Array<Omit<ControlOperation, 'id'>>): Setting {
  return {
    name,
    change: (plan) => {
      const more = orders.map((order, index) => ({ id: `c${index + 2}`, ...order }) as ControlOperation)
      return { ...plan, control: [...plan.control, ...more] }
    },
  }
}

function on(moment: Trigger['on'], afterNs = 0): Trigger {
  return { on: moment, afterNs }
}

function failing(name: string, fault: Partial<FaultPlan> & Pick<FaultPlan, 'kind' | 'disk' | 'operation'>): Setting {
  return {
    name,
    change: (plan) => {
      const { lengthBytes } = plan.source
      const whole = { id: 'f9', offsetBytes: 0, lengthBytes, skip: 0, times: 1, ...fault } as FaultPlan
      return { ...plan, version: 4, faults: [...plan.faults, whole] }
    },
  }
}

function withDisk(plan: Plan, name: 'source' | 'destination', change: Partial<DiskPlan>): Plan {
  return { ...plan, version: 4, [name]: { ...plan[name], ...change } }
}

function image(clusterBytes: number, backing?: FormatPlan['backing']): FormatPlan {
  return {
    kind: 'qcow2',
    version: 3,
    clusterBytes,
    extendedL2: false,
    refcountBits: 16,
    lazyRefcounts: false,
    discardNoUnref: false,
    preallocation: 'off',
    dataFile: 'none',
    ...(backing === undefined ? {} : { backing }),
  }
}

function below(id: string, lengthBytes: number, isDetached: boolean): FormatPlan['backing'] {
  const initial: InitialExtent[] = [{ id, offsetBytes: 0, lengthBytes, content: 'data' }]
  return { format: 'raw', lengthBytes, initial, isDetached }
}

/** The source is a thin image above another one, and so is the destination, whose own base is not attached yet. */
function chain(plan: Plan, destinationClusterBytes: number, baseBytes = plan.source.lengthBytes): Plan {
  const source = withDisk(plan, 'source', { format: image(SECTOR_BYTES, below('b1', baseBytes, false)) })
  const format = image(destinationClusterBytes, below('b1', baseBytes, true))
  const both = withDisk(source, 'destination', { format, initial: [] })
  return anywhere({ ...both, mirror: { ...plan.mirror, sync: 'top' } })
}

/** Where an image has its tables is nobody's business: a fault hits the first request wherever it lies. */
function anywhere(plan: Plan): Plan {
  return { ...plan, faults: plan.faults.map((fault) => ({ ...fault, lengthBytes: FILE_BYTES_MAX })) }
}

function data(id: string, offsetBytes: number): InitialExtent {
  return { id, offsetBytes, lengthBytes: SECTOR_BYTES, content: 'data' }
}

const ATTACH: ControlOperation = {
  id: 'c9',
  when: on('ready'),
  kind: 'link-backing',
  disk: 'destination',
}

export const SETTINGS: readonly Setting[] = [
  ordered('forced cancel at once', { kind: 'cancel', force: true, when: on('mirror-started') } as never),
  ordered('forced cancel while it copies', { kind: 'cancel', force: true, when: on('mirror-started', 3_000_000) } as never),
  ordered('cancel at READY', { kind: 'cancel', force: false, when: on('ready') } as never),
  ordered('complete beside the guest', { kind: 'complete', when: on('start', READY_NS) } as never),
  ordered(
    'pause and resume',
    { kind: 'pause', when: on('mirror-started') } as never,
    { kind: 'resume', when: on({ controlDone: 'c2' }, 1_000_000) } as never,
  ),
  ordered('drain', { kind: 'drain', durationNs: 1_000_000, when: on('mirror-started') } as never),
  ordered('active from the start on', {
    kind: 'change-copy-mode',
    copyMode: 'write-blocking',
    when: on('mirror-started'),
  } as never),
  ordered('active from READY on', { kind: 'change-copy-mode', copyMode: 'write-blocking', when: on('ready') } as never),
  {
    name: 'errors are reported',
    change: (plan) => ({ ...plan, mirror: { ...plan.mirror, onSourceError: 'report', onTargetError: 'report' } }),
  },
  failing('a torn write of the source', { kind: 'error', errno: 'EIO', torn: true, disk: 'source', operation: 'write' }),
  failing('no memory for a write', { kind: 'memory-pressure', disk: 'source', operation: 'write' }),
  failing('no memory for a read', { kind: 'memory-pressure', disk: 'source', operation: 'read' }),
  {
    name: 'discards leave other bytes, and nothing zeroes',
    change: (plan) => withDisk(plan, 'source', { discard: 'reads-garbage', writeZeroes: 'none' }),
  },
  {
    name: 'holes hold what nobody knows',
    change: (plan) => withDisk(plan, 'source', { holesReadZero: false, discard: 'reads-old' }),
  },
  { name: 'nothing is copied first', change: (plan) => ({ ...plan, mirror: { ...plan.mirror, sync: 'none' } }) },
  {
    name: 'zeroes in units of several chunks, and a small buffer',
    change: (plan) => {
      const units = { writeZeroesAlignmentBytes: CLUSTER_BYTES, allocationUnitBytes: CLUSTER_BYTES }
      const coarse = withDisk(plan, 'destination', { ...units, node: { discard: 'unmap', detectZeroes: 'unmap' } })
      const holes = withDisk(coarse, 'source', { initial: [] })
      return { ...holes, mirror: { ...plan.mirror, bufferBytes: plan.mirror.granularityBytes } }
    },
  },
  {
    // Of the disk only what the guest writes is to be copied: the second chunk of it a tenth of a second after the first.
    name: 'a speed that nothing but the guest’s data may use up',
    change: (plan) => {
      const holes = withDisk(withDisk(plan, 'source', { initial: [] }), 'destination', { initial: [] })
      const { granularityBytes } = plan.mirror
      const mirror = { ...plan.mirror, speedBytesPerSecond: 10 * granularityBytes }
      return { ...holes, mirror, bounds: { ...plan.bounds, timeMaxNs: 250_000_000 } }
    },
  },
  {
    name: 'the destination is a sector longer',
    change: (plan) => {
      const lengthBytes = plan.destination.lengthBytes + SECTOR_BYTES
      return withDisk(plan, 'destination', { lengthBytes, initial: [{ id: 'd1', offsetBytes: 0, lengthBytes, content: 'data' }] })
    },
  },
  {
    name: 'an image is copied to a plain disk',
    change: (plan) => withDisk(plan, 'source', { format: image(SECTOR_BYTES) }),
  },
  {
    name: 'an image of small clusters is copied in chunks of several, to a disk that zeroes no less',
    change: (plan) => {
      const source = withDisk(plan, 'source', { format: image(SECTOR_BYTES), initial: [data('s1', 0)] })
      const coarse = withDisk(source, 'destination', { writeZeroesAlignmentBytes: CLUSTER_BYTES })
      return { ...coarse, mirror: { ...plan.mirror, granularityBytes: CLUSTER_BYTES } }
    },
  },
  {
    name: 'images with clusters of several chunks',
    change: (plan) => {
      const source = withDisk(plan, 'source', { format: image(SECTOR_BYTES) })
      return anywhere(withDisk(source, 'destination', { format: image(CLUSTER_BYTES) }))
    },
  },
  { name: 'a chain, attached at READY', change: (plan) => withOrder(chain(plan, CLUSTER_BYTES), ATTACH) },
  {
    name: 'a chain with clusters of a chunk, attached at READY',
    change: (plan) => withOrder(chain(plan, plan.mirror.granularityBytes), ATTACH),
  },
  {
    name: 'a chain above a short base',
    change: (plan) => withDisk(chain(plan, CLUSTER_BYTES, BASE_BYTES), 'source', { initial: [data('s1', 0)] }),
  },
  {
    name: 'a chain, the base of the source replaced',
    change: (plan) => {
      const attached = withDisk(chain(plan, CLUSTER_BYTES), 'destination', {
        format: image(CLUSTER_BYTES, below('b1', plan.source.lengthBytes, false)),
      })
      return withOrder(attached, { id: 'c9', when: on('mirror-started'), kind: 'link-backing', disk: 'source' })
    },
  },
  {
    name: 'an image above an empty one that comes later',
    change: (plan) => {
      const backing = { ...below('b1', plan.source.lengthBytes, true)!, initial: [] }
      const bare = withDisk(plan, 'source', { initial: [] })
      return anywhere(withDisk(bare, 'destination', { format: image(CLUSTER_BYTES, backing), initial: [] }))
    },
  },
  {
    name: 'all of a chain is copied, whose base is a sector shorter',
    change: (plan) => {
      const lengthBytes = plan.source.lengthBytes - SECTOR_BYTES
      const backing: FormatPlan['backing'] = {
        format: 'qcow2',
        lengthBytes,
        initial: [data('b1', BASE_BYTES)],
        isDetached: false,
      }
      const whole = withDisk(plan, 'source', { format: image(SECTOR_BYTES, backing), initial: [data('s1', 0)] })
      return anywhere(withDisk(whole, 'destination', { format: image(CLUSTER_BYTES) }))
    },
  },
]

function withOrder(plan: Plan, order: ControlOperation): Plan {
  return { ...plan, control: [...plan.control, order] }
}
