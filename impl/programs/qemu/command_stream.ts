/**
 * A command of the shell as a stream: what is written is its input, what is read its output. Its errors go where ours go.
 *
 * What may fail: starting the shell, as BlockError.
 */
import { spawn } from 'node:child_process'
import { BlockError } from '../../block'
import { type ByteStream, type Co, OK, strerror } from '../../co'
import { errnoOf, type HostLoop } from '../../host'
import { NodeStream } from '../../host/node_stream'
import { callBack } from '../../host/transfers'

/** Throws BlockError. */
export function* runCommand(loop: HostLoop, command: string): Co<ByteStream> {
  const child = spawn('/bin/sh', ['-c', command], { stdio: ['pipe', 'pipe', 'inherit'] })
  const { stdin, stdout } = child
  const destroy = (): void => {
    stdin.destroy()
    stdout.destroy()
  }
  // At once: what a short command prints is lost to those who come after its end.
  const stream = new NodeStream({ loop, peer: `exec:${command}`, readable: stdout, writable: stdin, destroy })
  const errno = yield* callBack(loop, (done) => {
    child.once('error', (error) => done(errnoOf(error)))
    child.once('spawn', () => done(OK))
  })
  if (errno === OK) return stream
  stream.close()
  throw new BlockError(`Failed to run '${command}': ${strerror(errno)}`, { errno })
}
