/** qemu-img amend: changes options of an image that is there. */
import { BlockError } from '../../../block'
import type { LuksAmendment } from '../../../block/crypto/luks'
import { LuksDriver } from '../../../block/drivers/luks'
import { type Qcow2AmendOptions, Qcow2Driver } from '../../../block/drivers/qcow2'
import {
  type CreateOption,
  CreateOptions,
  createOptionLines,
  findDriver,
  luksAmendment,
  luksAmendOptions,
} from '../../../blockdev'
import { type Co, OK, strerror } from '../../../co'
import type { Tool } from '../tool'
import { asksForHelp, cacheArgument, checkOptionList, type ImgCommand, longOptions, parseOptions, usageError } from './command'
import { Progress } from './progress'

const LONG = longOptions('format=f:', 'image-opts', 'options=o:', 'cache=t:', 'force', 'progress=p', 'quiet=q')
const AMENDABLE = new Set([
  'backing_file',
  'backing_fmt',
  'compat',
  'data_file',
  'data_file_raw',
  'lazy_refcounts',
  'refcount_bits',
  'size',
])
const VERSIONS: Readonly<Record<string, 2 | 3>> = { '0.10': 2, v2: 2, '1.1': 3, v3: 3 }
const SECTOR_BYTES = 512

/** What can be amended; null: nothing of this format. */
function amendable(format: string): CreateOption[] | null {
  if (format === 'luks') return [...luksAmendOptions('')]
  if (format !== 'qcow2') return null
  // What has a default on creation stays as it is here.
  const kept = (findDriver(format)?.createOptions ?? []).filter(({ name }) => AMENDABLE.has(name))
  return [...kept.map(({ name, type, help }) => ({ name, type, help })), ...luksAmendOptions('encrypt.')]
}

/** What was said about passwords; null: nothing. Throws BlockError. */
function passwordChange(tool: Tool, wanted: CreateOptions, prefix: string): LuksAmendment | null {
  if (prefix !== '' && !luksAmendOptions(prefix).some(({ name }) => wanted.has(name))) return null
  return luksAmendment(tool.context, {
    state: wanted.string(`${prefix}state`),
    newSecret: wanted.string(`${prefix}new-secret`),
    oldSecret: wanted.string(`${prefix}old-secret`),
    slot: wanted.number(`${prefix}keyslot`),
    iterationTimeMs: wanted.number(`${prefix}iter-time`),
  })
}

function printHelp(tool: Tool, format: string): number {
  const options = amendable(format)
  if (options === null) return tool.fail(`Format driver '${format}' does not support option amendment`)
  tool.print(`Amend options for '${format}':\n${createOptionLines(options).join('\n')}\n`)
  return 0
}

/** Throws BlockError. */
function parseTexts(format: string, options: readonly CreateOption[], texts: readonly string[]): CreateOptions {
  const wanted = new CreateOptions(options)
  try {
    for (const text of texts) wanted.parse(text)
  } catch (error) {
    const name = error instanceof BlockError ? /^Invalid parameter '(.*)'$/.exec(error.message)?.[1] : undefined
    const isForCreation = findDriver(format)?.createOptions?.some((option) => option.name === name) === true
    if (!isForCreation) throw error
    throw new BlockError(`Invalid parameter '${name}'`, { hint: 'This option is only supported for image creation' })
  }
  return wanted
}

