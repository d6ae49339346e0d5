/**
 * qemu-img check: exit codes 0 sound, 1 not checked, 2 corrupt, 3 only leaks, 63 the format has no check.
 */
import type { CheckFix, CheckResult } from '../../../block'
import { type Co, ENOTSUP, OK, strerror } from '../../../co'
import { jsonObject, printJson } from '../../../json'
import type { OpenImage, Tool } from '../tool'
import { cacheArgument, type ImgCommand, longOptions, type OutputFormat, outputFormat, parseOptions, usageError } from './command'

const LONG = longOptions('format=f:', 'image-opts', 'repair=r:', 'force-share=U', 'output:', 'cache=T:', 'quiet=q')
const EXIT_CORRUPT = 2
const EXIT_LEAKS = 3
const EXIT_NO_CHECK = 63

function percent(part: number, whole: number): string {
  const share = (part * 100) / whole
  // What lies just between two is rounded to the even one.
  const isBetween = (share * 8) % 2 === 1
  const hundredths = Math.floor(share * 100)
  return isBetween && hundredths % 2 === 0 ? (hundredths / 100).toFixed(2) : share.toFixed(2)
}

export function humanCheck(result: CheckResult): string {
  const { corruptions, leaks, checkErrors, totalClusters, allocatedClusters, imageEndOffsetBytes } = result
  let text = ''
  if (corruptions === 0 && leaks === 0 && checkErrors === 0) text += 'No errors were found on the image.\n'
  if (corruptions > 0) {
    text += `\n${corruptions} errors were found on the image.\n`
    text += 'Data may be corrupted, or further writes to the image may corrupt it.\n'
  }
  if (leaks > 0) {
    text += `\n${leaks} leaked clusters were found on the image.\nThis means waste of disk space, but no harm to data.\n`
  }
  if (checkErrors > 0) text += `\n${checkErrors} internal errors have occurred during the check.\n`
  if (totalClusters !== 0 && allocatedClusters !== 0) {
    const { fragmentedClusters, compressedClusters } = result
    text += `${allocatedClusters}/${totalClusters} = ${percent(allocatedClusters, totalClusters)}% allocated, `
    text += `${percent(fragmentedClusters, allocatedClusters)}% fragmented, `
    text += `${percent(compressedClusters, allocatedClusters)}% compressed clusters\n`
  }
  if (imageEndOffsetBytes !== 0) text += `Image end offset: ${imageEndOffsetBytes}\n`
  return text
}

/** ImageCheck: what is 0 is left out, but for the errors. */
export function jsonCheck(filename: string, format: string, result: CheckResult): string {
  const some = (count: number): number | undefined => (count === 0 ? undefined : count)
  const object = jsonObject({
    filename,
    format,
    'check-errors': result.checkErrors,
    'image-end-offset': some(result.imageEndOffsetBytes),
    corruptions: some(result.corruptions),
    leaks: some(result.leaks),
    'corruptions-fixed': some(result.corruptionsFixed),
    'leaks-fixed': some(result.leaksFixed),
    'total-clusters': some(result.totalClusters),
    'allocated-clusters': some(result.allocatedClusters),
    'fragmented-clusters': some(result.fragmentedClusters),
    'compressed-clusters': some(result.compressedClusters),
  })
  return `${printJson(object, true)}\n`
}

interface Given {
  filename: string
  fix: CheckFix
  isQuiet: boolean
  output: OutputFormat
}

/** Checks, repairs, and checks what was repaired again. */
function* check(tool: Tool, image: OpenImage, given: Given): Co<number> {
  const { driver } = image.node
  const tell = (line: string): void => tool.terminals.err.write(line.endsWith('\n') ? line : `${line}\n`)
  let result = yield* driver.checkImage(given.fix, tell)
  if (result.errno === ENOTSUP) {
    tool.complain('This image format does not support checks')
    return EXIT_NO_CHECK
  }
  const { corruptionsFixed, leaksFixed } = result
  const isHuman = given.output === 'human'
  if (corruptionsFixed > 0 || leaksFixed > 0) {
    if (isHuman && !given.isQuiet) {
      tool.print('The following inconsistencies were found and repaired:\n\n')
      tool.print(`    ${leaksFixed} leaked clusters\n    ${corruptionsFixed} corruptions\n\n`)
      tool.print('Double checking the fixed image now...\n')
    }
    result = { ...(yield* driver.checkImage('none', tell)), corruptionsFixed, leaksFixed }
  }
  if (result.errno === OK && !given.isQuiet) {
    tool.print(isHuman ? humanCheck(result) : jsonCheck(given.filename, driver.name, result))
  }
  if (result.errno !== OK || result.checkErrors > 0) {
    tool.complain(result.errno === OK ? 'Check failed' : `Check failed: ${strerror(result.errno)}`)
    return 1
  }
  if (result.corruptions > 0) return EXIT_CORRUPT
  return result.leaks > 0 ? EXIT_LEAKS : 0
}

function* run(tool: Tool, args: readonly string[]): Co<number> {
  const given: Given = { filename: '', fix: 'none', isQuiet: false, output: 'human' }
  let format: string | null = null
  let isOptions = false
  let forceShare = false
  let cache = 'writeback'
  const operands = parseOptions(tool, CHECK, args, 'f:r:T:qU', LONG, (key, value) => {
    if (key === 'f') format = value
    if (key === 'q') given.isQuiet = true
    if (key === 'U') forceShare = true
    if (key === 'T') cache = value
    if (key === 'image-opts') isOptions = true
    if (key === 'output') given.output = outputFormat(tool, 'check', value)
    if (key !== 'r') return
    if (value !== 'leaks' && value !== 'all') {
      usageError(tool, 'check', `Unknown option value for -r (expecting 'leaks' or 'all'): ${value}`)
    }
    given.fix = value
  })
  if (operands.length !== 1) usageError(tool, 'check', 'Expecting one image file name')
  given.filename = operands[0]!
  const image = yield* tool.demandImage({
    ...{ filename: given.filename, format, isOptions, forceShare, isForCheck: true },
    cache: cacheArgument(tool, cache, 'source cache'),
    isWritable: given.fix !== 'none',
  })
  const code = yield* check(tool, image, given)
  return yield* tool.closeWith(image, code)
}

export const CHECK: ImgCommand = {
  name: 'check',
  summary: 'Looks for errors in an image, and repairs them.',
  usage: '[-f FMT | --image-opts] [-r leaks|all] [-T CACHE] [-U] [-q] [--output human|json]\n        [--object OBJDEF] FILE',
  run,
}
