/**
 * The program qemu-io: commands from its arguments or from standard input, run one after another against one image.
 *
 * Exit codes: 0; 1 if anything has failed.
 */
import * as readline from 'node:readline'
import { BlockError } from '../../block'
import { type Co, EINVAL, type Errno, OK } from '../../co'
import { type IoCommand, IoSession } from '../../io'
import { type IoArguments, type IoOpening, newOpening, parseIoArguments, takeOpening } from './io_options'
import { monitorIo } from './monitor_io'
import { standardTerminals, type Terminals } from './terminal'
import { type OpenImage, Tool } from './tool'
import { versionText } from './tool_text'

/** What `--help` prints. */
export const IO_USAGE = `Usage: NAME [OPTIONS]... [-c STRING]... [file]
Reads from and writes to disk images, for tests and repairs

  --object OBJECTDEF   define an object such as 'secret'
  --image-opts         file is a list of options
  -c, --cmd STRING     run this command; may be given several times
  -f, --format FMT     format of the image
  -r, --read-only      open it for reading only
  -s, --snapshot       write to a temporary layer
  -n, --nocache        bypass the host's cache, as -t none
  -C, --copy-on-read   keep what is read from a backing image
  -m, --misalign       accepted, without effect
  -k, --native-aio     as -i native
  -i, --aio=MODE       threads, native or io_uring
  -t, --cache=MODE     cache mode of the image
  -d, --discard=MODE   discard mode of the image
  -T, --trace OPTS     accepted, without effect
  -U, --force-share    others may use the image in any way
  -h, --help           display this help and exit
  -V, --version        output version information and exit

See 'NAME -c help' for the commands.
`

export class IoProgram {
  private readonly tool: Tool
  private readonly session: IoSession
  private image: OpenImage | null = null

  constructor(name: string, terminals: Terminals) {
    const tool = new Tool(name, terminals)
    this.tool = tool
    const { host, commands } = monitorIo(tool, (text) => tool.print(text))
    const report = (text: string): void => tool.complain(text)
    this.session = new IoSession(tool.kernel, { ...host, report }, [...commands, ...this.programCommands()])
  }

  /** Runs the program to its exit code. */
  async main(args: readonly string[]): Promise<number> {
    const { tool } = this
    let parsed: IoArguments | null = null
    const self = this
    const code = await tool.run(function* () {
      parsed = parseIoArguments(tool, args, () => IO_USAGE.replaceAll('NAME', tool.name))
      if (parsed.asked === 'help') tool.print(IO_USAGE.replaceAll('NAME', tool.name))
      if (parsed.asked === 'version') tool.print(versionText(tool.name))
      if (parsed.asked !== null) return OK
      if (parsed.filename !== null && (yield* self.open(parsed.filename, parsed, [])) !== OK) return 1
      return yield* self.runAll(parsed.commands)
    })
    const given = parsed as IoArguments | null
    if (given === null || given.asked !== null) return code
    const isInteractive = given.commands.length === 0 && code === OK
    const worst = isInteractive ? await this.interact() : code
    const last = await tool.run(() => this.end())
    return worst === OK ? last : worst
  }

  private *runAll(commands: readonly string[]): Co<number> {
    let code = 0
    for (const line of commands) {
      if (this.session.hasEnded) break
      if ((yield* this.session.execute(line)) !== OK) code = 1
    }
    return code
  }

