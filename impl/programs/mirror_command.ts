/** `mirrorsim mirror SRC DST`: its options, what it prints, and how it ends. */
import { Command, InvalidArgumentError, Option } from 'commander'
import { type MirrorOutcome, MirrorProgram, type MirrorRequest } from './mirror'
import { EXIT_FAILURE, EXIT_OK, ProgramFailure } from './mirror_failure'
import { MirrorProgress, type Terminal } from './mirror_progress'
import { parseSize, sizeText } from './mirror_text'

/** Exit codes of a process that a signal has ended, as shells tell it. */
const SIGNAL_EXIT_CODES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const
type EndingSignal = keyof typeof SIGNAL_EXIT_CODES

export interface MirrorStreams {
  out: Terminal
  err: Terminal
}

interface MirrorOptions {
  sourceFormat?: 'raw' | 'qcow2' | 'probe'
  format?: 'raw' | 'qcow2'
  clusterSize?: number
  extendedL2?: true
  sync: MirrorRequest['sync']
  copyMode: MirrorRequest['copyMode']
  granularity?: number
  bufSize?: number
  speed?: number
  unmap: boolean
  targetIsZero?: true
  discard?: MirrorRequest['discard']
  detectZeroes?: 'off' | 'on' | 'unmap'
  preallocation?: MirrorRequest['preallocation'] & string
  guestSeed?: number
  guestOperations: number
  verify: boolean
  force?: true
  threads?: true
  json?: true
  quiet?: true
}

function size(text: string): number {
  const bytes = parseSize(text)
  if (bytes === null) throw new InvalidArgumentError('It must be a number of bytes, with K, M, G or T for larger units.')
  return bytes
}

function wholeNumber(text: string): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError('It must be a whole number.')
  return value
}

const EPILOGUE = `
Sizes take the suffixes K, M, G and T. DST is created if it is not there: as DST.partial until it is a whole copy, which
is removed if that fails. A DST that exists must be as long as SRC, and is overwritten. SRC is only read, unless
--guest-seed asks for a guest. Images that other programs write to are refused. Without --source-format and --format an
image that looks like qcow2 is refused: a guest can make a raw disk look like anything.

Exit codes: 0 copied and durable, 1 reading, writing or comparing failed, 2 usage, 130 interrupted.
`

/** Makes the command; `finish` gets the exit code. */
export function mirrorCommand(streams: MirrorStreams, finish: (exitCode: number) => void): Command {
  return new Command('mirror')
    .description('Mirrors an image or disk onto another one, holes and all.')
    .argument('<SRC>', 'the image to copy')
    .argument('<DST>', 'where the copy goes')
    .addOption(
      new Option('--source-format <format>', 'of SRC; probe looks at what it holds (default: raw)').choices([
        'raw',
        'qcow2',
        'probe',
      ]),
    )
    .addOption(new Option('--format <format>', 'of DST (default: raw)').choices(['raw', 'qcow2']))
    .option('--cluster-size <size>', 'of a qcow2 DST that is created (default: 64K)', size)
    .option('--extended-l2', 'create a qcow2 DST with subclusters')
    .addOption(
      new Option('--sync <mode>', 'what to copy; the copy has no layers, so top is for sources without them')
        .choices(['full', 'top', 'none'])
        .default('full'),
    )
    .addOption(
      new Option('--copy-mode <mode>', 'how writes of the guest are copied')
        .choices(['background', 'write-blocking'])
        .default('background'),
    )
    .option('--granularity <size>', 'unit of copying, a power of two from 512 to 64M (default: 64K)', size)
    .option('--buf-size <size>', 'memory for data on the way (default: 16M)', size)
    .option('--speed <size>', 'bytes a second at most; no limit if left out', size)
    .option('--no-unmap', 'keep what DST has allocated where zeroes are written')
    .option('--target-is-zero', 'DST reads zero all over: do not look')
    .addOption(
      new Option('--discard <mode>', 'whether DST may give space back (default: unmap, but ignore with --preallocation)').choices(
        ['ignore', 'unmap'],
      ),
    )
    .addOption(
      new Option('--detect-zeroes <mode>', 'look for zeroes in data; unmap gives their space back').choices([
        'off',
        'on',
        'unmap',
      ]),
    )
    .addOption(
      new Option('--preallocation <mode>', 'space for a DST that is created').choices(['off', 'metadata', 'falloc', 'full']),
    )
    .option('--guest-seed <number>', 'let a random guest WRITE TO SRC while it is mirrored', wholeNumber)
    .option('--guest-operations <count>', 'requests of the guest', wholeNumber, 200)
    .option('--no-verify', 'do not compare the images afterwards')
    .option('-f, --force', 'change the length of an existing DST to that of SRC')
    .option('--threads', 'make slow calls in threads, for slow disks and network file systems')
    .option('--json', 'print the result as one JSON object')
    .option('-q, --quiet', 'print nothing but errors')
    .addHelpText('after', EPILOGUE)
    .allowExcessArguments(false)
    .action(async (source: string, destination: string, options: MirrorOptions) => {
      finish(await runMirror(requestOf(source, destination, options), options, streams))
    })
}

