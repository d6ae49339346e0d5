/**
 * What the opening of nodes needs to know of a driver: one entry of the registry (registry.ts) a driver, one file an entry.
 * An entry takes its options out of what the user gave, opens its children, and makes the driver; the node itself, the
 * options that all nodes have, and the backing image are the business of open.ts.
 */
import type { BlockDriver, BlockNode, ChildRole, HostFiles, NodeOptions } from '../block'
import type { Co } from '../co'
import type { BlockdevContext } from './context'
import type { CreateOption, CreateOptions } from './create_options'
import type { Options } from './options'

/** What opening knows about where it is. */
export interface OpenPlace {
  depth: number
  /** The file below a format: a name means a file, not an image to be probed. */
  isProtocol: boolean
  noBacking: boolean
  isForCheck: boolean
  /** The node only tells about itself: no keys are needed. */
  isForInfo: boolean
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
  /** A file name that stands elsewhere than in the options: in an image's header. As seen from the current folder. */
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
  /** The node is only to tell about itself: it is opened without its key. */
  readonly isForInfo: boolean
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

/** An image that is being made, as its format sees it. All of it throws BlockError. */
export interface Creating {
  readonly context: BlockdevContext
  readonly filename: string
  readonly options: CreateOptions
  /** Makes a file by the protocol of its name. */
  makeFile(filename: string, sizeBytes: number): Co<void>
  /** Opens such a file for writing; it is released when the image has been made. */
  openFile(filename: string): Co<BlockNode>
  /** Opens the image that will lie below, by its name in the new one; released like files. */
  openBelow(name: string): Co<BlockNode>
}

export interface BlockdevDriver {
  readonly name: string
  /** The prefix of its file names, for protocols. Nodes of other drivers have a child `file` that is opened first. */
  readonly protocol: string | null
  /** More prefixes that mean it. */
  readonly otherProtocols?: readonly string[]
  /** Its child `file` is an image of its own, not the file of a format. */
  readonly isFilter: boolean
  readonly needsFilename?: boolean
  readonly supportsBacking?: boolean
  /** Options that change what is read: they make a file name alone no description of the node. */
  readonly strongOptions: readonly string[]
  /** Puts what a file name means into `options`. Throws BlockError. */
  parseFilename?(filename: string, options: Options): void
  /** How sure it is that a file beginning with `head`, and of this name, is one of its images: 0 to 100. */
  probe?(head: Uint8Array, filename: string): number
  open(opening: Opening): Co<Opened>
  /** What can be said about a new image, in the order in which it is printed. Absent: images are not made. */
  readonly createOptions?: readonly CreateOption[]
  /** Clusters may be stored compressed. */
  readonly canCompress?: boolean
  /** Makes an image of this format under a name. Throws BlockError. */
  create?(creating: Creating): Co<void>
  /** Makes the file that an image lies in. Throws BlockError. */
  createFile?(context: BlockdevContext, filename: string, sizeBytes: number, options: CreateOptions): Co<void>
  /** Nothing can be made there, but what is there can be used as if it were new. */
  readonly opensForCreation?: boolean
}

/** Whether a path names a device of the host. */
export function isDevice(files: HostFiles, path: string): boolean {
  return files.isDevice?.(path) === true
}