  /** Commands from standard input, with a prompt before each. */
  private async interact(): Promise<number> {
    const { tool, session } = this
    const lines = readline.createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })
    let code = 0
    const prompt = (): void => {
      tool.print(`${tool.name}> `)
      tool.terminals.out.flush()
    }
    prompt()
    for await (const line of lines) {
      const errno = await tool.loop.run(session.execute(line))
      if (errno !== OK) code = 1
      if (session.hasEnded) break
      await tool.loop.run(this.pause())
      prompt()
    }
    lines.close()
    return code
  }

  /** Between two lines the user hears of what has ended. */
  private *pause(): Co<void> {
    yield* this.tool.kernel.sleepNs(0)
    this.session.deliver()
  }

  private *end(): Co<number> {
    yield* this.session.settle()
    return this.image === null ? OK : (yield* this.shut()) === OK ? 0 : 1
  }

  private *shut(): Co<Errno> {
    const { image } = this
    this.image = null
    this.session.backend = null
    return image === null ? OK : yield* this.tool.closeTelling(image)
  }

  private *open(filename: string | null, opening: IoOpening, optionTexts: readonly string[]): Co<Errno> {
    const { tool } = this
    if (this.image !== null) {
      tool.complain("file open already, try 'help close'")
      return EINVAL
    }
    try {
      this.image = yield* this.openImage(filename, opening, optionTexts)
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
      tool.complainOf(error, filename === null || opening.isOptions ? "can't open: " : `can't open device ${filename}: `)
      return error.errno
    }
    this.session.backend = this.image.backend
    return OK
  }

  private *openImage(filename: string | null, opening: IoOpening, optionTexts: readonly string[]): Co<OpenImage> {
    const { tool } = this
    const extra = new Map<string, string | boolean>()
    extra.set('discard', opening.discard)
    if (opening.aio !== null && opening.aio !== 'threads') {
      if (opening.aio === 'native' && !opening.cache.direct) {
        throw new BlockError('aio=native was specified, but it requires cache.direct=on, which was not specified.')
      }
    }
    if (opening.isSnapshot) throw new BlockError('temporary layers (-s) are not supported')
    if (opening.copiesOnRead && opening.isReadOnly) throw new BlockError("Can't use copy-on-read on read-only device")
    if (opening.copiesOnRead) throw new BlockError('copy-on-read by -C is not supported: use driver=copy-on-read')
    for (const text of optionTexts) for (const [key, value] of tool.imageOptions(text).entries()) extra.set(key, String(value))
    const format = extra.get('driver') ?? opening.format
    extra.delete('driver')
    const image = yield* tool.open({
      filename: filename ?? '',
      isOptions: opening.isOptions || filename === null,
      format: typeof format === 'string' ? format : null,
      isWritable: !opening.isReadOnly,
      mayResize: false,
      forceShare: opening.forceShare,
      cache: opening.cache,
      extra: [...extra],
    })
    return image
  }

  private programCommands(): IoCommand[] {
    const self = this
    return [
      {
        name: 'open',
        short: 'o',
        usage: '[-rsCnkU] [-t cache] [-d discard] [-o options] [path]',
        summary: 'open the file specified by path',
        help: `
 Opens an image for the commands that follow.

 'open -r -o driver=raw disk.img' opens a raw image for reading
 -r, -- for reading only
 -s, -- with a temporary layer
 -C, -- keep what is read from a backing image
 -n, -- bypass the host's cache, as -t none
 -U, -- others may use the image in any way
 -k, -- as -i native
 -i, -- threads, native or io_uring
 -t, -- cache mode
 -d, -- discard mode
 -o, -- options of the block drivers
`,
        wordsMin: 1,
        wordsMax: Number.POSITIVE_INFINITY,
        runsClosed: true,
        *run(session, args) {
          const opening = newOpening()
          const optionTexts: string[] = []
          let complaint: string | null = null
          const operands = session.options('open', args, 'snCro:ki:t:d:U', (letter, value) => {
            if (letter === 'o') optionTexts.push(value)
            else complaint ??= complaintOf(() => takeOpening(opening, letter, value))
          })
          if (complaint !== null) {
            session.host.report(complaint)
            return EINVAL
          }
          if (operands.length > 1) throw session.usage('open')
          return yield* self.open(operands[0] ?? null, opening, optionTexts)
        },
      },
      {
        name: 'close',
        short: 'c',
        summary: 'close the current open file',
        wordsMin: 0,
        wordsMax: 0,
        *run(session) {
          yield* session.settle()
          return yield* self.shut()
        },
      },
      {
        name: 'quit',
        short: 'q',
        summary: 'exit the program',
        wordsMin: 0,
        wordsMax: 0,
        runsClosed: true,
        *run(session) {
          session.hasEnded = true
          return OK
        },
      },
    ]
  }
}

function complaintOf(body: () => void): string | null {
  try {
    body()
    return null
  } catch (error) {
    return (error as Error).message
  }
}

/** Runs qemu-io under a name. Gives the exit code. */
export function runIo(name: string, args: readonly string[]): Promise<number> {
  return new IoProgram(name, standardTerminals()).main(args)
}
