/**
 * Descriptors that the program was started with, in numbered sets: `/dev/fdset/2` is a file name that means one of set 2 which
 * may be used as wanted. Each opening gets a descriptor of its own.
 *
 * What may fail: descriptors that are none, as BlockError with QEMU's texts; openings for which a set has nothing fitting.
 * What never may: a descriptor of a set closed while its set names it.
 */
import * as fs from 'node:fs'
import { BlockError } from '../block'
import { assert, EACCES, EINVAL, ENOENT, strerror } from '../co'
import type { Native } from './native'

const PREFIX = '/dev/fdset/'
const STDERR = 2

interface Member {
  readonly descriptor: number
  readonly opaque: string | null
  /** O_RDONLY, O_WRONLY or O_RDWR. */
  readonly access: number
}

interface FdSet {
  readonly id: number
  readonly members: Member[]
  /** Descriptors that openings have got and not closed yet. */
  openings: number
}

/** One set as queries show it. */
export interface FdSetFacts {
  id: number
  descriptors: ReadonlyArray<{ descriptor: number; opaque: string | null }>
}

/** Whether a file name means a set of descriptors. */
export function isFdSetName(path: string): boolean {
  return path.startsWith(PREFIX)
}

export class FdSets {
  private readonly native: Native | null
  private readonly sets = new Map<number, FdSet>()

  constructor(native: Native | null) {
    this.native = native
  }

  /** `-add-fd`: puts a copy of an inherited descriptor into a set. Throws BlockError. */
  add(descriptor: number, id: number, opaque: string | null): void {
    if (descriptor < 0) throw new BlockError('fd option is required and must be non-negative')
    if (descriptor <= STDERR) throw new BlockError('fd cannot be a standard I/O stream')
    const access = accessOf(descriptor)
    if (access === null) throw new BlockError('fd is not valid or already in use')
    if (id < 0) throw new BlockError('set option is required and must be non-negative')
    const set = this.sets.get(id) ?? { id, members: [], openings: 0 }
    set.members.push({ descriptor: this.duplicate(descriptor, access), opaque, access })
    this.sets.set(id, set)
  }

  /** All sets, the highest number first, as QEMU lists them. */
  query(): FdSetFacts[] {
    return [...this.sets.values()]
      .sort((left, right) => right.id - left.id)
      .map(({ id, members }) => ({
        id,
        descriptors: members.map(({ descriptor, opaque }) => ({ descriptor, opaque })),
      }))
  }

  /** Takes one descriptor out of a set, or all (null). What was opened by them stays open. False: there is no such thing. */
  remove(id: number, descriptor: number | null): boolean {
    const set = this.sets.get(id)
    if (set === undefined) return false
    const going = set.members.filter((member) => descriptor === null || member.descriptor === descriptor)
    if (going.length === 0 && descriptor !== null) return false
    for (const member of going) {
      set.members.splice(set.members.indexOf(member), 1)
      fs.closeSync(member.descriptor)
    }
    this.forgetIfEmpty(set)
    return true
  }

  /** A descriptor for `/dev/fdset/N`, with which the set counts until `closed`. Throws BlockError. */
  open(path: string, isReadOnly: boolean): { descriptor: number; closed: () => void } {
    assert(isFdSetName(path), 'fdset-name', () => path)
    const text = path.slice(PREFIX.length)
    if (!/^\d+$/.test(text)) throw new BlockError(`Could not parse fdset ${path}`, { errno: EINVAL })
    const set = this.sets.get(Number(text))
    const access = isReadOnly ? fs.constants.O_RDONLY : fs.constants.O_RDWR
    const member = set?.members.find((each) => each.access === access)
    if (set === undefined || member === undefined) {
      const errno = set === undefined ? ENOENT : EACCES
      const flags = access.toString(16)
      throw new BlockError(`Could not dup FD for ${path} flags ${flags}: ${strerror(errno)}`, { errno })
    }
    const descriptor = this.duplicate(member.descriptor, access)
    set.openings++
    const closed = (): void => {
      assert(set.openings > 0, 'fdset-openings', () => path)
      set.openings--
      this.forgetIfEmpty(set)
    }
    return { descriptor, closed }
  }

  /** Whether `/dev/fdset/N` is a block device. */
  isDevice(path: string): boolean {
    const [member] = this.sets.get(Number(path.slice(PREFIX.length)))?.members ?? []
    return member !== undefined && fs.fstatSync(member.descriptor).isBlockDevice()
  }

  private forgetIfEmpty(set: FdSet): void {
    if (set.members.length === 0 && set.openings === 0) this.sets.delete(set.id)
  }

  /** Without system calls of its own the same file is opened once more; its locks are not shared then. */
  private duplicate(descriptor: number, access: number): number {
    const copy = this.native === null ? fs.openSync(`/proc/self/fd/${descriptor}`, access) : this.native.duplicate(descriptor)
    if (copy < 0) throw new BlockError(`Failed to dup fd ${descriptor}: ${strerror(-copy)}`, { errno: -copy })
    return copy
  }
}

/** How a descriptor may be used, or null: it is none, or nothing that images are kept in. */
function accessOf(descriptor: number): number | null {
  try {
    const stat = fs.fstatSync(descriptor)
    if (!stat.isFile() && !stat.isBlockDevice()) return null
    const flags = /^flags:\s*([0-7]+)$/m.exec(fs.readFileSync(`/proc/self/fdinfo/${descriptor}`, 'utf8'))?.[1]
    assert(flags !== undefined, 'descriptor-has-flags')
    return Number.parseInt(flags, 8) & (fs.constants.O_WRONLY | fs.constants.O_RDWR)
  } catch {
    return null
  }
}
