/**
 * Mirrors one real image onto another: the block graph over two files, the mirror job, a guest if one is asked for, and a
 * comparison at the end through fresh descriptors.
 *
 * What may fail: everything, as a ProgramFailure with one line for the user; a destination that was created is removed
 * then, and the process is expected to end, which closes what is open.
 * What never may: a change of the source, which is opened for reading only unless a guest is asked for; success before
 * the copy is durable.
 */
import { BlockBackend, BlockError, BlockGraph, type BlockNode, Permission, type PreallocationMode } from '../block'
import { type FileDriver, openFile } from '../block/drivers/file'
import { LockError } from '../block/drivers/file_lock'
import { RawDriver } from '../block/drivers/raw'
import { assert, type Co, OK, strerror, WaitQueue } from '../co'
import { HostLoop, RealFiles } from '../host'
import { type CopyMode, type JobEvent, JobManager, type MirrorJob, startMirror } from '../jobs'
import { Destination } from './mirror_destination'
import { EXIT_FAILURE, EXIT_USAGE, inputOutputFailure, lockFailure, openFailure, ProgramFailure } from './mirror_failure'
import { SeededGuest } from './mirror_guest'
import { compareFiles } from './mirror_verify'

export interface MirrorRequest {
  sourcePath: string
  destinationPath: string
  sync: 'full' | 'top' | 'none'
  copyMode: CopyMode
  /** 0: the default. */
  granularityBytes: number
  /** 0: the default. */
  bufferBytes: number
  /** 0: no limit. */
  speedBytesPerSecond: number
  unmap: boolean
  /** The user vouches for it that the destination reads zero. */
  targetIsZero: boolean
  discard: 'ignore' | 'unmap'
  /** null: the user has not said; zeroes are looked for where holes cannot be told from data. */
  detectZeroes: 'off' | 'on' | 'unmap' | null
  /** null: the user has not said; a created destination is sparse then. */
  preallocation: Exclude<PreallocationMode, 'metadata'> | null
  /** null: no guest, and the source is opened for reading only. */
  guestSeed: number | null
  guestOperations: number
  verifies: boolean
  /** Changes the length of an existing destination to that of the source. */
  force: boolean
  usesThreads: boolean
}

export interface ImageFacts {
  path: string
  lengthBytes: number
  /** null: a device, which does not tell. */
  allocatedBytes: number | null
}

export interface MirrorOutcome {
  source: ImageFacts
  destination: ImageFacts
  copiedBytes: number
  /** Zeroes that did not have to be written, because the destination read zero there. */
  skippedZeroBytes: number
  zeroedBytes: number
  guestOperations: number
  /** False: nobody has asked for it. */
  isVerified: boolean
}

export interface MirrorStage {
  what: 'mirroring' | 'verifying'
  doneBytes: number
  totalBytes: number
}

const FOR_READING = { readOnly: true, direct: false }

export class MirrorProgram {
  private readonly request: MirrorRequest
  private readonly loop = new HostLoop()
  private readonly files = new RealFiles(this.loop)
  private destination: Destination | null = null
  private job: MirrorJob | null = null
  private verified: MirrorStage | null = null
  /** Which side the job's last error was on. */
  private failedRead = false

  constructor(request: MirrorRequest) {
    this.request = request
  }

  /** Does it all. Rejects with a ProgramFailure; anything else is a defect. Call once. */
  async run(): Promise<MirrorOutcome> {
    try {
      return await this.loop.run(this.work())
    } catch (error) {
      this.abandon()
      if (error instanceof LockError) throw lockFailure(error.path, error.message)
      if (error instanceof BlockError) {
        throw new ProgramFailure(this.request.destinationPath, error.message, 'change the options', EXIT_USAGE)
      }
      throw error
    }
  }

  /** Ends the work for good: removes what has been created. True if there is no copy left, false if half of one may be. */
  abandon(): boolean {
    const { destination } = this
    return destination === null || destination.discard()
  }

  /** How far the work is, or null when there is nothing to say. */
  get stage(): MirrorStage | null {
    if (this.verified !== null || this.job === null) return this.verified
    const { offsetBytes, lengthBytes } = this.job.progress
    return { what: 'mirroring', doneBytes: offsetBytes, totalBytes: lengthBytes }
  }

