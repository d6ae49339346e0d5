/**
 * What the opening of nodes needs to know of a driver: one entry of the registry (registry.ts) a driver, one file an entry.
 * An entry takes its options out of what the user gave, opens its children, and makes the driver; the node itself, the
 * options that all nodes have, and the backing image are the business of open.ts.
 */
import type { BlockDriver, BlockNode, ChildRole, HostFiles, NodeOptions } from '../block'
import type { Co } from '../co'
import type { BlockdevContext } from './context'
import type { Options } from './options'

/** What opening knows about where it is. */
export interface OpenPlace {
  depth: number
  /** The file below a format: a name means a file, not an image to be probed. */
  isProtocol: boolean
  noBacking: boolean
  isForCheck: boolean
  /** The full names of the images above in a backing chain. */
  chain: readonly string[]
}

/** A child that a driver opens for itself. */
export interface WantedChild {
  /** Its name is the option under which the user describes it, too. */
  name: string
  role: ChildRole
  /** Images of their own are probed for a format where the user names none; the file below a format is not. */
  isProbed: boolean
  /** A file name that stands elsewhere than in the options: in an image's header. */
  filename?: string
}

/** A node that is being opened, as its driver sees it. */
export interface Opening {
  readonly context: BlockdevContext
  readonly options: Options
  /** Of the node to be; a file that may only be read makes it read-only too. */
  readonly nodeOptions: NodeOptions
  readonly noFlush: boolean
  readonly direct: boolean
  readonly autoReadOnly: boolean
  /** As it was named, or null where options say everything. */
  readonly filename: string | null
  /** The format was guessed. */
  readonly isProbed: boolean
  /** The node is to be checked or repaired: nothing is written on opening, and broken images are taken. */
  readonly isForCheck: boolean
  /** Opens a child. Throws BlockError, also if the user has not described it. */
  child(wanted: WantedChild): Co<BlockNode>
  /** The same, but null if the user has not described it. */
  childIfThere(wanted: WantedChild): Co<BlockNode | null>
}

export interface OpenedChild {
  name: string
  role: ChildRole
  node: BlockNode
}

export interface Opened {
  driver: BlockDriver
  children: OpenedChild[]
  /** What an image's header says of the image below it; absent for drivers without. */
  backing?: { name: string; format: string | null } | null
  /** Runs when the node has been made. Throws BlockError. */
  start?(node: BlockNode): Co<void>
  /** Gives up what the driver holds beyond its children, if no node comes of it. */
  abandon?(): Co<unknown>
}

export interface BlockdevDriver {
  readonly name: string
  /** The prefix of its file names, for protocols. Nodes of other drivers have a child `file` that is opened first. */
  readonly protocol: string | null
  /** Its child `file` is an image of its own, not the file of a format. */
  readonly isFilter: boolean
  readonly needsFilename?: boolean
  readonly supportsBacking?: boolean
  /** Options that change what is read: they make a file name alone no description of the node. */
  readonly strongOptions: readonly string[]
  /** Puts what a file name means into `options`. Throws BlockError. */
  parseFilename?(filename: string, options: Options): void
  /** How sure it is that a file beginning with `head` is one of its images: 0 to 100. */
  probe?(head: Uint8Array): number
  open(opening: Opening): Co<Opened>
}

/** Whether a path names a device of the host. */
export function isDevice(files: HostFiles, path: string): boolean {
  return files.isDevice?.(path) === true
}
