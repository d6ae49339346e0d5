/**
 * The program qemu-storage-daemon: nodes, exports and jobs without a machine, steered by QMP.
 *
 * Exit codes: 0 after `quit` or a signal; 1 if an option could not be followed.
 */
import * as fs from 'node:fs'
import { BlockError } from '../../block'
import { addBlockdev, parseJsonOrKeyval, parseQemuOpts } from '../../blockdev'
import { type Co, OK } from '../../co'
import type { JsonObject } from '../../json'
import { Arguments, addExport, DAEMON_COMMANDS, endActivity, socketAddress, startNbdServer } from '../../monitor'
import { checkObject } from '../../qapi'
import { becomeDaemon, isDaemon, startDaemon } from './daemon'
import { writePidFile } from './pid_file'
import { QmpHost } from './qmp_host'
import { STORAGE_DAEMON_USAGE } from './storage_daemon_usage'
import { standardTerminals } from './terminal'
import { Tool, ToolExit } from './tool'
import { versionText } from './tool_text'

interface GivenOption {
  name: string
  value: string
}

const WITH_VALUE = ['blockdev', 'chardev', 'export', 'monitor', 'nbd-server', 'object', 'pidfile', 'trace']
const WITHOUT_VALUE = ['help', 'version', 'daemonize']
const SHORT: Readonly<Record<string, string>> = { '-h': 'help', '-V': 'version', '-T': 'trace' }

/** Throws ToolExit. */
function parseOptions(tool: Tool, args: readonly string[]): GivenOption[] {
  const options: GivenOption[] = []
  for (let index = 0; index < args.length; index++) {
    const arg = args[index]!
    const long = /^--?([a-z][a-z-]*)(?:=(.*))?$/s.exec(arg)
    const name = SHORT[arg] ?? long?.[1]
    if (!arg.startsWith('-')) tool.fail(`${arg}: Unexpected argument`)
    if (name === undefined || !(WITH_VALUE.includes(name) || WITHOUT_VALUE.includes(name))) {
      tool.fail(arg.startsWith('--') ? `unrecognized option '${arg}'` : `invalid option -- '${arg[1] ?? ''}'`)
    }
    if (WITHOUT_VALUE.includes(name)) {
      options.push({ name, value: '' })
      continue
    }
    const value = long?.[2] ?? args[++index]
    if (value === undefined) tool.fail(`option '${arg}' requires an argument`)
    options.push({ name, value })
  }
  return options
}

class StorageDaemon {
  private readonly tool: Tool
  private readonly host: QmpHost

  constructor(name: string) {
    this.tool = new Tool(name, standardTerminals())
    // What is told of their end comes before the answer.
    this.host = new QmpHost(this.tool, DAEMON_COMMANDS, ({ environment }) => endActivity(environment))
  }

  async main(args: readonly string[]): Promise<number> {
    const { tool } = this
    let isInFront = false
    const self = this
    const code = await tool.run(function* () {
      const options = parseOptions(tool, args)
      const asked = options.find(({ name }) => name === 'help' || name === 'version')
      if (asked !== undefined) {
        tool.print(asked.name === 'help' ? STORAGE_DAEMON_USAGE.replaceAll('NAME', tool.name) : versionText(tool.name))
        return OK
      }
      isInFront = options.some(({ name }) => name === 'daemonize') && !isDaemon()
      return isInFront ? OK : yield* self.serve(options)
    })
    return isInFront && code === OK ? await startDaemon() : code
  }

  private *serve(options: readonly GivenOption[]): Co<number> {
    for (const { name, value } of options) yield* this.follow(name, value)
    const pidFile = [...options].reverse().find(({ name }) => name === 'pidfile')?.value
    if (pidFile !== undefined) writePidFile(pidFile)
    const mustDetach = options.some(({ name }) => name === 'daemonize')
    const isWhole = yield* this.host.serve(() => {
      if (mustDetach) becomeDaemon()
    })
    if (pidFile !== undefined) fs.rmSync(pidFile, { force: true })
    return isWhole ? OK : process.exit(1)
  }

  /** One option of the command line. Throws ToolExit. */
  private *follow(name: string, value: string): Co<void> {
    try {
      switch (name) {
        case 'blockdev':
          yield* addBlockdev(this.tool.context, this.checked('BlockdevOptions', value, 'driver'))
          return
        case 'chardev': {
          const { id, options } = parseQemuOpts(value, 'backend')
          yield* this.host.chardevs.add(id, options)
          return
        }
        case 'monitor':
          this.addMonitor(new Arguments(this.checked('MonitorOptions', value, 'chardev')))
          return
        case 'nbd-server': {
          const args = new Arguments(this.checked('NbdServerOptions', value, null))
          yield* startNbdServer(this.host.environment, socketAddress(args.below('addr')), args)
          return
        }
        case 'export':
          yield* addExport(this.host.environment, new Arguments(this.checked('BlockExportOptions', value, 'type')))
          return
        case 'object':
          this.addObject(value)
          return
      }
    } catch (error) {
      if (error instanceof ToolExit) throw error
      this.tool.failWith(error, `--${name} ${value}: `)
    }
  }

  private checked(type: string, text: string, implied: string | null): JsonObject {
    const { tree, isText } = parseJsonOrKeyval(text, implied)
    return checkObject(this.host.dispatcher.schema, type, tree, isText ? 'keyval' : 'json')
  }

  private addMonitor(args: Arguments): void {
    if (args.optionalString('mode') === 'readline') throw new BlockError('Only QMP is supported')
    this.host.addMonitor(args.string('chardev'), args.optionalFlag('pretty') ?? false)
  }

  private addObject(text: string): void {
    if (text === 'help') {
      const type = this.host.dispatcher.schema.type('ObjectType')
      const names = type?.kind === 'enum' ? type.values : []
      this.tool.print(`List of user creatable objects:\n${names.map((name) => `  ${name}\n`).join('')}`)
      throw new ToolExit(0)
    }
    this.host.environment.objects.add(this.checked('ObjectOptions', text, 'qom-type'))
  }
}

/** Runs qemu-storage-daemon under a name. Gives the exit code. */
export function runStorageDaemon(name: string, args: readonly string[]): Promise<number> {
  return new StorageDaemon(name).main(args)
}
