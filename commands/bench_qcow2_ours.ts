/**
 * Our side of the qcow2 benchmark, in a process of its own as a program that a user runs: an image through backend, format and
 * protocol on a file of the machine. One argument, a Qcow2Work as JSON. Exit code 1 and a line on stderr if a request fails.
 */
import { BlockBackend, BlockGraph, type BlockNode, Permission } from '../impl/block'
import { createFile } from '../impl/block/drivers/file'
import { createQcow2, type Qcow2CreateOptions } from '../impl/block/drivers/qcow2'
import { BlockdevContext, Options, openImage, releaseNode } from '../impl/blockdev'
import { assert, type Co, makeLabel, OK, strerror } from '../impl/co'
import { HOST_CODECS, HostLoop, RealFiles } from '../impl/host'

export type Operation = 'read' | 'write' | 'zero'

/** Requests at offsets 0, step, 2 * step, … modulo the length of the disk, as `qemu-img bench` makes them. */
export interface Qcow2Work {
  file: string
  /** Makes the image instead; requests are left out. */
  create?: Qcow2CreateOptions
  operation: Operation
  requestBytes: number
  stepBytes: number
  count: number
  /** Requests in flight at a time. */
  depth: number
}

const loop = new HostLoop()
const files = new RealFiles(loop)
const WORKER = makeLabel('worker')

function open(context: BlockdevContext, filename: string, driver: 'qcow2' | 'file'): Co<BlockNode> {
  return openImage(context, { filename, options: new Options([['driver', driver]]) })
}

function* create(context: BlockdevContext, filename: string, wanted: Qcow2CreateOptions): Co<void> {
  yield* createFile(loop.kernel, files, { filename, sizeBytes: 0 })
  const node = yield* open(context, filename, 'file')
  yield* createQcow2(node, wanted)
  yield* releaseNode(context, node)
}

function* work(job: Qcow2Work): Co<void> {
  const graph = new BlockGraph(loop.kernel)
  graph.allocateBuffer = (bytes) => files.allocateBuffer(bytes)
  const context = new BlockdevContext({ graph, files, codecs: HOST_CODECS })
  if (job.create !== undefined) return yield* create(context, job.file, job.create)
  const node = yield* open(context, job.file, 'qcow2')
  const backend = new BlockBackend(graph, 'disk0')
  backend.attach(node, Permission.ConsistentRead | Permission.Write, Permission.All)
  const requests = new Requests(backend, job)
  const workers = Array.from({ length: job.depth }, () => loop.kernel.spawn(requests.worker(), WORKER))
  for (const worker of workers) yield* loop.kernel.join(worker)
  const errno = yield* backend.flush()
  if (errno !== OK) throw new Error(`flush: ${strerror(errno)}`)
  assert(requests.isDone, 'all-requests-made')
  backend.dispose()
  yield* releaseNode(context, node)
}

class Requests {
  private offsetBytes = 0
  private begun = 0

  constructor(
    private readonly backend: BlockBackend,
    private readonly job: Qcow2Work,
  ) {}

  get isDone(): boolean {
    return this.begun === this.job.count
  }

  *worker(): Co<void> {
    const { operation, requestBytes, stepBytes, count } = this.job
    const buffer = this.backend.graph.allocateBuffer(requestBytes)
    while (this.begun < count) {
      this.begun++
      const offsetBytes = this.offsetBytes
      this.offsetBytes = (offsetBytes + stepBytes) % this.backend.lengthBytes
      const errno = yield* this.request(operation, offsetBytes, buffer)
      if (errno !== OK) throw new Error(`${operation} at ${offsetBytes}: ${strerror(errno)}`)
    }
  }

  private request(operation: Operation, offsetBytes: number, buffer: Uint8Array): Co<number> {
    if (operation === 'read') return this.backend.pread(offsetBytes, buffer)
    if (operation === 'write') return this.backend.pwrite(offsetBytes, buffer)
    return this.backend.pwriteZeroes(offsetBytes, buffer.length)
  }
}

if (require.main === module) {
  loop.run(work(JSON.parse(process.argv[2]!))).catch((error: Error) => {
    process.stderr.write(`${error.message}\n`)
    process.exitCode = 1
  })
}
