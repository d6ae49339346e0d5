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
import { FormattedImages, fileOf, formatOf, forReading, ImageContent, type ImageFormat, type WantedFormat } from './mirror_images'
import { type Comparable, compareFiles } from './mirror_verify'

export interface MirrorRequest {
  sourcePath: string
  destinationPath: string
  sourceFormat: WantedFormat
  format: ImageFormat | null
  /** Of a qcow2 destination that is created; 0: the default. */
  clusterBytes: number
  extendedL2: boolean
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
  preallocation: PreallocationMode | null
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
const SECTOR_BYTES = 512

function wholeSectors(bytes: number): number {
  return Math.ceil(bytes / SECTOR_BYTES) * SECTOR_BYTES
}

export class MirrorProgram {
  private readonly request: MirrorRequest
  private readonly loop = new HostLoop()
  private readonly files = new RealFiles(this.loop)
  private readonly graph = new BlockGraph(this.loop.kernel)
  /** null: both images are raw. */
  private formatted: FormattedImages | null = null
  private sourceFormat: ImageFormat = 'raw'
  private targetFormat: ImageFormat = 'raw'
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
      this.findFormats()
      if (this.hasFormats) this.formatted = await FormattedImages.over(this.graph, this.files)
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

  private get hasFormats(): boolean {
    return this.sourceFormat !== 'raw' || this.targetFormat !== 'raw'
  }

  /** Before anything is opened or changed. Throws ProgramFailure. */
  private findFormats(): void {
    const { sourcePath, destinationPath, sourceFormat, format, usesThreads, clusterBytes, extendedL2, preallocation } =
      this.request
    this.sourceFormat = formatOf(sourcePath, sourceFormat, '--source-format')
    this.targetFormat = formatOf(destinationPath, format, '--format')
    if (this.targetFormat === 'raw') {
      const refused = preallocation === 'metadata' ? '--preallocation' : clusterBytes > 0 ? '--cluster-size' : '--extended-l2'
      const isRefused = preallocation === 'metadata' || clusterBytes > 0 || extendedL2
      if (isRefused) throw new ProgramFailure(refused, 'a raw image has no such thing', 'say --format qcow2', EXIT_USAGE)
    }
    if (usesThreads && this.hasFormats) {
      throw new ProgramFailure('--threads', 'it is for raw images only', 'leave it out', EXIT_USAGE)
    }
  }

  private *work(): Co<MirrorOutcome> {
    const { graph } = this
    graph.allocateBuffer = (bytes) => this.files.allocateBuffer(bytes)
    const source = yield* this.openSource()
    const destination = Destination.prepare(this.request.destinationPath, this.request.sourcePath)
    this.destination = destination
    if (!destination.wasCreated) this.refuseCreation()
    const lengthBytes = this.sourceFormat === 'raw' ? fileOf(source).lengthBytes() : source.lengthBytes
    const target =
      this.targetFormat === 'raw'
        ? yield* this.makeTarget(yield* this.open(destination.workPath, false), source, lengthBytes)
        : yield* this.makeFormatted(destination, lengthBytes)
    for (const node of [source, target]) this.formatted?.keep(node)
    const guestOperations = yield* this.mirror(graph, source, target)
    const outcome = this.outcomeOf(source, target, guestOperations)
    for (const node of [target, source]) yield* this.formatted?.close(node) ?? close(graph, node)
    if (this.request.verifies) yield* this.verify(destination.workPath, lengthBytes)
    destination.settle()
    return outcome
  }

  /** Options that say how a destination is created make no sense for one that is there. */
  private refuseCreation(): void {
    const { destinationPath, preallocation, clusterBytes, extendedL2 } = this.request
    const option = preallocation !== null ? '--preallocation' : clusterBytes > 0 ? '--cluster-size' : '--extended-l2'
    if (preallocation === null && clusterBytes === 0 && !extendedL2) return
    throw new ProgramFailure(destinationPath, 'it exists already', `remove it, or leave ${option} out`, EXIT_USAGE)
  }

  private *openSource(): Co<BlockNode> {
    const { sourcePath, guestSeed, sourceFormat, sync } = this.request
    const readOnly = guestSeed === null
    if (this.formatted === null || this.sourceFormat === 'raw') {
      const driver = yield* this.open(sourcePath, readOnly)
      return this.graph.addNode({ name: 'source', driver, options: { readOnly, discard: 'unmap' } })
    }
    const node = yield* this.formatted.open(sourcePath, 'source', { ...forReading(sourceFormat === 'probe'), readOnly })
    if (sync === 'top' && node.backing !== null) {
      const what = 'the copy would lack what its backing image holds'
      throw new ProgramFailure(sourcePath, what, 'copy all of it: --sync full', EXIT_USAGE)
    }
    return node
  }

