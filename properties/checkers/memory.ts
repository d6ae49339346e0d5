/**
 * Large buffers that checkers take and give back, because fresh ones cost more than what is done with them. What is handed
 * out holds anything; whoever keeps a buffer because its world failed leaves it to the collector.
 */

const LEAST_BYTES = 64 * 1024
const SPARE_MAX = 8

const spare: Buffer[] = []

/** At least `lengthBytes`, uninitialised. */
export function takeMemory(lengthBytes: number): Buffer {
  for (let index = spare.length - 1; index >= 0; index--) {
    if (spare[index]!.length >= lengthBytes) return spare.splice(index, 1)[0]!
  }
  return Buffer.allocUnsafeSlow(Math.max(LEAST_BYTES, 2 ** (32 - Math.clz32(lengthBytes - 1))))
}

export function giveMemoryBack(buffer: Buffer): void {
  if (spare.length < SPARE_MAX) spare.push(buffer)
}
