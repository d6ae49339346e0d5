/**
 * The `blkverify` filter: sends every request to the plain image `raw` and to the image under test `test`, and compares what
 * they return and what they read. What users see is the image under test.
 *
 * What may fail: the images, alike. Where they differ, `onMismatch` hears of it, and the request fails with EIO: nobody
 * should build on what may be wrong.
 * What never may: a mismatch that only shows requests overtaking each other. A write excludes what overlaps it here,
 * so that both images see the same order. Discards go nowhere: what they leave is not promised.
 */
import { assert, type Co, EIO, type Errno, OK } from '../../co'
import type { PreallocationMode } from '../driver'
import { BlockError } from '../error'
import { type BlockLimits, RequestFlag } from '../flags'
import type { BlockChild } from '../node'
import { TrackedRequests } from '../tracked_requests'
import { FilterDriver } from './filter'

export interface Mismatch {
  operation: 'read' | 'write' | 'write-zeroes' | 'truncate'
  offsetBytes: number
  lengthBytes: number
  /** In words, as QEMU prints it. */
  text: string
}

export class BlkverifyDriver extends FilterDriver {
  readonly name = 'blkverify'
  private readonly onMismatch: (mismatch: Mismatch) => void
  private test!: BlockChild
  private requests: TrackedRequests | null = null

  constructor(onMismatch: (mismatch: Mismatch) => void) {
    super()
    this.onMismatch = onMismatch
  }

  override lengthBytes(): number {
    return this.test.node.lengthBytes
  }
  override refreshLimits(limits: BlockLimits): void {
    super.refreshLimits(limits)
    const test = this.node.children.get('test')
    assert(test !== undefined, 'blkverify-has-test', () => this.node.name)
    this.test = test
    this.requests ??= new TrackedRequests(this.node.kernel)
    const { supportedWriteFlags, supportedZeroFlags } = test.node.driver
    this.supportedWriteFlags &= RequestFlag.WriteUnchanged | (RequestFlag.Fua & supportedWriteFlags)
    // One of the two may know a way to zero that the other does not: that is no difference.
    this.supportedZeroFlags &= RequestFlag.WriteUnchanged | ((RequestFlag.Fua | RequestFlag.MayUnmap) & supportedZeroFlags)
  }

  override *pread(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    assert(offsetBytes >= 0 && buffer.length > 0, 'blkverify-range')
    const requests = this.requests!
    const request = requests.begin(offsetBytes, buffer.length)
    if (requests.hasSerialising) yield* requests.waitForConflicts(request)
    const plain = new Uint8Array(buffer.length)
    const rawErrno = yield* this.child.pread(offsetBytes, plain, flags)
    const testErrno = yield* this.test.pread(offsetBytes, buffer, flags)
    requests.end(request)
    const errno = this.compare('read', offsetBytes, buffer.length, rawErrno, testErrno)
    if (errno !== OK || Buffer.compare(plain, buffer) === 0) return errno
    const at = offsetBytes + buffer.findIndex((byte, index) => byte !== plain[index])
    return this.report('read', offsetBytes, buffer.length, `contents mismatch at offset ${at}`)
  }

  override pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    const { child, test } = this
    return this.change(
      'write',
      offsetBytes,
      buffer.length,
      child.pwrite(offsetBytes, buffer, flags),
      test.pwrite(offsetBytes, buffer, flags),
    )
  }
  override pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    const { child, test } = this
    return this.change(
      'write-zeroes',
      offsetBytes,
      lengthBytes,
      child.pwriteZeroes(offsetBytes, lengthBytes, flags),
      test.pwriteZeroes(offsetBytes, lengthBytes, flags),
    )
  }
  override *pdiscard(_offsetBytes: number, _lengthBytes: number): Co<Errno> {
    return OK
  }
  override *truncate(lengthBytes: number, exact: boolean, preallocation: PreallocationMode): Co<Errno> {
    const rawErrno = yield* this.child.truncate(lengthBytes, exact, preallocation)
    const testErrno = yield* this.test.truncate(lengthBytes, exact, preallocation)
    return this.compare('truncate', 0, lengthBytes, rawErrno, testErrno)
  }

  /** Sends a change to both, after all that overlaps it and before all that comes later. */
  private *change(
    operation: Mismatch['operation'],
    offsetBytes: number,
    lengthBytes: number,
    raw: Co<Errno>,
    test: Co<Errno>,
  ): Co<Errno> {
    const requests = this.requests!
    const request = requests.begin(offsetBytes, lengthBytes)
    requests.serialise(request, 1)
    yield* requests.waitForConflicts(request)
    const rawErrno = yield* raw
    const testErrno = yield* test
    requests.end(request)
    assert(lengthBytes > 0, 'change-not-empty')
    return this.compare(operation, offsetBytes, lengthBytes, rawErrno, testErrno)
  }

  private compare(
    operation: Mismatch['operation'],
    offsetBytes: number,
    lengthBytes: number,
    rawErrno: Errno,
    testErrno: Errno,
  ): Errno {
    if (rawErrno === testErrno) return testErrno
    return this.report(operation, offsetBytes, lengthBytes, `return value mismatch ${-testErrno} != ${-rawErrno}`)
  }

  private report(operation: Mismatch['operation'], offsetBytes: number, lengthBytes: number, what: string): Errno {
    const text = `blkverify: ${operation} offset=${offsetBytes} bytes=${lengthBytes} ${what}`
    this.onMismatch({ operation, offsetBytes, lengthBytes, text })
    return EIO
  }
}

/** The parts of `blkverify:RAW:TEST`. Throws BlockError. */
export function parseBlkverifyFilename(filename: string): { raw: string; test: string } {
  const rest = filename.replace(/^blkverify:/, '')
  const colon = rest.indexOf(':')
  if (colon < 0) throw new BlockError('blkverify requires raw copy and original image path')
  return { raw: rest.slice(0, colon), test: rest.slice(colon + 1) }
}