  /** A qcow2 image to mirror to: a new one, or one that is as long as the source. Throws ProgramFailure. */
  private *makeFormatted(destination: Destination, sourceBytes: number): Co<BlockNode> {
    const { destinationPath, clusterBytes, extendedL2, preallocation, force } = this.request
    assert(this.formatted !== null, 'formats-loaded')
    const sizeBytes = wholeSectors(sourceBytes)
    if (destination.wasCreated) {
      const size = clusterBytes === 0 ? {} : { clusterBytes }
      yield* this.formatted.create(destination.workPath, {
        sizeBytes,
        ...size,
        extendedL2,
        preallocation: preallocation ?? 'off',
      })
    }
    const node = yield* this.formatted.open(destination.workPath, 'destination', {
      readOnly: false,
      mayProbe: false,
      discard: this.request.discard,
      detectZeroes: this.request.detectZeroes ?? 'off',
    })
    if (node.backing !== null) {
      const what = 'it has a backing image, which the copy would still show through it'
      throw new ProgramFailure(destinationPath, what, 'choose a new file', EXIT_USAGE)
    }
    if (node.lengthBytes === sizeBytes) return node
    if (!force) throw this.lengthFailure(node.lengthBytes, sizeBytes, false)
    yield* this.setLength(node, sizeBytes, 'off')
    return node
  }

  private lengthFailure(presentBytes: number, lengthBytes: number, isBlockDevice: boolean): ProgramFailure {
    const { sourcePath, destinationPath } = this.request
    const advice = isBlockDevice ? 'choose a larger disk' : 'remove it, or change its length with --force'
    const what = `${presentBytes} bytes long, not ${lengthBytes} as ${sourcePath}`
    return new ProgramFailure(destinationPath, what, advice, EXIT_USAGE)
  }

  private *setLength(target: BlockNode, lengthBytes: number, preallocation: PreallocationMode): Co<void> {
    const backend = new BlockBackend(this.graph, '')
    backend.attach(target, Permission.Write | Permission.Resize, Permission.All)
    const errno = yield* backend.truncate(lengthBytes, true, preallocation)
    backend.detach()
    if (errno !== OK) throw inputOutputFailure(this.request.destinationPath, strerror(errno))
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

  /** The raw image to mirror to, as long as the source. Throws ProgramFailure. */
  private *makeTarget(driver: FileDriver, source: BlockNode, lengthBytes: number): Co<BlockNode> {
    const { graph } = this
    const { force, discard } = this.request
    const tellsHoles = this.sourceFormat !== 'raw' || (this.files.knowsHoles && !fileOf(source).traits.isBlockDevice)
    const options = { discard, detectZeroes: this.request.detectZeroes ?? (tellsHoles ? 'off' : 'on') } as const
    const presentBytes = driver.lengthBytes()
    const { isBlockDevice } = driver.traits
    if (isBlockDevice && presentBytes > lengthBytes) {
      const file = graph.addNode({ name: 'destination-file', driver, options: { discard: 'unmap' } })
      const window = new RawDriver({ sizeBytes: wholeSectors(lengthBytes) }, presentBytes)
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
    if (isBlockDevice || !(wasCreated || force)) throw this.lengthFailure(presentBytes, lengthBytes, isBlockDevice)
    yield* this.setLength(target, lengthBytes, this.request.preallocation ?? 'off')
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

  private outcomeOf(source: BlockNode, target: BlockNode, guestOperations: number): MirrorOutcome {
    assert(this.job !== null, 'mirror-has-run')
    const { copiedBytes, skippedZeroBytes, zeroedBytes } = this.job.view.statistics
    const isVerified = this.request.verifies
    return {
      source: factsOf(source, this.sourceFormat),
      destination: { ...factsOf(target, this.targetFormat), path: this.request.destinationPath },
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
    const source = yield* this.openAgain(sourcePath, this.sourceFormat, 'source')
    const destination = yield* this.openAgain(workPath, this.targetFormat, 'destination')
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

  /** Through a descriptor and, where there is a format, tables of its own. */
  private *openAgain(path: string, format: ImageFormat, name: string): Co<Comparable & { close(): Co<unknown> }> {
    if (format === 'raw') return yield* this.files.open(path, FOR_READING)
    const { formatted, graph } = this
    assert(formatted !== null, 'formats-loaded')
    const node = yield* formatted.open(path, name, forReading(this.request.sourceFormat === 'probe'))
    const content = new ImageContent(graph, node)
    return {
      pread: (offsetBytes, buffer) => content.pread(offsetBytes, buffer),
      extentAt: (offsetBytes) => content.extentAt(offsetBytes),
      *close() {
        content.detach()
        yield* formatted.close(node)
      },
    }
  }
}

function factsOf(node: BlockNode, format: ImageFormat): ImageFacts {
  const { file } = fileOf(node)
  const { allocatedBytes, lengthBytes, isBlockDevice } = file.traits()
  const shownBytes = format === 'raw' ? lengthBytes : node.lengthBytes
  return { path: file.path, lengthBytes: shownBytes, allocatedBytes: isBlockDevice ? null : allocatedBytes }
}

/** Closes a node and what is below it. */
function* close(graph: BlockGraph, node: BlockNode): Co<void> {
  const below = [...node.children.values()].map((child) => child.node)
  yield* graph.removeNode(node)
  for (const child of below) yield* close(graph, child)
}