  private *work(): Co<MirrorOutcome> {
    const { sourcePath, destinationPath, verifies, guestSeed } = this.request
    const sourceDriver = yield* this.open(sourcePath, guestSeed === null)
    const destination = Destination.prepare(destinationPath, sourcePath)
    this.destination = destination
    if (!destination.wasCreated && this.request.preallocation !== null) {
      throw new ProgramFailure(destinationPath, 'it exists already', 'remove it, or leave --preallocation out', EXIT_USAGE)
    }
    const targetDriver = yield* this.open(destination.workPath, false)
    const graph = new BlockGraph(this.loop.kernel)
    graph.allocateBuffer = (bytes) => this.files.allocateBuffer(bytes)
    const source = graph.addNode({
      name: 'source',
      driver: sourceDriver,
      options: { readOnly: guestSeed === null, discard: 'unmap' },
    })
    const target = yield* this.makeTarget(graph, targetDriver, sourceDriver)
    const guestOperations = yield* this.mirror(graph, source, target)
    const outcome = this.outcomeOf(sourceDriver, targetDriver, guestOperations)
    yield* close(graph, target)
    yield* close(graph, source)
    if (verifies) yield* this.verify(destination.workPath, outcome.source.lengthBytes)
    destination.settle()
    return outcome
  }

  private *open(path: string, readOnly: boolean): Co<FileDriver> {
    try {
      const aio = this.request.usesThreads ? ({ aio: 'threads' } as const) : {}
      return yield* openFile(this.files, { filename: path, readOnly, ...aio })
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
      throw openFailure(path, error.errno, error.message.replace(`Could not open '${path}': `, ''))
    }
  }

  /** The node to mirror to, as long as the source. Throws ProgramFailure. */
  private *makeTarget(graph: BlockGraph, driver: FileDriver, source: FileDriver): Co<BlockNode> {
    const { destinationPath, sourcePath, force, discard } = this.request
    const tellsHoles = this.files.knowsHoles && !source.traits.isBlockDevice
    const options = { discard, detectZeroes: this.request.detectZeroes ?? (tellsHoles ? 'off' : 'on') } as const
    const lengthBytes = source.lengthBytes()
    const presentBytes = driver.lengthBytes()
    const { isBlockDevice } = driver.traits
    if (isBlockDevice && presentBytes > lengthBytes) {
      const file = graph.addNode({ name: 'destination-file', driver, options: { discard: 'unmap' } })
      const window = new RawDriver({ sizeBytes: Math.ceil(lengthBytes / 512) * 512 }, presentBytes)
      return graph.addNode({
        name: 'destination',
        driver: window,
        children: [{ name: 'file', role: 'image', node: file }],
        options,
      })
    }
    const target = graph.addNode({ name: 'destination', driver, options })
    const wasCreated = this.destination?.wasCreated === true
    if (presentBytes === lengthBytes && !wasCreated) return target
    if (isBlockDevice || !(wasCreated || force)) {
      const advice = isBlockDevice ? 'choose a larger disk' : 'remove it, or change its length with --force'
      const what = `${presentBytes} bytes long, not ${lengthBytes} as ${sourcePath}`
      throw new ProgramFailure(destinationPath, what, advice, EXIT_USAGE)
    }
    const backend = new BlockBackend(graph, '')
    backend.attach(target, Permission.Write | Permission.Resize, Permission.All)
    const errno = yield* backend.truncate(lengthBytes, true, this.request.preallocation ?? 'off')
    backend.detach()
    if (errno !== OK) throw inputOutputFailure(destinationPath, strerror(errno))
    return target
  }

