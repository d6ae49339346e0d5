/** For tests only: a context over files in memory, with locks and devices left out. */
import { BlockError, type BlockGraph, type FileTraits, type HostExtent, type HostFile, type HostFiles } from '../block'
import { TEST_CRYPTOGRAPHY } from '../block/crypto/testing'
import { TEST_CODECS } from '../block/drivers/qcow2/testing'
import { type TestBench, testBench } from '../block/testing'
import { type Co, EISDIR, ENOENT, ENOSPC, ENOTSUP, type Errno, OK, strerror } from '../co'
import { BlockdevContext } from './context'

/** The medium is full then. */
const MEMORY_BYTES_MAX = 128 * 2 ** 20

class MemoryFile implements HostFile {
  readonly path: string
  private readonly owner: MemoryFiles
  private readonly isReadOnly: boolean

  constructor(owner: MemoryFiles, path: string, isReadOnly: boolean) {
    this.owner = owner
    this.path = path
    this.isReadOnly = isReadOnly
    owner.openCount++
  }
  private get data(): Uint8Array {
    return this.owner.contents.get(this.path) ?? new Uint8Array(0)
  }
  traits(): FileTraits {
    const lengthBytes = this.data.length
    return {
      lengthBytes,
      allocatedBytes: lengthBytes,
      isBlockDevice: this.owner.devices.has(this.path),
      identity: this.path,
      holeUnitBytes: 512,
      alignmentBytes: 1,
      isReadOnly: this.isReadOnly,
    }
  }
  *pread(offsetBytes: number, buffer: Uint8Array): Co<Errno> {
    buffer.fill(0)
    buffer.set(this.data.subarray(offsetBytes, offsetBytes + buffer.length))
    return OK
  }
  *pwrite(offsetBytes: number, buffer: Uint8Array): Co<Errno> {
    if (offsetBytes + buffer.length > MEMORY_BYTES_MAX) return ENOSPC
    if (offsetBytes + buffer.length > this.data.length) this.resize(offsetBytes + buffer.length)
    this.data.set(buffer, offsetBytes)
    return OK
  }
  private resize(lengthBytes: number): void {
    const data = new Uint8Array(lengthBytes)
    data.set(this.data.subarray(0, lengthBytes))
    this.owner.contents.set(this.path, data)
  }
  *punchHole(offsetBytes: number, lengthBytes: number): Co<Errno> {
    this.data.fill(0, offsetBytes, offsetBytes + lengthBytes)
    return OK
  }
  *zeroRange(): Co<Errno> {
    return ENOTSUP
  }
  *allocate(offsetBytes: number, lengthBytes: number): Co<Errno> {
    if (offsetBytes + lengthBytes > MEMORY_BYTES_MAX) return ENOSPC
    if (offsetBytes + lengthBytes > this.data.length) this.resize(offsetBytes + lengthBytes)
    return OK
  }
  *extentAt(): Co<HostExtent> {
    return { errno: ENOTSUP, isData: true, endBytes: 0 }
  }
  *truncate(lengthBytes: number): Co<Errno> {
    if (lengthBytes > MEMORY_BYTES_MAX) return ENOSPC
    this.resize(lengthBytes)
    return OK
  }
  *sync(): Co<Errno> {
    return OK
  }
  *close(): Co<Errno> {
    this.owner.openCount--
    return OK
  }
}

export class MemoryFiles implements HostFiles {
  readonly contents = new Map<string, Uint8Array>()
  readonly devices = new Set<string>()
  readonly folders = new Set<string>()
  /** Names that cannot be opened for writing. */
  readonly readOnly = new Map<string, Errno>()
  openCount = 0;

  *open(path: string, options: { readOnly: boolean }): Co<HostFile> {
    const refusal = this.folders.has(path) ? EISDIR : options.readOnly ? OK : (this.readOnly.get(path) ?? OK)
    const errno = this.contents.has(path) ? refusal : this.folders.has(path) ? EISDIR : ENOENT
    if (errno !== OK) throw new BlockError(`Could not open '${path}': ${strerror(errno)}`, { errno })
    return new MemoryFile(this, path, options.readOnly)
  }
  *create(path: string, lengthBytes: number): Co<HostFile> {
    this.contents.set(path, new Uint8Array(lengthBytes))
    return new MemoryFile(this, path, false)
  }
  isDevice(path: string): boolean {
    return this.devices.has(path)
  }
  remove(path: string): void {
    this.contents.delete(path)
  }
}

export interface BlockdevBench extends TestBench {
  graph: BlockGraph
  files: MemoryFiles
  context: BlockdevContext
  warnings: string[]
}

export function blockdevBench(): BlockdevBench {
  const bench = testBench()
  const files = new MemoryFiles()
  const warnings: string[] = []
  const context = new BlockdevContext({
    graph: bench.graph,
    files,
    codecs: TEST_CODECS,
    cryptography: () => TEST_CRYPTOGRAPHY,
    warn: (text) => warnings.push(text),
  })
  return { ...bench, files, context, warnings }
}
