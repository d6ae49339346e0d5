/**
 * What else the mirror's code distinguishes, one at a time: orders, policies, kinds of disks and images, and faults that a plain
 * grid has not. A setting changes a plan of the grid; two of them together are the random worlds' business.
 */
import {
  type ControlOperation,
  type DiskPlan,
  type FaultPlan,
  type FormatPlan,
  type GuestOperation,
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

/** The guest zeroes the start of the disk when what it did first has been copied. */
function thenZeroed(plan: Plan, lengthBytes: number): Plan {
  const zeroing: GuestOperation = {
    id: 'g9',
    kind: 'write-zeroes',
    lane: 0,
    offsetBytes: 0,
    lengthBytes,
    thinkNs: READY_NS,
    unmap: true,
  }
  return { ...plan, guest: [...plan.guest, zeroing] }
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
    name: 'zeroes in units of several chunks',
    change: (plan) => {
      const coarse = withDisk(plan, 'destination', {
        writeZeroesAlignmentBytes: CLUSTER_BYTES,
        allocationUnitBytes: CLUSTER_BYTES,
      })
      const zeroAtFirst = withDisk(coarse, 'source', { initial: [data('s1', CLUSTER_BYTES)] })
      return { ...thenZeroed(zeroAtFirst, CLUSTER_BYTES), mirror: { ...plan.mirror, bufferBytes: plan.mirror.granularityBytes } }
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
    name: 'a chain of small clusters, its base replaced',
    change: (plan) =>
      withOrder(chain(plan, SECTOR_BYTES), { id: 'c9', when: on('mirror-started'), kind: 'link-backing', disk: 'source' }),
  },
  {
    name: 'all of a chain is copied',
    change: (plan) => {
      // The first chunk is a hole of the upper layer and one of the lower.
      const backing = { ...below('b1', BASE_BYTES * 2, false)!, initial: [data('b1', BASE_BYTES)] }
      const hole: InitialExtent = { id: 's2', offsetBytes: 0, lengthBytes: SECTOR_BYTES, content: 'hole' }
      const initial = [hole, data('s1', CLUSTER_BYTES)]
      const whole = withDisk(plan, 'source', { format: image(SECTOR_BYTES, backing), initial })
      return anywhere(thenZeroed(withDisk(whole, 'destination', { format: image(SECTOR_BYTES) }), SECTOR_BYTES))
    },
  },
]

function withOrder(plan: Plan, order: ControlOperation): Plan {
  return { ...plan, control: [...plan.control, order] }
}
