/**
 * Everything that is planned to go wrong in one world: who meets it, what of it is silent, and how often each has fired.
 * What never may happen: a fault that fires and is not counted.
 */
import type { BlockGraph, BlockNode } from '../impl/block'
import { ENOMEM } from '../impl/co'
import { Corruption } from './corruption'
import type { DiskWatcher, SimDisk, WatchedRequest } from './disk'
import { countFirings, Faults, faultProbe, isSilent, Occasions, type OwnFault } from './faults'
import type { DiskName, FaultPlan, Plan, StallPlan } from './plan'
import { scheduleProbe } from './schedules'

export class Troubles {
  readonly faults: { readonly source: Faults; readonly destination: Faults }
  /** null in worlds without silent faults. */
  readonly corruption: Corruption | null
  private readonly plan: Plan
  private readonly stalls: { readonly source: Occasions<StallPlan>; readonly destination: Occasions<StallPlan> } | null
  private readonly memory: { readonly source: Occasions<FaultPlan>; readonly destination: Occasions<FaultPlan> } | null
  private readonly disks: SimDisk[] = []
  private refusals = 0

  /** `own`: the faults that the plan's entries of the kind `own` are for. */
  constructor(plan: Plan, own: readonly OwnFault[] = []) {
    const { faults, stalls } = plan
    this.plan = plan
    this.faults = { source: new Faults(faults, 'source', own), destination: new Faults(faults, 'destination', own) }
    this.stalls =
      stalls === undefined ? null : { source: new Occasions(stalls, 'source'), destination: new Occasions(stalls, 'destination') }
    const isOnDisks = faults.length > 0
    const refusals = isOnDisks ? faults.filter(({ kind }) => kind === 'memory-pressure') : []
    this.memory =
      refusals.length === 0
        ? null
        : { source: new Occasions(refusals, 'source'), destination: new Occasions(refusals, 'destination') }
    const hitBytes = Math.max(plan.source.lengthBytes, plan.destination.lengthBytes)
    this.corruption = isOnDisks && faults.some(isSilent) ? new Corruption(hitBytes) : null
  }

  /** A disk of the plan's own, engaged: from now on it has the troubles of its name. */
  join(disk: SimDisk): void {
    const { name } = disk.store
    this.disks.push(disk)
    if (this.stalls !== null) disk.stalls = this.stalls[name]
    if (this.corruption === null) return
    disk.corruption = this.corruption
    const isAsked = this.plan.faults.some(({ kind, disk: at }) => (kind === 'stale-read' || kind === 'own') && at === name)
    if (isAsked) disk.original = disk.store.copy()
  }

  /**
   * The block layer and the mirror ask here before they take memory. What is refused is told to the watcher as a request that the disk has
   * failed, which is what those above it see.
   */
  refuseMemory(graph: BlockGraph, watcher: DiskWatcher): void {
    const { memory } = this
    if (memory === null) return
    graph.mayAllocate = (node, offsetBytes, lengthBytes, isWrite) => {
      const disk = this.ownerOf(node)
      const operation = isWrite ? 'write' : 'read'
      const fault = disk === null ? null : memory[disk].meet(operation, offsetBytes, lengthBytes)
      if (disk === null || fault === null) return true
      const request: WatchedRequest = {
        disk,
        serial: --this.refusals,
        operation,
        offsetBytes,
        lengthBytes,
        data: null,
        mayUnmap: false,
        label: graph.kernel.current!.label,
        origin: graph.kernel.current!.label.id,
        fault,
        dataHash: 0,
      }
      const isGuest = this.plan.guest.some(({ id }) => id === request.origin)
      watcher.hit(isGuest ? 'memory/refused-to-guest' : 'memory/refused-to-mirror')
      watcher.diskSubmitted(request)
      watcher.diskCompleted(request, ENOMEM)
      return false
    }
  }

  /** Whose blocks a node is made of, filters and `raw` included. */
  private ownerOf(node: BlockNode): DiskName | null {
    let below = node.skipFilters()
    while (below.children.get('file') !== undefined) below = below.children.get('file')!.node
    return this.disks.find((disk) => disk.node === below)?.store.name ?? null
  }

  /** Nothing goes wrong any more. */
  heal(): void {
    this.faults.source.heal()
    this.faults.destination.heal()
    this.memory?.source.heal()
    this.memory?.destination.heal()
  }

  /** How often each has fired: those of the plan's list by id, and all by the probe of their fault. */
  count(probes: Record<string, number>): Record<string, number> {
    const fired: Record<string, number> = {}
    this.faults.source.count(fired)
    this.faults.destination.count(fired)
    this.memory?.source.count(fired)
    this.memory?.destination.count(fired)
    countFirings(this.plan.faults, fired, probes)
    probes[scheduleProbe(this.plan.schedule?.kind ?? 'latency')] = 1
    let delayed = 0
    for (const disk of this.disks) delayed += disk.delayedCount
    if (delayed > 0) probes[faultProbe('latency')] = delayed
    const stalled: Record<string, number> = {}
    this.stalls?.source.count(stalled)
    this.stalls?.destination.count(stalled)
    for (const id in stalled) if (stalled[id]! > 0) probes[faultProbe('slow-request')] = stalled[id]!
    return fired
  }
}
