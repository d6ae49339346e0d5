/**
 * Images are sound at the end, and after a power cut: nothing that was not flushed may be needed to make sense of the rest.
 * Leaks are forgiven where something went wrong; an image that was closed in peace has none.
 */
import { checkImage } from '../../model/qcow2'
import { faultOf } from '../../sim/faults'
import type { Checker, ImageFiles, WorldView } from '../../sim/observer'
import type { DiskName, FaultPlan } from '../../sim/plan'
import type { Finding } from '../../sim/verdict'

export function makeQcow2Checker(world: WorldView): Checker {
  const { source, destination, faults } = world.plan
  if (source.format === undefined && destination.format === undefined) return { name: 'qcow2' }
  return {
    name: 'qcow2',
    atEnd: ({ files }) => checkFiles(files, faults.some(excusesLeaks)),
    powerCut: ({ files }) => checkFiles(files, true),
  }
}

function checkFiles(files: ImageFiles, mayLeak: boolean): Finding | null {
  return checkFile('source', files.source, mayLeak) ?? checkFile('destination', files.destination, mayLeak)
}

function checkFile(disk: DiskName, file: Uint8Array | null, mayLeak: boolean): Finding | null {
  if (file === null) return null
  const { corruptions, leakedClusters } = checkImage(file)
  if (corruptions.length > 0) {
    const text = `the image of the ${disk} is corrupt: ${corruptions[0]}`
    return { class: 'durability', key: 'qcow2/corrupt', text, disk, details: corruptions }
  }
  if (mayLeak || leakedClusters === 0) return null
  const text = `the image of the ${disk} has been closed, and ${leakedClusters} of its clusters belong to nothing`
  return { class: 'sparseness', key: 'qcow2/leak', text, disk }
}

/** Of the faults that the stack survives no trace may be left. */
function excusesLeaks(fault: FaultPlan): boolean {
  return faultOf(fault).excuses.some(({ checker }) => checker === 'qcow2')
}
