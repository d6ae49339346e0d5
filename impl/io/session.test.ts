import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockBackend, BlockError, Permission } from '../block'
import { BlkdebugDriver } from '../block/drivers/blkdebug'
import { RawDriver } from '../block/drivers/raw'
import { memoryStack } from '../block/testing'
import { EIO, OK } from '../co'
import { IO_COMMANDS, IoSession } from './index'

/** A raw image of 64 KiB over blkdebug over memory. */
function bench(latencyNs = 0) {
  const stack = memoryStack(65536, {}, { discard: 'unmap' })
  stack.disk.latencyNs = latencyNs
  const said: string[] = []
  const filter = stack.graph.addNode({
    driver: new BlkdebugDriver({}, (line) => said.push(`${line}\n`)),
    children: [{ name: 'image', role: 'filtered', node: stack.node }],
    options: { discard: 'unmap' },
  })
  const top = stack.graph.addNode({
    driver: new RawDriver({}, filter.lengthBytes),
    children: [{ name: 'file', role: 'image', node: filter }],
    options: { discard: 'unmap' },
  })
  const backend = new BlockBackend(stack.graph, 'io')
  backend.attach(top, Permission.ConsistentRead | Permission.Write | Permission.Resize, Permission.All)
  const content = new Uint8Array([1, 2, 3])
  const session = new IoSession(
    stack.kernel,
    {
      out: (text) => said.push(text),
      err: (text) => said.push(`stderr: ${text}`),
      report: (text) => said.push(`error: ${text}\n`),
      nowNs: () => stack.kernel.nowNs(),
      *readFile(path) {
        if (path === 'empty') return new Uint8Array(0)
        if (path !== 'file') throw new BlockError('No such file or directory')
        return content
      },
    },
    IO_COMMANDS,
  )
  session.backend = backend
  /** What each line prints, speeds cut off. */
  const say = (...lines: string[]): string => {
    said.length = 0
    stack.run(
      (function* () {
        for (const line of lines) yield* session.execute(line)
      })(),
    )
    return said.join('').replace(/ ops; .*$/gm, ' ops')
  }
  const exit = (line: string): number => stack.run(session.execute(line))
  return { ...stack, session, backend, say, exit }
}

const WROTE = 'wrote 512/512 bytes at offset 0\n512 bytes, 1 ops\n'
const READ_USAGE = 'read [-abCqrv] [-P pattern [-s off] [-l len]] off len -- reads a number of bytes at a specified offset\n'

test('what is written is read again, and a pattern tells what is not there', () => {
  const { say, exit } = bench()
  assert.is(say('write -P 7 1k 1.5k'), 'wrote 1536/1536 bytes at offset 1024\n1.500 KiB, 1 ops\n')
  assert.is(say('read -P 7 1k 1536'), 'read 1536/1536 bytes at offset 1024\n1.500 KiB, 1 ops\n')
  assert.is(
    say('read -P 7 0 2k'),
    'Pattern verification failed at offset 0, 2048 bytes\nread 2048/2048 bytes at offset 0\n2 KiB, 1 ops\n',
  )
  assert.is(exit('read -P 7 1k 1k'), OK)
  assert.is.not(exit('read -P 8 1k 1k'), OK)
  assert.is(say('read -qP 7 -s 1k -l 0x200 0 2k'), '')
  assert.is(say('read -q -P 0 -l 1k 0 2k'), '')
})

test('bytes are dumped with letters and digits beside them', () => {
  const { say } = bench()
  say('write -P 65 0 3')
  assert.is(
    say('read -v 0 20').split('\nread')[0],
    '00000000:  41 41 41 00 00 00 00 00 00 00 00 00 00 00 00 00  AAA.............\n00000010:  00 00 00 00  ....',
  )
})

test('operands that are none are refused in words', () => {
  const { say } = bench()
  const notNumeric = 'Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- '
  assert.is(say('read'), 'stderr: bad argument count 0 to read, expected at least 2 arguments\n')
  assert.is(say('length 1'), 'stderr: bad argument count 1 to length, expected 0 arguments\n')
  assert.is(say('alloc'), 'stderr: bad argument count 0 to alloc, expected between 1 and 2 arguments\n')
  assert.is(say('read 0 1 2'), READ_USAGE)
  assert.is(say('read -Z 0 1'), `stderr: read: invalid option -- 'Z'\n${READ_USAGE}`)
  assert.is(say('read x 1'), `${notNumeric}x\n`)
  assert.is(say('read 0 1.5b'), `${notNumeric}1.5b\n`)
  assert.is(say('read 0 16E'), 'Parsing error: argument too large -- 16E\n')
  assert.is(say('read 0 3G'), 'length cannot exceed 2147483136, given 3G\n')
  assert.is(say('readv 0 3G'), "Argument '3G' exceeds maximum size 2147483136\n")
  assert.is(say('readv 0 1G 1G'), 'The total number of bytes exceed the maximum size 2147483136\n')
  assert.is(say('write -P 300 0 1'), '300 is not a valid pattern byte\n')
  assert.is(say('read -P 0 -s 5 -l 600 0 512'), 'pattern verification range exceeds end of read data\n')
  assert.is(say('read -l 5 0 512'), READ_USAGE)
  assert.is(say('foo'), 'stderr: command "foo" not found\n')
})