  /** Runs the mirror to its end; the number of requests that a guest has made meanwhile. Throws ProgramFailure. */
  private *mirror(graph: BlockGraph, source: BlockNode, target: BlockNode): Co<number> {
    const { kernel } = this.loop
    const changed = new WaitQueue(kernel)
    const waits = { describe: () => 'waits for the mirror' }
    const jobs = new JobManager(kernel, (event) => {
      this.noteEvent(event)
      changed.wakeAll()
    })
    const disk = new BlockBackend(graph, 'guest')
    const guest = this.request.guestSeed === null ? null : new SeededGuest(kernel, disk, this.request.guestSeed)
    // Nobody else writes meanwhile, in this process or another one.
    const uses = guest === null ? Permission.ConsistentRead : Permission.ConsistentRead | Permission.Write
    disk.attach(source, uses, Permission.ConsistentRead | Permission.WriteUnchanged)
    const job = yield* this.startJob(graph, jobs, source, target)
    this.job = job
    guest?.start(this.request.guestOperations)
    while (!job.isReady && job.status !== 'null') yield* changed.wait(waits)
    if (guest !== null) yield* guest.finish()
    // Not `complete`: the guest's disk stays where it is. The copy is whole and durable either way.
    if (job.isReady) job.cancel(false)
    while (job.status !== 'null') yield* changed.wait(waits)
    if (job.errorText !== null) throw this.jobFailure(job.errorText)
    const errno = guest === null ? OK : guest.outcome.errno === OK ? yield* disk.flush() : guest.outcome.errno
    if (errno !== OK) throw inputOutputFailure(this.request.sourcePath, strerror(errno))
    disk.dispose()
    return guest === null ? 0 : guest.outcome.operations
  }

  private startJob(graph: BlockGraph, jobs: JobManager, source: BlockNode, target: BlockNode): Co<MirrorJob> {
    const { sync, copyMode, granularityBytes, bufferBytes, speedBytesPerSecond, unmap, discard, preallocation } = this.request
    // A file that was created reads zero, unless what was allocated for it is to be given back.
    const isFresh = this.destination?.wasCreated === true && (discard === 'ignore' || (preallocation ?? 'off') === 'off')
    return startMirror(graph, jobs, {
      jobId: 'mirror',
      source,
      target,
      sync,
      copyMode,
      granularityBytes,
      bufferBytes,
      speedBytesPerSecond,
      unmap,
      targetIsZero: this.request.targetIsZero || isFresh,
      onSourceError: 'report',
      onTargetError: 'report',
      autoFinalize: true,
      autoDismiss: true,
    })
  }

  private noteEvent({ event, data }: JobEvent): void {
    if (event === 'BLOCK_JOB_ERROR') this.failedRead = data['operation'] === 'read'
  }

  private jobFailure(text: string): ProgramFailure {
    const { sourcePath, destinationPath } = this.request
    return inputOutputFailure(this.failedRead ? sourcePath : destinationPath, text)
  }

  private outcomeOf(source: FileDriver, target: FileDriver, guestOperations: number): MirrorOutcome {
    assert(this.job !== null, 'mirror-has-run')
    const { copiedBytes, skippedZeroBytes, zeroedBytes } = this.job.view.statistics
    const isVerified = this.request.verifies
    return {
      source: factsOf(source),
      destination: { ...factsOf(target), path: this.request.destinationPath },
      copiedBytes,
      skippedZeroBytes,
      zeroedBytes,
      guestOperations,
      isVerified,
    }
  }

  /** Throws ProgramFailure at the first difference. */
  private *verify(workPath: string, lengthBytes: number): Co<void> {
    const { sourcePath, destinationPath } = this.request
    const stage: MirrorStage = { what: 'verifying', doneBytes: 0, totalBytes: lengthBytes }
    this.verified = stage
    const source = yield* this.files.open(sourcePath, FOR_READING)
    const destination = yield* this.files.open(workPath, FOR_READING)
    const { kernel } = this.loop
    const { differenceBytes, errno, failed } = yield* compareFiles(kernel, source, destination, lengthBytes, (doneBytes) => {
      stage.doneBytes = doneBytes
    })
    yield* source.close()
    yield* destination.close()
    if (errno !== OK) throw inputOutputFailure(failed === source ? sourcePath : destinationPath, strerror(errno))
    if (differenceBytes === null) return
    const what = `differs from ${sourcePath} at byte ${differenceBytes}`
    throw new ProgramFailure(destinationPath, what, 'make sure that nobody else writes to them, and try again', EXIT_FAILURE)
  }
}

function factsOf(driver: FileDriver): ImageFacts {
  const { allocatedBytes, lengthBytes, isBlockDevice } = driver.file.traits()
  return { path: driver.file.path, lengthBytes, allocatedBytes: isBlockDevice ? null : allocatedBytes }
}

/** Closes a node and what is below it. */
function* close(graph: BlockGraph, node: BlockNode): Co<void> {
  const below = [...node.children.values()].map((child) => child.node)
  yield* graph.removeNode(node)
  for (const child of below) yield* close(graph, child)
}
