/**
 * A disk with a format, as those who know nothing of formats see it: the plan of a plain disk with the same habits. All
 * rules about content and space are told in its terms.
 */
import type { DiskPlan, ExtentContent, FormatPlan, InitialExtent, Plan } from './plan'

/** The plan as checkers see it: the same object where no disk has a format. */
export function seenPlan(plan: Plan): Plan {
  const { source, destination } = plan
  if (source.format === undefined && destination.format === undefined) return plan
  return { ...plan, source: seenDisk(source), destination: seenDisk(destination) }
}

function seenDisk(disk: DiskPlan): DiskPlan {
  const { format } = disk
  if (format === undefined) return disk
  const { version, clusterBytes, extendedL2 } = format
  const initial = [...below(disk, format), ...disk.initial]
  return {
    ...disk,
    requestAlignmentBytes: 1,
    maxWriteZeroesBytes: 0,
    writeZeroesAlignmentBytes: extendedL2 ? clusterBytes / 32 : clusterBytes,
    maxDiscardBytes: 0,
    discardAlignmentBytes: clusterBytes,
    allocationUnitBytes: clusterBytes,
    // Version 2 zeroes by giving clusters up, and cannot do that above another image.
    writeZeroes: version === 3 ? 'unmapping' : format.backing === undefined ? 'allocating' : 'none',
    discard: version === 2 && format.backing !== undefined ? 'none' : 'reads-zero',
    reportsHoles: true,
    holesReadZero: true,
    initial: initial.map((extent) => ({ ...extent, content: SEEN_CONTENT[extent.content] })),
  }
}

const SEEN_CONTENT: Readonly<Record<ExtentContent, ExtentContent>> = {
  data: 'data',
  compressed: 'data',
  zero: 'zero',
  hole: 'zero',
}

/** What shows of the image below. */
function below({ lengthBytes }: DiskPlan, { backing }: FormatPlan): InitialExtent[] {
  const shown: InitialExtent[] = []
  for (const extent of backing?.initial ?? []) {
    const shownBytes = Math.min(extent.lengthBytes, lengthBytes - extent.offsetBytes)
    if (shownBytes > 0) shown.push({ ...extent, lengthBytes: shownBytes })
  }
  return shown
}
