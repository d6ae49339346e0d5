/** What is wrong with a plan, as short lines; none for a plan that can run and can end. For tests of generators and shrinkers. */
import type { DiskPlan, Plan } from '../../sim/plan'

export function complaints(plan: Plan): string[] {
  const found: string[] = []
  const check = (isGood: boolean, what: string): void => {
    if (!isGood) found.push(what)
  }
  const { lengthBytes } = plan.source
  check(lengthBytes > 0 && lengthBytes % plan.device.blockBytes === 0, 'the device cannot address the whole disk')
  for (const disk of [plan.source, plan.destination]) found.push(...diskComplaints(disk))
  check(plan.device.queueSize >= plan.device.segmentsMax + 2, 'a request does not fit into the ring')
  if (plan.mirror.targetIsZero)
    check(!plan.destination.initial.some(({ content }) => content === 'data'), 'the target is not zero')
  for (const { id, kind, offsetBytes, lengthBytes: length } of plan.guest) {
    const isRanged = kind !== 'flush' && kind !== 'get-id'
    check(isRanged === length > 0, `${id} has the wrong kind of length`)
    check(offsetBytes % plan.device.blockBytes === 0 && length % plan.device.blockBytes === 0, `${id} is not aligned`)
    check(offsetBytes >= 0 && offsetBytes + length <= lengthBytes, `${id} leaves the disk`)
  }
  for (const { id, offsetBytes, lengthBytes: length, times } of plan.faults) {
    // An image is a longer file than its disk.
    const isFile = plan.source.format !== undefined || plan.destination.format !== undefined
    check(offsetBytes >= 0 && length > 0 && (isFile || offsetBytes + length <= lengthBytes), `${id} leaves the disk`)
    check(times > 0, `${id} never fires`)
  }
  found.push(...controlComplaints(plan))
  const ids = [plan.guest, plan.control, plan.faults, plan.source.initial, plan.destination.initial].flat().map(({ id }) => id)
  check(new Set(ids).size === ids.length, 'an id occurs twice')
  return found
}

function diskComplaints(disk: DiskPlan): string[] {
  const found: string[] = []
  const { lengthBytes, requestAlignmentBytes, node } = disk
  if (lengthBytes % requestAlignmentBytes !== 0) found.push('the end of a disk is not aligned')
  if (disk.maxTransferBytes % requestAlignmentBytes !== 0) found.push('the largest transfer is not aligned')
  const pairs = [
    [disk.maxWriteZeroesBytes, disk.writeZeroesAlignmentBytes],
    [disk.maxDiscardBytes, disk.discardAlignmentBytes],
  ] as const
  for (const [max, alignment] of pairs) {
    if (alignment !== 0 && (max % alignment !== 0 || alignment < requestAlignmentBytes))
      found.push('limits contradict each other')
  }
  if (node.detectZeroes === 'unmap' && node.discard === 'ignore') found.push('detect-zeroes=unmap needs discard=unmap')
  for (const { id, offsetBytes, lengthBytes: length } of disk.initial) {
    if (offsetBytes % 512 !== 0 || length % 512 !== 0) found.push(`${id} is not made of sectors`)
    if (length <= 0 || offsetBytes + length > lengthBytes) found.push(`${id} leaves the disk`)
  }
  return found
}

function controlComplaints(plan: Plan): string[] {
  const found: string[] = []
  const seen = new Set<string>()
  const paused = new Set<string>()
  const [first, second, ...more] = plan.control.filter(({ kind }) => kind === 'mirror-start')
  if (first === undefined || more.length > 0) found.push('the mirror starts neither once nor twice')
  if (second !== undefined && plan.mirror.targetIsZero) found.push('the target is not zero the second time')
  for (const operation of plan.control) {
    const { on } = operation.when
    if (typeof on === 'object') {
      const isKnown = 'controlDone' in on ? seen.has(on.controlDone) : plan.guest.some(({ id }) => id === on.operationDone)
      if (!isKnown) found.push(`${operation.id} waits for nobody`)
      if (operation.kind === 'resume' && 'controlDone' in on) paused.delete(on.controlDone)
    }
    if (operation.kind === 'pause') paused.add(operation.id)
    if (operation.kind === 'set-speed' && operation.speedBytesPerSecond !== 0) {
      if (operation.speedBytesPerSecond < plan.source.lengthBytes) found.push(`${operation.id} is slower than any world may be`)
    }
    seen.add(operation.id)
  }
  for (const id of paused) found.push(`nobody resumes after ${id}`)
  return found
}
