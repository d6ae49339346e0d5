/** What a named plan says of its end, and what came out otherwise. */
import type { Expectation, WorldResult } from '../sim/verdict'

/** What came out otherwise than expected, one line each. */
export function differences(expected: Expectation, { failure, end, timeNs, faultsFired }: WorldResult): string[] {
  const found: string[] = []
  const atMost = (what: string, value: number, most: number | undefined): void => {
    if (most !== undefined && value > most) found.push(`${what} ${value}, expected at most ${most}`)
  }
  if (failure !== null) found.push(`${failure.key}: ${failure.text} (event ${failure.step})`)
  if (expected.jobError !== 'any' && end.jobError !== (expected.jobError ?? null)) {
    found.push(`job error ${end.jobError}, expected ${expected.jobError ?? null}`)
  }
  if (expected.jobStatus !== undefined && end.jobStatus !== expected.jobStatus) {
    found.push(`job ${end.jobStatus}, expected ${expected.jobStatus}`)
  }
  atMost('destinationAllocatedBytes', end.destinationAllocatedBytes, expected.destinationAllocatedBytesMax)
  atMost('sourceAllocatedBytes', end.sourceAllocatedBytes, expected.sourceAllocatedBytesMax)
  atMost('copiedBytes', end.copiedBytes, expected.copiedBytesMax)
  atMost('timeNs', timeNs, expected.timeNsMax)
  if (end.skippedZeroBytes < (expected.skippedZeroBytesMin ?? 0)) {
    found.push(`skippedZeroBytes ${end.skippedZeroBytes}, expected at least ${expected.skippedZeroBytesMin}`)
  }
  if (expected.guestOperationsDone !== undefined && end.guestOperationsDone !== expected.guestOperationsDone) {
    found.push(`guestOperationsDone ${end.guestOperationsDone}, expected ${expected.guestOperationsDone}`)
  }
  for (const [id, times] of Object.entries(faultsFired)) {
    if (expected.allFaultsFire === true && times === 0) found.push(`fault ${id} never fired`)
  }
  return found
}
