/**
 * The program qemu-nbd: exports one image to NBD clients, or lists what a server exports. Where QEMU's listens on all
 * addresses, this one listens on 127.0.0.1 unless `--bind` says otherwise.
 *
 * Exit codes: 0 at the end of the last client or after a signal; 1 if anything has failed.
 */
import * as fs from 'node:fs'
import { BlockError, type BlockNode } from '../../block'
import { Options, openImage, releaseNode } from '../../blockdev'
import { type Co, OK, type SocketAddress, strerror, type TlsCredentials, WaitQueue } from '../../co'
import { errnoOf } from '../../host'
import { describeServer, listExports, NbdServer, takeBitmaps } from '../../nbd'
import { becomeDaemon, isDaemon, startDaemon } from './daemon'
import { DEFAULT_BIND, DEFAULT_PORT, type NbdArguments, parseNbdArguments } from './nbd_options'
import { NBD_USAGE } from './nbd_usage'
import { standardTerminals } from './terminal'
import { Tool, ToolExit } from './tool'
import { versionText } from './tool_text'

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const
/** The first of the descriptors that whoever has started us hands over. */
const FIRST_HANDED_DESCRIPTOR = 3

class NbdProgram {
  private readonly tool: Tool
  private readonly changed: WaitQueue
  private isEnding = false

  constructor(name: string) {
    this.tool = new Tool(name, standardTerminals())
    this.changed = new WaitQueue(this.tool.kernel)
  }

  async main(args: readonly string[]): Promise<number> {
    const { tool } = this
    let parsed: NbdArguments | null = null
    const self = this
    const code = await tool.run(function* () {
      parsed = parseNbdArguments(tool, args)
      if (parsed.asked === 'help') tool.print(NBD_USAGE.replaceAll('NAME', tool.name))
      if (parsed.asked === 'version') tool.print(versionText(tool.name))
      if (parsed.asked !== null || (parsed.isForking && !isDaemon())) return OK
      return parsed.isList ? yield* self.list(parsed) : yield* self.export(parsed)
    })
    const given = parsed as NbdArguments | null
    if (given === null || given.asked !== null || code !== OK || !given.isForking || isDaemon()) return code
    return await startDaemon()
  }

  private credentials(parsed: NbdArguments, endpoint: 'server' | 'client'): TlsCredentials | null {
    const { tool } = this
    const id = parsed.tlsCredentials
    if (id === null) return null
    const credentials = tool.objects.tlsCredentials(id)
    if (credentials === null) return tool.fail(`Failed to get TLS creds: No TLS credentials with id '${id}'`)
    if (credentials.endpoint !== endpoint) {
      tool.fail(`Failed to get TLS creds: Expecting TLS credentials with a ${endpoint} endpoint`)
    }
    return credentials
  }

  private address({ socketPath, bind, port }: NbdArguments): SocketAddress {
    if (socketPath !== null) return { type: 'unix', path: socketPath }
    return { type: 'inet', host: bind ?? DEFAULT_BIND, port: port ?? DEFAULT_PORT }
  }

  private *list(parsed: NbdArguments): Co<number> {
    const { tool } = this
    const tls = this.credentials(parsed, 'client')
    const address = this.address(parsed.bind === null ? { ...parsed, bind: 'localhost' } : parsed)
    const stream = yield* tool.streams.connect(address)
    const hostname = parsed.tlsHostname ?? (address.type === 'inet' ? address.host : null)
    tool.print(describeServer(yield* listExports(stream, tls, hostname)))
    return OK
  }

  private *export(parsed: NbdArguments): Co<number> {
    const { tool } = this
    const tls = this.credentials(parsed, 'server')
    const handed = handedDescriptor(tool, parsed)
    const node = yield* this.openNode(parsed)
    let hadClient = false
    const server = new NbdServer(tool.kernel, {
      tls,
      maxConnections: parsed.shared,
      handshakeMaxSeconds: parsed.handshakeLimitSeconds,
      allocateBuffer: tool.graph.allocateBuffer,
      onClients: (count) => {
        hadClient ||= count > 0
        if (hadClient && count === 0 && !parsed.isPersistent) this.end()
      },
    })
    try {
      this.addExport(server, node, parsed)
      const address: SocketAddress = handed === null ? this.address(parsed) : { type: 'fd', descriptor: handed }
      server.listen(yield* tool.streams.listen(address))
      if (parsed.pidFile !== null) writePidFile(parsed.pidFile)
      yield* this.serve(parsed)
    } finally {
      yield* server.stop()
      yield* releaseNode(tool.context, node)
    }
    return OK
  }

