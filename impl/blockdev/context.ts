/**
 * What all nodes of one graph share while they are opened and closed: the host's files, the throttle groups, what is known
 * about each node beyond the graph, and who owns nodes that nothing stands on.
 */
import { BlockError, type BlockGraph, type BlockNode, type HostFiles } from '../block'
import type { Codecs } from '../block/codec'
import type { Cryptography } from '../block/crypto/cryptography'
import type { Corruption, Repair } from '../block/drivers/qcow2'
import { ThrottleGroups } from '../block/throttle'
import { ENOTSUP, type StreamHost, type TlsCredentials } from '../co'
import { releaseNode } from './close'
import type { BlockdevDriver } from './driver'
import type { Options } from './options'
import { formatOf } from './probe'
import { Secrets } from './secrets'

/** How a node was opened: for whoever shows or reopens it. */
export interface NodeOrigin {
  driver: BlockdevDriver
  /** As the node was named by its user, or '' where options say everything. */
  filename: string
  /** What the user has said, and nothing else. */
  explicit: Options
  /** With what was inherited and filled in. */
  options: Options
  /** The children that the user has described; others come from headers. */
  isBackingExplicit: boolean
  /** From the header of the image; '' if there is none. */
  backingName: string
  backingFormat: string
}

export interface BlockdevContextOptions {
  graph: BlockGraph
  files: HostFiles
  codecs: Codecs
  repair?: Repair
  /** Absent: encrypted images are not opened. */
  cryptography?(): Cryptography
  /** Files that secrets lie in. Throws BlockError. Absent: there are none. */
  readSecretFile?(path: string): Uint8Array
  /** How NBD servers are reached; absent: they are not. */
  streams?: StreamHost
  /** Keys and certificates by the id of their object; null: there is no such object. */
  tlsCredentials?(id: string): TlsCredentials | null
  /** Warnings that go to the terminal, without the program's name in front. */
  warn?(text: string): void
  /** What drivers tell whoever sits at the program (blkdebug: that a request waits). */
  say?(line: string): void
  /** An image is found to be corrupt while it is used. `node`: null while it is being opened. */
  corrupted?(node: BlockNode | null, corruption: Corruption): void
}

export class BlockdevContext {
  readonly graph: BlockGraph
  readonly files: HostFiles
  readonly codecs: Codecs
  readonly repair: Repair | null
  private readonly findCryptography: () => Cryptography | null
  readonly secrets: Secrets
  readonly streams: StreamHost | null
  readonly tlsCredentials: (id: string) => TlsCredentials | null
  readonly throttleGroups: ThrottleGroups
  /** Whether an image that begins like this is of no format that there is. */
  readonly isRaw: (head: Uint8Array) => boolean
  readonly warn: (text: string) => void
  say: (line: string) => void
  corrupted: (node: BlockNode | null, corruption: Corruption) => void
  /** Nodes are opened for later: another program still has the images. */
  opensInactive = false
  /** Events of drivers for monitors, where there are some. */
  emit: (event: string, data: Readonly<Record<string, unknown>>) => void = () => {}
  /** Nodes that the monitor owns: they stay although nothing stands on them. In order of their making. */
  readonly owned = new Set<BlockNode>()
  readonly origins = new WeakMap<BlockNode, NodeOrigin>()

  constructor(options: BlockdevContextOptions) {
    this.isRaw = (head) => formatOf(head).name === 'raw'
    this.graph = options.graph
    this.graph.release = (node) => releaseNode(this, node)
    this.files = options.files
    this.codecs = options.codecs
    this.repair = options.repair ?? null
    this.findCryptography = options.cryptography ?? (() => null)
    this.secrets = new Secrets({
      cryptography: () => this.demandCryptography('Secret'),
      readFile: options.readSecretFile ?? refuseFile,
    })
    this.streams = options.streams ?? null
    this.tlsCredentials = options.tlsCredentials ?? (() => null)
    this.throttleGroups = new ThrottleGroups(options.graph.kernel)
    this.warn = options.warn ?? (() => {})
    this.say = options.say ?? (() => {})
    this.corrupted = options.corrupted ?? (() => {})
  }
  /** Throws BlockError where there is none. */
  demandCryptography(what: string): Cryptography {
    const cryptography = this.findCryptography()
    if (cryptography === null) throw new BlockError(`${what} encryption is not available here`, { errno: ENOTSUP })
    return cryptography
  }
}

function refuseFile(path: string): never {
  throw new BlockError(`Unable to read ${path}: there are no files here`)
}
