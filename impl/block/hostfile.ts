/**
 * What the `file` driver needs from the machine. `impl/host` implements it over real descriptors, the world over its own
 * simulated files; this room sees only the interface. Calls may complete at once (plain system calls) or later
 * (thread pool, simulated latency); both look the same to the caller because they are coroutines.
 */
import type { Co, Errno } from '../co'

export interface OpenFileOptions {
  readOnly: boolean
  /** O_DIRECT: offset, length and memory must be aligned to `alignmentBytes` of the opened file. */
  direct: boolean
  /** threads: slow calls run beside everything else. native: the loop makes them itself. Absent: the host's choice. */
  aio?: 'threads' | 'native'
}

export interface FileTraits {
  lengthBytes: number
  /** Bytes allocated on the medium (st_blocks * 512). */
  allocatedBytes: number
  isBlockDevice: boolean
  /** Identity, equal for two descriptors of one file: `device:inode`. */
  identity: string
  /** Smallest unit that a hole can have (st_blksize); 0 where unknown. */
  holeUnitBytes: number
  /** Alignment that I/O must have: 1 without O_DIRECT. */
  alignmentBytes: number
  /** It was opened for reading only. Absent: it was not. */
  isReadOnly?: boolean
  /** False where it is known that no range can be deallocated; absent: it is to be tried. */
  canPunchHoles?: boolean
}

/** An extent as SEEK_DATA/SEEK_HOLE tell it: [offsetBytes, endBytes) is all data or all hole. */
export interface HostExtent {
  errno: Errno
  isData: boolean
  endBytes: number
}

/** One open file. Every call returns an errno; ENOTSUP means that the file system cannot do it. */
export interface HostFile {
  readonly path: string
  traits(): FileTraits
  /** Fills the whole buffer; what lies beyond the end of the file is zero-filled. */
  pread(offsetBytes: number, buffer: Uint8Array): Co<Errno>
  pwrite(offsetBytes: number, buffer: Uint8Array): Co<Errno>
  /** FALLOC_FL_PUNCH_HOLE | KEEP_SIZE. */
  punchHole(offsetBytes: number, lengthBytes: number): Co<Errno>
  /** FALLOC_FL_ZERO_RANGE; `keepSize` as the flag. */
  zeroRange(offsetBytes: number, lengthBytes: number, keepSize: boolean): Co<Errno>
  /** fallocate with no flags: allocates, reads zero where it was a hole. */
  allocate(offsetBytes: number, lengthBytes: number): Co<Errno>
  /** True if `copyFrom` may work from that file. Absent: never. */
  copiesFrom?(source: HostFile): boolean
  /** copy_file_range of a range inside both files, to the same place. ENOTSUP: not between these two. */
  copyFrom?(source: HostFile, offsetBytes: number, lengthBytes: number): Co<Errno>
  /** Takes or gives up a shared advisory lock of this descriptor on one byte. Absent: there are no locks. */
  setLock?(offsetBytes: number, isLocked: boolean): Errno
  /** EAGAIN if another descriptor has a lock on the byte. */
  testLock?(offsetBytes: number): Errno
  /** SEEK_DATA/SEEK_HOLE at offsetBytes; ENOTSUP where there is no such call. */
  extentAt(offsetBytes: number): Co<HostExtent>
  truncate(lengthBytes: number): Co<Errno>
  sync(): Co<Errno>
  close(): Co<Errno>
}

export interface HostFiles {
  /** Opens an existing file. Throws BlockError with QEMU's text `Could not open 'PATH': strerror`. */
  open(path: string, options: OpenFileOptions): Co<HostFile>
  /** Creates or truncates a file. Throws BlockError. */
  create(path: string, lengthBytes: number): Co<HostFile>
  /** Whether the path names a block device; false where there is nothing. Absent: there are no devices. */
  isDevice?(path: string): boolean
  /** Removes what `create` has made. Absent, or without effect: it stays. */
  remove?(path: string): void
}
