/**
 * The origin scenarios, which worlds run on simulated disks, on files of the real machine: the same plans, the same
 * expectations, with room for what a file system adds.
 */
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ORIGIN } from '../../scenarios/origin'
import type { DiskPlan, GuestOperation, Plan } from '../../sim/plan'
import { BlockBackend, BlockGraph, type BlockNode, Permission, RequestFlag } from '../block'
import { openFile } from '../block/drivers/file'
import { type Co, type Errno, makeLabel, OK, WaitQueue } from '../co'
import { HostLoop, RealFiles } from '../host'
import { loadNative } from '../host/native'
import { JobManager, startMirror } from '../jobs'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sparse-'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))

function makeDisk(file: string, disk: DiskPlan, lengthBytes: number): void {
  const descriptor = fs.openSync(file, 'w')
  fs.ftruncateSync(descriptor, lengthBytes)
  for (const { id, offsetBytes, lengthBytes: bytes, content } of disk.initial) {
    fs.writeSync(descriptor, Buffer.alloc(bytes, content === 'data' ? `${id}.` : 0), 0, bytes, offsetBytes)
  }
  fs.closeSync(descriptor)
}

function request(disk: BlockBackend, { id, kind, offsetBytes, lengthBytes, unmap, zeroData }: GuestOperation): Co<Errno> {
  if (kind === 'discard') return disk.pdiscard(offsetBytes, lengthBytes)
  if (kind === 'write-zeroes') return disk.pwriteZeroes(offsetBytes, lengthBytes, unmap === true ? RequestFlag.MayUnmap : 0)
  assert.is(kind, 'write')
  return disk.pwrite(offsetBytes, Buffer.alloc(lengthBytes, zeroData === true ? 0 : `${id}.`))
}

/** Runs a plan's guest beside its mirror, to the end of both. */
function* runPlan(loop: HostLoop, plan: Plan, sourcePath: string, destinationPath: string): Co<void> {
  const { kernel } = loop
  const files = new RealFiles(loop)
  const graph = new BlockGraph(kernel)
  const nodes: BlockNode[] = []
  for (const [name, filename, disk] of [
    ['source', sourcePath, plan.source],
    ['destination', destinationPath, plan.destination],
  ] as const) {
    nodes.push(graph.addNode({ name, driver: yield* openFile(files, { filename }), options: disk.node }))
  }
  const [source, target] = nodes as [BlockNode, BlockNode]
  const changed = new WaitQueue(kernel)
  const jobs = new JobManager(kernel, () => changed.wakeAll())
  const disk = new BlockBackend(graph, 'drive0')
  disk.attach(source, Permission.ConsistentRead | Permission.Write, Permission.All)
  function* lane(number: number): Co<void> {
    for (const operation of plan.guest.filter((each) => each.lane === number)) {
      if (operation.thinkNs > 0) yield* kernel.sleepNs(operation.thinkNs)
      assert.is(yield* request(disk, operation), OK, operation.id)
    }
  }
  const { autoFinalize, replaces: _, ...mirror } = plan.mirror
  const job = yield* startMirror(graph, jobs, { jobId: 'mirror', source, target, autoFinalize, autoDismiss: true, ...mirror })
  const numbers = [...new Set(plan.guest.map((operation) => operation.lane))]
  const lanes = numbers.map((number) => kernel.spawn(lane(number), makeLabel(`lane-${number}`)))
  for (const each of lanes) yield* kernel.join(each)
  while (!job.isReady) yield* changed.wait({ describe: () => 'waits for READY' })
  job.complete()
  while (job.status !== 'null') yield* changed.wait({ describe: () => 'waits for the end' })
  assert.is(job.errorText, null)
  disk.dispose()
  for (const node of nodes) yield* graph.removeNode(node)
}

for (const { name, plan, expected } of ORIGIN) {
  test(`${name}: the copy is the same, and as thin as can be`, async () => {
    const sourcePath = path.join(folder, 'source.raw')
    const destinationPath = path.join(folder, 'destination.raw')
    makeDisk(sourcePath, plan.source, plan.source.lengthBytes)
    makeDisk(destinationPath, plan.destination, plan.source.lengthBytes)
    const loop = new HostLoop()
    await loop.run(runPlan(loop, plan, sourcePath, destinationPath))
    assert.ok(fs.readFileSync(destinationPath).equals(fs.readFileSync(sourcePath)), 'the content differs')
    if (loadNative() === null) return
    const allocatedBytes = fs.statSync(destinationPath).blocks * 512
    // The two ends of the data, and what the file system needs to find it.
    const slackBytes = 2 * plan.mirror.granularityBytes
    assert.ok(
      allocatedBytes <= expected.destinationAllocatedBytesMax! + slackBytes,
      `${allocatedBytes} bytes allocated, ${expected.destinationAllocatedBytesMax} expected`,
    )
  })
}

test.run()
