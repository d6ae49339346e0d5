/** qemu-img convert: one or several images into one of any format. */
import { BlockError, type BlockNode, RequestFlag } from '../../../block'
import { addBitmap, enableBitmap, mergeBitmaps } from '../../../block/named_bitmap'
import { type CreateOptions, createBy, creatorsOf, findDriver, wholeText } from '../../../blockdev'
import { type Co, OK, strerror } from '../../../co'
import { filenameOf } from '../image_info'
import type { OpenImage, Tool } from '../tool'
import { ToolExit } from '../tool'
import { asksForHelp, checkOptionList, createOptionsOf, type ImgCommand, printCreateHelp } from './command'
import { ConvertCopy } from './convert_copy'
import { type ConvertArguments, parseConvert } from './convert_options'
import { CopyPlan, type CopySource } from './copy_plan'
import { loadSnapshot } from './measure'
import { Progress } from './progress'

const SECTOR_BYTES = 512

interface Target {
  image: OpenImage
  isNew: boolean
  hasBacking: boolean
}

class Convert {
  private readonly tool: Tool
  private readonly given: ConvertArguments
  private readonly sources: CopySource[] = []
  private readonly opened: OpenImage[] = []

  constructor(tool: Tool, given: ConvertArguments) {
    this.tool = tool
    this.given = given
  }

  *run(): Co<number> {
    const { tool, given } = this
    const progress = new Progress(tool, given.isProgress && !given.isQuiet)
    progress.set(0)
    try {
      yield* this.openSources()
      const target = yield* this.openTarget()
      this.checkTarget(target)
      yield* this.copy(target, progress)
      if (given.bitmaps) yield* this.copyBitmaps(target)
      yield* this.closeAll(target)
      progress.set(100)
      progress.end()
      return 0
    } catch (error) {
      if (error instanceof ToolExit) progress.end()
      throw error
    }
  }

  private *openSources(): Co<void> {
    const { tool, given } = this
    let startBytes = 0
    for (const filename of given.sourceNames) {
      const image = yield* tool.demandImage({
        ...{ filename, format: given.sourceFormat, isOptions: given.isSourceOptions, forceShare: given.forceShare },
        excludesWriters: !given.forceShare,
        cache: given.sourceCache,
      })
      this.opened.push(image)
      if (given.snapshot !== null && given.sourceNames.length === 1) yield* loadSnapshot(tool, image.node, given.snapshot)
      const { lengthBytes } = image.backend
      this.sources.push({ backend: image.backend, filename, startBytes, lengthBytes })
      startBytes += lengthBytes
    }
    if (given.snapshot !== null && given.sourceNames.length > 1) tool.fail('No support for concatenating multiple snapshot')
  }

  private get totalBytes(): number {
    const last = this.sources.at(-1)!
    return last.startBytes + last.lengthBytes
  }

  private *openTarget(): Co<Target> {
    const { tool, given } = this
    const { targetName: filename } = given
    let hasBacking = false
    const extra: Array<[string, string]> = [['discard', 'unmap']]
    if (!given.skipsCreation) {
      const options = this.targetOptions()
      hasBacking = options.has('backing_file')
      yield* this.create(options)
      // What was made with a key is opened with it.
      for (const name of ['key-secret', 'encrypt.key-secret']) {
        const secret = options.knows(name) ? options.string(name) : undefined
        if (secret !== undefined) extra.push([name, secret])
      }
    }
    const request = { filename, isWritable: true, cache: given.targetCache, extra }
    const image = given.isTargetOptions
      ? yield* tool.demandImage({ ...request, isOptions: true })
      : yield* tool.demandImage({ ...request, format: given.targetFormat })
    hasBacking ||= image.node.backing !== null && !given.skipsCreation
    return { image, isNew: !given.skipsCreation, hasBacking }
  }

  /** What the new image is made with. Throws ToolExit. */
  private targetOptions(): CreateOptions {
    const { tool, given } = this
    let options: CreateOptions
    try {
      options = createOptionsOf(tool, given.targetFormat, given.targetName, given.optionTexts)
      if (!options.has('size')) options.set('size', wholeText(this.totalBytes))
      if (given.backingName !== null) this.setBacking(options, given.backingName)
    } catch (error) {
      return tool.failWith(error)
    }
    const backing = options.string('backing_file')
    if (backing !== undefined && given.sourceNames.length > 1) {
      tool.fail('Having a backing file for the target makes no sense when concatenating multiple input images')
    }
    if (backing !== undefined && options.string('backing_fmt') === undefined) {
      tool.fail('Use of backing file requires explicit backing format')
    }
    if (given.isCompressed) this.checkCompression(options)
    return options
  }

  private setBacking(options: CreateOptions, name: string): void {
    const { targetFormat } = this.given
    if (!options.knows('backing_file')) throw new BlockError(`Backing file not supported for file format '${targetFormat}'`)
    options.set('backing_file', name)
    if (this.given.backingFormat !== null) options.set('backing_fmt', this.given.backingFormat)
  }

  private checkCompression(options: CreateOptions): void {
    if (options.flag('encryption') === true || options.string('encrypt.format') !== undefined) {
      this.tool.fail('Compression and encryption not supported at the same time')
    }
    if ((options.string('preallocation') ?? 'off') !== 'off') {
      this.tool.fail('Compression and preallocation not supported at the same time')
    }
  }

