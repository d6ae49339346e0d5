/** Throttle filters of a world: above a disk or an image, or between an image and its file; in groups that both disks may share. */
import type { BlockGraph, BlockNode, NodeOptions } from '../impl/block'
import { ThrottleDriver } from '../impl/block/drivers/throttle'
import { type Direction, ThrottleGroup, type ThrottleMember } from '../impl/block/throttle'
import type { Kernel } from '../impl/co'
import type { DiskName, ThrottlePlan } from './plan'
import type { ProbeName } from './probes'

interface Counter {
  hit(probe: ProbeName): void
}

/** A group that says when somebody waits. */
class WatchedGroup extends ThrottleGroup {
  private readonly counter: Counter

  constructor(kernel: Kernel, name: string, plan: ThrottlePlan, counter: Counter) {
    super(kernel, name, {
      'bps-total': plan.bytesPerSecond,
      'iops-total': plan.requestsPerSecond,
      'bps-total-max': plan.burstBytesPerSecond,
      'iops-total-max': plan.burstRequestsPerSecond,
    })
    this.counter = counter
  }

  override enqueued(member: ThrottleMember, direction: Direction): void {
    this.counter.hit('disk/throttled')
    super.enqueued(member, direction)
  }
}

export class Throttles {
  private readonly graph: BlockGraph
  private readonly counter: Counter
  private readonly groups = new Map<DiskName, ThrottleGroup>()

  constructor(graph: BlockGraph, counter: Counter) {
    this.graph = graph
    this.counter = counter
  }

  /** Puts a filter on `node`. Sources come before destinations, which may join their group. */
  above(disk: DiskName, plan: ThrottlePlan, nodeName: string, node: BlockNode, options: Partial<NodeOptions>): BlockNode {
    const shared = plan.joinsSource ? this.groups.get('source') : undefined
    const group = shared ?? new WatchedGroup(this.graph.kernel, disk, plan, this.counter)
    this.groups.set(disk, group)
    return this.graph.addNode({
      name: nodeName,
      driver: new ThrottleDriver(group),
      children: [{ name: 'file', role: 'filtered', node }],
      options,
    })
  }
}