function requestOf(sourcePath: string, destinationPath: string, options: MirrorOptions): MirrorRequest {
  const isAllocated = options.preallocation !== undefined && options.preallocation !== 'off'
  return {
    sourcePath,
    destinationPath,
    sourceFormat: options.sourceFormat ?? null,
    format: options.format ?? null,
    clusterBytes: options.clusterSize ?? 0,
    extendedL2: options.extendedL2 === true,
    sync: options.sync,
    copyMode: options.copyMode,
    granularityBytes: options.granularity ?? 0,
    bufferBytes: options.bufSize ?? 0,
    speedBytesPerSecond: options.speed ?? 0,
    unmap: options.unmap,
    targetIsZero: options.targetIsZero === true,
    discard: options.discard ?? (isAllocated ? 'ignore' : 'unmap'),
    detectZeroes: options.detectZeroes ?? null,
    preallocation: options.preallocation ?? null,
    guestSeed: options.guestSeed ?? null,
    guestOperations: options.guestOperations,
    // What was there before has not been copied.
    verifies: options.verify && options.sync !== 'none',
    force: options.force === true,
    usesThreads: options.threads === true,
  }
}

type Printing = Pick<MirrorOptions, 'json' | 'quiet'>

async function runMirror(request: MirrorRequest, { json, quiet }: Printing, streams: MirrorStreams): Promise<number> {
  const program = new MirrorProgram(request)
  const progress = quiet === true ? null : new MirrorProgress(streams.err, () => performance.now(), colours(streams.err))
  const onSignal = (signal: EndingSignal): void => {
    progress?.clear()
    const left = program.abandon() ? 'no copy is left' : `${request.destinationPath} is not a whole copy`
    streams.err.write(`mirrorsim: interrupted: ${left}\n`)
    process.exit(SIGNAL_EXIT_CODES[signal])
  }
  for (const signal of Object.keys(SIGNAL_EXIT_CODES)) process.on(signal, onSignal)
  const draw = (): void => {
    const { stage } = program
    if (stage !== null) progress?.update(stage.what, stage.doneBytes, stage.totalBytes)
  }
  const timer = progress === null ? undefined : setInterval(draw, progress.intervalMs)
  try {
    const outcome = await program.run()
    progress?.clear()
    if (json === true) streams.out.write(`${JSON.stringify(outcome)}\n`)
    else if (quiet !== true) streams.out.write(outcomeText(outcome))
    return EXIT_OK
  } catch (error) {
    progress?.clear()
    if (!(error instanceof ProgramFailure)) throw error
    const isHalf = error.exitCode === EXIT_FAILURE && !program.abandon()
    streams.err.write(`mirrorsim: ${error.message}${isHalf ? ` (${request.destinationPath} is not a whole copy now)` : ''}\n`)
    return error.exitCode
  } finally {
    clearInterval(timer)
    for (const signal of Object.keys(SIGNAL_EXIT_CODES)) process.off(signal, onSignal)
  }
}

function colours(terminal: Terminal): { bar(text: string): string; dim(text: string): string } {
  const { createColors, isColorSupported }: typeof import('picocolors') = require('picocolors')
  const { green, dim } = createColors(isColorSupported && terminal.isTTY === true)
  return { bar: green, dim }
}

function outcomeText(outcome: MirrorOutcome): string {
  const { source, destination, copiedBytes, skippedZeroBytes, zeroedBytes, guestOperations, isVerified } = outcome
  const image = ({ path, lengthBytes, allocatedBytes }: MirrorOutcome['source']): string =>
    `${sizeText(lengthBytes)}${allocatedBytes === null ? '' : `, ${sizeText(allocatedBytes)} allocated`}  ${path}`
  return [
    `source       ${image(source)}`,
    `destination  ${image(destination)}`,
    `copied       ${sizeText(copiedBytes)} of data`,
    `zeroes       ${sizeText(skippedZeroBytes)} skipped, ${sizeText(zeroedBytes)} written`,
    ...(guestOperations === 0 ? [] : [`guest        ${guestOperations} requests`]),
    `verified     ${isVerified ? 'identical' : 'no'}`,
    '',
  ].join('\n')
}