test('letters that exclude each other are refused', () => {
  const { say } = bench()
  assert.is(say('write -z -P 1 0 512'), 'Only one of -z, -P, and -s can be specified at the same time\n')
  assert.is(say('write -u 0 512'), '-u requires -z to be specified\n')
  assert.is(say('write -n 0 512'), '-n requires -z to be specified\n')
  assert.is(say('write -b -z 0 512'), '-b and -z cannot be specified at the same time\n')
  assert.is(say('write -bf 0 512'), '-f and -b or -c cannot be specified at the same time\n')
  assert.is(say('aio_write -z 0 512 512'), '-z supports only a single length parameter\n')
  assert.is(say('write -c 3 512'), "3 is not a sector-aligned value for 'offset'\n")
})

test('errors of the disk are told by their text', () => {
  const { say, disk } = bench()
  assert.is(say('read 64k 1'), 'read failed: Input/output error\n')
  assert.is(say('write 7E 1'), 'write failed: Input/output error\n')
  disk.fail = ({ kind }) => (kind === 'write' ? EIO : OK)
  assert.is(say('write 0 512'), 'write failed: Input/output error\n')
  assert.is(say('aio_write 0 512', 'aio_flush'), 'aio_write failed: Input/output error\n')
})

test('a file is written over and over', () => {
  const { say } = bench()
  assert.is(say('write -s file 0 512'), WROTE)
  assert.match(say('read -v 0 5'), '00000000:  01 02 03 01 02  .....')
  assert.is(say('write -s empty 0 512'), 'stderr: empty: file is empty\n')
  assert.is(say('write -s none 0 512'), 'stderr: none: No such file or directory\n')
})

test('asynchronous requests run beside each other and are told of when a command waits', () => {
  const { say, kernel } = bench(1000)
  const startNs = kernel.nowNs()
  assert.is(say('aio_write -P 1 0 512', 'aio_write -P 2 512 512', 'length'), '64 KiB\n')
  const told = say('aio_flush')
  assert.is(told, `${WROTE}wrote 512/512 bytes at offset 512\n512 bytes, 1 ops\n`)
  assert.is(kernel.nowNs() - startNs, 1000)
  assert.is(say('aio_flush'), '')
})

test('a request stops at a breakpoint until it is resumed', () => {
  const { say } = bench()
  assert.is(say('break write_aio x', 'aio_write 0 512', 'wait_break x'), "blkdebug: Suspended request 'x'\n")
  assert.is(say('resume y'), 'Could not resume request: No such file or directory\n')
  assert.is(say('resume x', 'aio_flush'), `blkdebug: Resuming request 'x'\n${WROTE}`)
  assert.is(say('break nothing x'), 'Could not set breakpoint: No such file or directory\n')
  assert.is(say('remove_break x'), 'Could not remove breakpoint x: No such file or directory\n')
})

test('length, allocation and truncation', () => {
  const { say } = bench()
  say('write 4k 1k')
  assert.is(say('length'), '64 KiB\n')
  assert.is(say('truncate 1M', 'length'), '1 MiB\n')
  assert.is(say('truncate -m foo 1'), "error: Invalid preallocation mode 'foo'\n")
  assert.is(say('alloc 4k 1k'), '1024/1024 bytes allocated at offset 4 KiB\n')
  assert.match(say('map'), /^1 MiB \(0x100000\) bytes {5}allocated at offset 0 bytes \(0x0\)\n$/)
})

test('without a disk only some commands run', () => {
  const { say, session } = bench()
  session.backend = null
  assert.is(say('read 0 1'), "stderr: no file open, try 'help open'\n")
  assert.match(say('help read'), READ_USAGE)
  assert.match(
    say('help'),
    /^abort -- simulate[\s\S]*\nread [\s\S]*\nzone_reset [\s\S]*\n\nUse 'help commandname' for extended help.\n$/,
  )
  assert.is(say('sleep x'), 'x is not a valid number\n')
  assert.is(say('zone_report 0 1'), "stderr: no file open, try 'help open'\n")
})

test.run()