/** Throws BlockError. */
function amendOptions(wanted: CreateOptions, driver: Qcow2Driver): Qcow2AmendOptions {
  const { backingName, backingFormat } = driver.header
  const changesBacking =
    (wanted.has('backing_file') && wanted.string('backing_file') !== (backingName ?? '')) ||
    (wanted.has('backing_fmt') && wanted.string('backing_fmt') !== (backingFormat ?? ''))
  if (changesBacking) {
    throw new BlockError('Cannot amend the backing file', { hint: "You can use 'qemu-img rebase' instead." })
  }
  const options: Qcow2AmendOptions = {}
  const compat = wanted.string('compat')
  if (compat !== undefined) {
    const version = Object.hasOwn(VERSIONS, compat) ? VERSIONS[compat] : undefined
    if (version === undefined) throw new BlockError(`Unknown compatibility level ${compat}`)
    options.version = version
  }
  const sizeBytes = wanted.size('size')
  if (sizeBytes !== undefined) {
    if (sizeBytes % SECTOR_BYTES !== 0) throw new BlockError(`The new size must be a multiple of ${SECTOR_BYTES}`)
    options.sizeBytes = sizeBytes
  }
  const dataFileName = wanted.string('data_file')
  if (dataFileName !== undefined) options.dataFileName = dataFileName
  const dataFileRaw = wanted.flag('data_file_raw')
  if (dataFileRaw !== undefined) options.dataFileRaw = dataFileRaw
  const lazyRefcounts = wanted.flag('lazy_refcounts')
  if (lazyRefcounts !== undefined) options.lazyRefcounts = lazyRefcounts
  const refcountBits = wanted.number('refcount_bits')
  if (refcountBits !== undefined) options.refcountBits = refcountBits
  return options
}

/** Throws BlockError. */
function* amend(tool: Tool, driver: Qcow2Driver | LuksDriver, wanted: CreateOptions, force: boolean): Co<void> {
  const amendment = passwordChange(tool, wanted, driver instanceof LuksDriver ? '' : 'encrypt.')
  if (driver instanceof Qcow2Driver) {
    const options = amendOptions(wanted, driver)
    if (amendment !== null) options.encryption = { amendment, force }
    yield* driver.amend(options)
  } else if (amendment !== null) yield* driver.amend(amendment, force)
}

function* run(tool: Tool, args: readonly string[]): Co<number> {
  let format: string | null = null
  let isOptions = false
  let cache = 'writeback'
  let isQuiet = false
  let isProgress = false
  let force = false
  const texts: string[] = []
  const operands = parseOptions(tool, AMEND, args, 'f:o:t:pq', LONG, (key, value) => {
    if (key === 'f') format = value
    if (key === 't') cache = value
    if (key === 'p') isProgress = true
    if (key === 'q') isQuiet = true
    if (key === 'image-opts') isOptions = true
    if (key === 'force') force = true
    if (key !== 'o') return
    checkOptionList(tool, value)
    texts.push(value)
  })
  if (texts.length === 0) usageError(tool, 'amend', 'Must specify options (-o)')
  const isHelp = asksForHelp(texts)
  if (isHelp && format !== null && operands.length === 0) return printHelp(tool, format)
  if (operands.length !== 1) usageError(tool, 'amend', 'Expecting one image file name')
  const progress = new Progress(tool, isProgress && !isQuiet)
  progress.set(0)
  const image = yield* tool.demandImage({
    ...{ filename: operands[0]!, format, isOptions, isWritable: true, mayResize: true, cache: cacheArgument(tool, cache) },
  })
  const { driver } = image.node
  const known = amendable(driver.name)
  if (known === null || !(driver instanceof Qcow2Driver || driver instanceof LuksDriver)) {
    return tool.fail(`Format driver '${driver.name}' does not support option amendment`)
  }
  if (isHelp) return printHelp(tool, driver.name)
  try {
    const wanted = parseTexts(driver.name, known, texts)
    progress.set(0)
    yield* amend(tool, driver, wanted, force)
  } catch (error) {
    progress.end()
    return tool.failWith(error)
  }
  progress.set(100)
  progress.end()
  const errno = yield* tool.close(image)
  return errno === OK ? 0 : tool.fail(`Could not flush the image: ${strerror(errno)}`)
}

export const AMEND: ImgCommand = {
  name: 'amend',
  summary: 'Changes options of an image.',
  usage: '-o OPTIONS [-f FMT | --image-opts] [-t CACHE] [--force] [-p] [-q]\n        [--object OBJDEF] FILE',
  run,
}
