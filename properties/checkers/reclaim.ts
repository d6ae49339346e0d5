/**
 * Whether everything that is a hole in the source has to be one in the destination when the job has done its work. The
 * promise holds where each way on which the two could come to differ is closed; elsewhere a unit may rightly stay allocated,
 * for example because several zero writes that are each smaller than a unit have emptied it.
 */
import type { DiskPlan, Plan } from '../../sim/plan'
import { canUnmap } from './shared'

export function reclaimsAll(plan: Plan, granularityBytes: number): boolean {
  const { source, destination, mirror, device } = plan
  const unitBytes = destination.allocationUnitBytes
  const divides = (bytes: number): boolean => bytes === 0 || unitBytes % bytes === 0
  return (
    mirror.unmap &&
    mirror.sync !== 'none' &&
    // Above a base only what the layers there hold is copied: space that a destination has from its creation stays.
    !(mirror.sync === 'top' && source.format?.backing !== undefined && isPreallocated(destination)) &&
    // Who vouches for a destination has its space left alone.
    !mirror.targetIsZero &&
    canUnmap(destination) &&
    destination.format?.discardNoUnref !== true &&
    // Freed space would show an image that comes later.
    destination.format?.backing?.isDetached !== true &&
    // Zeroes that this node finds in data are written without unmapping, and then known.
    destination.node.detectZeroes !== 'on' &&
    // Holes of the source that are no unmapped zeroes for the destination.
    source.reportsHoles &&
    source.holesReadZero &&
    (source.discard === 'none' || source.discard === 'reads-zero') &&
    source.node.detectZeroes === 'off' &&
    // Block status tells of whole request blocks: a hole in a part of one goes unseen.
    source.allocationUnitBytes % Math.max(source.requestAlignmentBytes, 1) === 0 &&
    // Zeroing a part of a cluster frees all of it where an image below reads zero around it, which may have been copied.
    (source.format?.backing === undefined || device.blockBytes % Math.max(source.writeZeroesAlignmentBytes, 1) === 0) &&
    // Whatever empties a unit of the source covers whole units of the destination, in requests that free them.
    source.allocationUnitBytes % unitBytes === 0 &&
    granularityBytes % unitBytes === 0 &&
    destination.maxWriteZeroesBytes === 0 &&
    // Zeroes of less than this come as data, and allocate.
    source.allocationUnitBytes % Math.max(destination.writeZeroesAlignmentBytes, 1) === 0 &&
    device.blockBytes % Math.max(destination.writeZeroesAlignmentBytes, 1) === 0 &&
    // Zeroes that are found in data are written chunk by chunk, and known afterwards even where that was too little to free.
    (destination.node.detectZeroes === 'off' || granularityBytes % Math.max(destination.writeZeroesAlignmentBytes, 1) === 0) &&
    divides(destination.requestAlignmentBytes)
  )
}

function isPreallocated({ format }: DiskPlan): boolean {
  return format !== undefined && format.preallocation !== 'off'
}
