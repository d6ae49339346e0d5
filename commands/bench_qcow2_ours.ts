/**
 * Our side of the qcow2 benchmark, in a process of its own as a program that a user runs: an image through backend, format and
 * protocol on a file of the machine. One argument, a Qcow2Work as JSON. Exit code 1 and a line on stderr if a request fails.
 */
import { BlockBackend, BlockGraph, type BlockNode, Permission } from '../impl/block'
import { createFile, openFile } from '../impl/block/drivers/file'
import { createQcow2, openQcow2 } from '../impl/block/drivers/qcow2'
import { assert, type Co, makeLabel, OK, strerror } from '../impl/co'
import { HOST_CODECS, HostLoop, RealFiles } from '../impl/host'

export type Operation = 'read' | 'write' | 'zero'

/** Requests at offsets 0, step, 2 * step, … modulo the length of the disk, as `qemu-img bench` makes them. */
export interface Qcow2Work {
  file: string
  /** Makes the image instead; requests are left out. */
  create?: { sizeBytes: number; preallocation: 'off' | 'metadata' }
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

function* openNode(graph: BlockGraph, filename: string): Co<BlockNode> {
  const file = graph.addNode({ name: 'file', driver: yield* openFile(files, { filename, readOnly: false }) })
  const driver = yield* openQcow2(file, { codecs: HOST_CODECS })
  const node = graph.addNode({ name: 'disk', driver, children: [{ name: 'file', role: 'image', node: file }] })
  yield* driver.start(null)
  return node
}

function* create(graph: BlockGraph, { file, create: wanted }: Qcow2Work): Co<void> {
  assert(wanted !== undefined, 'create-something')
  yield* createFile(loop.kernel, files, { filename: file, sizeBytes: 0 })
  const node = graph.addNode({ driver: yield* openFile(files, { filename: file, readOnly: false }) })
  yield* createQcow2(node, wanted)
  yield* graph.removeNode(node)
}

function* work(job: Qcow2Work): Co<void> {
  const graph = new BlockGraph(loop.kernel)
  graph.allocateBuffer = (bytes) => files.allocateBuffer(bytes)
  if (job.create !== undefined) return yield* create(graph, job)
  const node = yield* openNode(graph, job.file)
  const file = node.children.get('file')!.node
  const backend = new BlockBackend(graph, 'disk0')
  backend.attach(node, Permission.ConsistentRead | Permission.Write, Permission.All)
  const requests = new Requests(backend, job)
  const workers = Array.from({ length: job.depth }, () => loop.kernel.spawn(requests.worker(), WORKER))
  for (const worker of workers) yield* loop.kernel.join(worker)
  const errno = yield* backend.flush()
  if (errno !== OK) throw new Error(`flush: ${strerror(errno)}`)
  backend.dispose()
  yield* graph.removeNode(node)
  yield* graph.removeNode(file)
}

class Requests {
  private offsetBytes = 0
  private begun = 0

  constructor(
    private readonly backend: BlockBackend,
    private readonly job: Qcow2Work,
  ) {}

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