  private addExport(server: NbdServer, node: BlockNode, parsed: NbdArguments): void {
    const writable = !parsed.isReadOnly && !node.options.readOnly
    const wanted = parsed.bitmaps.map((name) => ({ owner: null, name }))
    const bitmaps = takeBitmaps(node, wanted, writable)
    server.addExport({
      id: 'qemu-nbd-export',
      name: parsed.exportName ?? '',
      node,
      writable,
      writethrough: parsed.cache.writethrough,
      bitmaps,
      allocationDepth: parsed.allocationDepth,
      ...(parsed.description === null ? {} : { description: parsed.description }),
    })
  }

  /** Until a signal comes, or the last client has gone. */
  private *serve(parsed: NbdArguments): Co<void> {
    const onSignal = (): void => {
      this.end()
    }
    for (const signal of SIGNALS) process.on(signal, onSignal)
    if (parsed.isForking) becomeDaemon()
    while (!this.isEnding) yield* this.changed.wait({ describe: () => 'waits for the last NBD client to go' })
    for (const signal of SIGNALS) process.off(signal, onSignal)
  }
  private end(): void {
    this.isEnding = true
    this.changed.wakeAll()
  }

  private *openNode(parsed: NbdArguments): Co<BlockNode> {
    const { tool } = this
    const name = parsed.filename ?? ''
    const options = parsed.isOptions ? tool.imageOptions(name) : new Options()
    if (parsed.format !== null) options.set('driver', parsed.format)
    options.setDefault('cache.direct', parsed.cache.direct)
    options.setDefault('cache.no-flush', parsed.cache.noFlush)
    options.setDefault('read-only', parsed.isReadOnly)
    options.setDefault('discard', parsed.discard)
    if (parsed.detectZeroes !== null) options.setDefault('detect-zeroes', parsed.detectZeroes)
    try {
      const node = yield* openImage(tool.context, { filename: parsed.isOptions ? null : name, options })
      return parsed.offsetBytes === 0 ? node : yield* this.shift(node, parsed)
    } catch (error) {
      if (error instanceof ToolExit) throw error
      return tool.failWith(error, `Failed to blk_new_open '${name}': `)
    }
  }

  /** A node that begins inside the image. */
  private *shift(node: BlockNode, parsed: NbdArguments): Co<BlockNode> {
    const { tool } = this
    const { offsetBytes } = parsed
    const options = new Options([
      ['driver', 'raw'],
      ['file', node.name],
      ['offset', offsetBytes],
      ['read-only', parsed.isReadOnly],
      ['discard', parsed.discard],
    ])
    try {
      return yield* openImage(tool.context, { options })
    } catch (error) {
      yield* releaseNode(tool.context, node)
      return tool.failWith(error)
    }
  }
}

/** A listening socket that was handed over as systemd does (sd_listen_fds), or null. */
function handedDescriptor(tool: Tool, parsed: NbdArguments): number | null {
  const { LISTEN_PID, LISTEN_FDS } = process.env
  if (LISTEN_PID !== String(process.pid) || LISTEN_FDS === undefined) return null
  if (LISTEN_FDS !== '1') tool.fail('qemu-nbd does not support socket activation with LISTEN_FDS > 1')
  if (parsed.socketPath !== null) tool.fail("Unix socket can't be set when using socket activation")
  if (parsed.bind !== null || parsed.port !== null) tool.fail("Bind address and port can't be set when using socket activation")
  return FIRST_HANDED_DESCRIPTOR
}

function writePidFile(file: string): void {
  try {
    fs.writeFileSync(file, `${process.pid}\n`)
  } catch (error) {
    throw new BlockError(`cannot create PID file: Cannot open pid file ${file}: ${strerror(errnoOf(error))}`)
  }
}

/** Runs qemu-nbd under a name. Gives the exit code. */
export function runNbd(name: string, args: readonly string[]): Promise<number> {
  return new NbdProgram(name).main(args)
}
