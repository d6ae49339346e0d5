/**
 * The disks of a plan as nodes of a real daemon: which objects and nodes are added, in which order, and which of the plan's
 * wishes a real program cannot be asked for.
 */
import type { DiskName, DiskOperation, DiskPlan, FaultPlan, Plan } from '../../sim/plan'
import type { DiskFiles } from './images'
import type { RealOptions } from './options'

export interface QmpCommand {
  readonly execute: string
  readonly arguments: Record<string, unknown>
}

/** What was done in a lifecycle, in order: an order, a request of the guest, or a state of the job that was seen. */
export type Step = { readonly qmp: QmpCommand } | { readonly guest: string } | { readonly status: string }

/** Commands that bring the nodes of a disk about, and the names of what they make, from the bottom up. */
export interface DiskNodes {
  readonly add: readonly QmpCommand[]
  readonly nodes: readonly string[]
  readonly objects: readonly string[]
}

const ERRNO = { EIO: 5, ENOSPC: 28 } as const
const IO_TYPE: Readonly<Record<DiskOperation, string | null>> = {
  read: 'read',
  write: 'write',
  'write-zeroes': 'write-zeroes',
  discard: 'discard',
  flush: 'flush',
  status: 'block-status',
  truncate: null,
}

export interface NodesWish {
  readonly plan: Plan
  readonly options: RealOptions
  /** Members that the daemon's schema has somewhere, of those that are not everywhere. */
  readonly hasMember: (member: string) => boolean
}

export function nodesOf(name: DiskName, files: DiskFiles, wish: NodesWish): DiskNodes {
  return new Builder(name, files, wish).build()
}

/** What lies below a destination whose header names it, to be opened when somebody attaches it. */
export function backingNodes(name: DiskName, files: DiskFiles, disk: DiskPlan, suffix = ''): DiskNodes {
  const node = `${name}-backing${suffix}`
  const options = { 'read-only': true, 'auto-read-only': false }
  const file = { driver: 'file', filename: files.backing!, ...options }
  const isPlain = disk.format!.backing!.format === 'raw'
  const format = isPlain ? { driver: 'raw', size: undefined } : { driver: 'qcow2' }
  const description = { ...format, 'node-name': node, 'read-only': true, file }
  return { add: [{ execute: 'blockdev-add', arguments: description }], nodes: [node], objects: [] }
}

class Builder {
  private readonly add: QmpCommand[] = []
  private readonly nodes: string[] = []
  private readonly objects: string[] = []
  private readonly disk: DiskPlan

  constructor(
    private readonly name: DiskName,
    private readonly files: DiskFiles,
    private readonly wish: NodesWish,
  ) {
    this.disk = wish.plan[name]
  }

  build(): DiskNodes {
    const layers: Array<(below: string | null) => Record<string, unknown>> = [this.file, ...this.debug()]
    const { format, throttle } = this.disk
    if (throttle?.at === 'file' && format !== undefined) layers.push(this.throttle('file', throttleLimits(throttle)))
    if (format !== undefined) layers.push(this.qcow2)
    else if (this.disk.raw === true) layers.push((below) => ({ driver: 'raw', file: below }))
    const { sourceRequestsPerSecond, targetRequestsPerSecond } = this.wish.options
    const requests = this.name === 'source' ? sourceRequestsPerSecond : targetRequestsPerSecond
    if (requests > 0) layers.push(this.throttle('top', { 'iops-total': requests }))
    let below: string | null = null
    for (const [index, layer] of layers.entries()) below = this.addLayer(layer(below), index, index === layers.length - 1)
    return { add: this.add, nodes: this.nodes, objects: this.objects }
  }

  private addLayer(description: Record<string, unknown>, index: number, isTop: boolean): string {
    const { node } = this.disk
    const name = isTop ? this.name : `${this.name}-${index}`
    const habits = isTop
      ? { discard: node.discard, 'detect-zeroes': node.detectZeroes, 'read-only': node.readOnly === true }
      : { discard: 'unmap', 'read-only': node.readOnly === true }
    this.add.push({ execute: 'blockdev-add', arguments: { 'node-name': name, ...habits, ...description } })
    this.nodes.push(name)
    return name
  }

  private readonly file = (): Record<string, unknown> => ({ driver: 'file', filename: this.files.image })

  /** Errors of the disk, where there are any. The filter's limits are not used: they end the daemon (docs/qemu-findings.md). */
  private debug(): Array<(below: string | null) => Record<string, unknown>> {
    const rules = this.wish.plan.faults.filter(({ disk }) => disk === this.name).flatMap((fault) => this.rulesOf(fault))
    if (rules.length === 0) return []
    return [(below) => ({ driver: 'blkdebug', image: below, 'inject-error': rules })]
  }

  /** One rule for each time. The range is kept where a plain disk knows it. */
  private rulesOf(fault: FaultPlan): object[] {
    if (fault.kind !== 'error') return []
    const { operation, errno, offsetBytes, lengthBytes, times } = fault
    const type = IO_TYPE[operation]
    if (type === null) return []
    const isAnywhere = this.disk.format !== undefined || lengthBytes === this.disk.lengthBytes || operation === 'flush'
    const sector = isAnywhere ? {} : { sector: Math.floor(offsetBytes / 512) }
    const rule = { event: 'none', iotype: type, errno: ERRNO[errno], once: true, ...sector }
    return Array.from({ length: times }, () => rule)
  }

  private throttle(role: string, limits: object): (below: string | null) => Record<string, unknown> {
    const id = `${this.name}-limits-${role}`
    this.add.push({ execute: 'object-add', arguments: { 'qom-type': 'throttle-group', id, limits } })
    this.objects.push(id)
    return (below) => ({ driver: 'throttle', 'throttle-group': id, file: below })
  }

  private readonly qcow2 = (below: string | null): Record<string, unknown> => {
    const format = this.disk.format!
    const description: Record<string, unknown> = { driver: 'qcow2', file: below }
    if (this.files.dataFile !== null) {
      const data = `${this.name}-data`
      const options = { 'read-only': this.disk.node.readOnly === true, discard: 'unmap' }
      this.add.push({
        execute: 'blockdev-add',
        arguments: { 'node-name': data, driver: 'file', filename: this.files.dataFile, ...options },
      })
      this.nodes.push(data)
      description['data-file'] = data
    }
    if (format.backing === undefined || format.backing.isDetached) description['backing'] = null
    else {
      const { add, nodes } = backingNodes(this.name, this.files, this.disk)
      this.add.push(...add)
      this.nodes.push(...nodes)
      description['backing'] = nodes[0]
    }
    if (format.discardNoUnref && this.wish.hasMember('discard-no-unref')) description['discard-no-unref'] = true
    return description
  }
}

function throttleLimits(throttle: NonNullable<DiskPlan['throttle']>): object {
  const { requestsPerSecond } = throttle
  // Worlds have time; a real lifecycle is to be over in a fraction of a second.
  return { 'iops-total': Math.max(requestsPerSecond, 2000) }
}
