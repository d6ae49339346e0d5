/** The state of a virtual machine in an image: a range of its own beside the disk, where the format has one. */
import type { BlockBackend } from '../block'
import { type Co, ENOMEDIUM, ENOTSUP, type Errno } from '../co'

/** Fills `buffer` from the state at `offsetBytes`. ENOTSUP: the format has no place for it. */
export function* loadVmState(disk: BlockBackend, _offsetBytes: number, _buffer: Uint8Array): Co<Errno> {
  return disk.root === null ? ENOMEDIUM : ENOTSUP
}

/** Writes `buffer` to the state at `offsetBytes`. ENOTSUP: the format has no place for it. */
export function* saveVmState(disk: BlockBackend, _offsetBytes: number, _buffer: Uint8Array): Co<Errno> {
  return disk.root === null ? ENOMEDIUM : ENOTSUP
}