  private *create(options: CreateOptions): Co<void> {
    const { tool, given } = this
    const { driver } = creatorsOf(tool.context, given.targetFormat, given.targetName)
    if (given.isCompressed && driver.canCompress !== true) tool.fail('Compression not supported for this file format')
    if (given.bitmaps && given.targetFormat !== 'qcow2') {
      tool.fail(`Format driver '${given.targetFormat}' does not support bitmaps`)
    }
    try {
      yield* createBy(tool.context, driver, given.targetName, options)
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
      tool.complainOf(error, `${given.targetName}: error while converting ${given.targetFormat}: `)
      throw new ToolExit(1)
    }
  }

  private checkTarget({ image }: Target): void {
    const { tool, given } = this
    if (given.skipsCreation && given.isCompressed && findDriver(image.node.driver.name)?.canCompress !== true) {
      tool.fail('Compression not supported for this file format')
    }
    if (given.bitmaps && given.skipsCreation && image.node.driver.name !== 'qcow2') {
      tool.fail(`Format driver '${image.node.driver.name}' does not support bitmaps`)
    }
    if (image.backend.lengthBytes < this.totalBytes) tool.fail('output file is smaller than input file')
  }

  private *copy(target: Target, progress: Progress): Co<void> {
    const { tool, given } = this
    const { node, backend } = target.image
    let isTargetZero = given.isTargetZero
    if (!isTargetZero && target.isNew && given.minSparseBytes > 0 && !target.hasBacking) {
      isTargetZero = node.driver.hasZeroInit()
    }
    const backing = target.hasBacking ? node.backing?.node : undefined
    const backingName = backing === undefined ? '' : filenameOf(tool.context, backing)
    const plan = new CopyPlan({
      sources: this.sources,
      backingOf: backing === undefined ? null : (source) => findLayer(tool, source.backend.root!.node, backingName),
      salvageBytes: SECTOR_BYTES,
      isSalvaging: given.isSalvaging,
    })
    const copy = new ConvertCopy(
      tool,
      plan,
      {
        target: backend,
        isTargetZero,
        isCompressed: given.isCompressed || node.driver.needsCompressedWrites,
        minSparseBytes: given.minSparseBytes,
        isSalvaging: given.isSalvaging,
        isQuiet: given.isQuiet,
        rateBytesPerSecond: given.rateBytesPerSecond,
        writeFlags: given.targetCache.writethrough ? RequestFlag.Fua : RequestFlag.None,
      },
      progress,
    )
    yield* copy.run()
  }

  private *copyBitmaps({ image }: Target): Co<void> {
    const { tool, given } = this
    const source = this.opened[0]!.node
    // In this order they come to stand in the copy's directory as they do in the source's.
    for (const bitmap of [...source.namedBitmaps.values()].reverse()) {
      if (!bitmap.isPersistent) continue
      const { name } = bitmap
      if (bitmap.isInconsistent) {
        if (given.skipsBrokenBitmaps) {
          tool.complain(`warning: Skipping inconsistent bitmap '${name}'`)
          continue
        }
        tool.complain(`Cannot copy inconsistent bitmap '${name}'`)
        tool.terminals.err.write("Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove'\n")
        throw new ToolExit(1)
      }
      try {
        const { granularityBytes } = bitmap.bits
        yield* addBitmap(image.node, { name, granularityBytes, persistent: true, disabled: true })
        mergeBitmaps(image.node, name, [{ node: source, name }])
        if (bitmap.isEnabled) enableBitmap(image.node, name, true)
      } catch (error) {
        tool.failWith(error, `Failed to populate bitmap ${name}: `)
      }
    }
  }

  private *closeAll({ image }: Target): Co<void> {
    const errno = yield* this.tool.close(image)
    if (errno !== OK) this.tool.fail(`error while flushing the target: ${strerror(errno)}`)
    for (const source of this.opened) yield* this.tool.close(source)
  }
}

/** The layer of a chain that has this name: where it starts, the target shows the same. */
function findLayer(tool: Tool, top: BlockNode, filename: string): BlockNode | null {
  for (let node: BlockNode | null = top; node !== null; node = node.below()) {
    if (node !== top && filenameOf(tool.context, node) === filename) return node
  }
  return null
}

function* run(tool: Tool, args: readonly string[]): Co<number> {
  const given = parseConvert(tool, CONVERT, args)
  for (const text of given.optionTexts) checkOptionList(tool, text)
  if (asksForHelp(given.optionTexts)) return printCreateHelp(tool, given.targetFormat, given.targetName || null)
  if (!given.isTargetOptions) {
    const driver = findDriver(given.targetFormat)
    if (driver === null) tool.fail(`Unknown file format '${given.targetFormat}'`)
    if (!given.skipsCreation && driver.createOptions === undefined) {
      tool.fail(`Format driver '${given.targetFormat}' does not support image creation`)
    }
  }
  return yield* new Convert(tool, given).run()
}

export const CONVERT: ImgCommand = {
  name: 'convert',
  summary: 'Copies images into a new one, of another format if wanted.',
  usage:
    '[-f SRC_FMT | --image-opts] [-T SRC_CACHE] [-l SNAPSHOT] [--bitmaps [--skip-broken-bitmaps]]\n' +
    '        [-O TGT_FMT | --target-image-opts] [-o TGT_OPTS] [-t TGT_CACHE] [-b BACKING_FILE [-F BACKING_FMT]]\n' +
    '        [-n [--target-is-zero]] [-S SPARSE_SIZE] [--salvage] [-c] [-C] [-m COROUTINES] [-W] [-r RATE]\n' +
    '        [-U] [-p] [-q] [--object OBJDEF] SRC_FILE [SRC_FILE2..] TGT_FILE',
  run,
}
