/** Reading and writing the beginnings of images, before there is a node of their format. Throws BlockError. */
import { assert, type Co, OK, strerror } from '../../../co'
import { BlockError } from '../../error'
import { Permission } from '../../flags'
import type { BlockChild, BlockNode } from '../../node'
import { temporaryParent } from '../qcow2/open'

/** Has `use` work on the file through an edge of its own. */
export function* withFile<T>(file: BlockNode, permission: number, use: (edge: BlockChild) => Co<T>): Co<T> {
  const parent = temporaryParent('the beginning of an image')
  const edge = file.graph.attach({ name: 'root', parent, node: file, permission, shared: Permission.All })
  try {
    return yield* use(edge)
  } finally {
    if (edge.isAttached) file.graph.detach(edge)
  }
}

/** Bytes of a file; what lies beyond its end is zero. */
export function* readHead(file: BlockNode, lengthBytes: number, offsetBytes = 0): Co<Uint8Array> {
  assert(lengthBytes > 0 && offsetBytes >= 0, 'head-range')
  const bytes = new Uint8Array(lengthBytes)
  const errno = yield* withFile(file, Permission.ConsistentRead, (edge) => edge.pread(offsetBytes, bytes))
  if (errno !== OK) throw new BlockError(strerror(errno), { errno })
  return bytes
}

/** A new image: its file gets a length, and these pieces. */
export function* writeHead(file: BlockNode, fileBytes: number, pieces: ReadonlyArray<readonly [number, Uint8Array]>): Co<void> {
  const permission = Permission.ConsistentRead | Permission.Write | Permission.Resize
  const errno = yield* withFile(file, permission, function* (edge) {
    // A file is emptied; a device keeps its length, and what it holds is written over.
    yield* edge.truncate(0, false, 'off')
    let failed = file.lengthBytes < fileBytes ? yield* edge.truncate(fileBytes, false, 'off') : OK
    for (const [offsetBytes, bytes] of pieces) {
      assert(offsetBytes + bytes.length <= fileBytes, 'head-in-file')
      if (failed === OK) failed = yield* edge.pwrite(offsetBytes, bytes)
    }
    return failed
  })
  if (errno !== OK) throw new BlockError(strerror(errno), { errno })
}
