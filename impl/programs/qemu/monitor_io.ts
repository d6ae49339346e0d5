/** What commands of qemu-io have to work with inside a monitor: the same as in the program of that name, but opening files. */
import * as fs from 'node:fs'
import { BlockError } from '../../block'
import { strerror } from '../../co'
import { errnoOf } from '../../host'
import { IO_COMMANDS } from '../../io'
import type { IoEnvironment } from '../../monitor'
import { humanSpecificInfo, vmStateOffset } from './image_info'
import { reopenCommand } from './io_reopen'
import { resizeErrorText } from './resize_error'
import type { Tool } from './tool'

export function monitorIo(tool: Tool, say: (text: string) => void): IoEnvironment {
  const origin = process.hrtime.bigint()
  return {
    host: {
      out: say,
      err: (text) => tool.terminals.err.write(text),
      nowNs: () => Number(process.hrtime.bigint() - origin),
      raise: (signal) => {
        tool.terminals.out.flush()
        if (signal !== 0) process.kill(process.pid, signal)
      },
      *readFile(path) {
        try {
          return fs.readFileSync(path)
        } catch (error) {
          const errno = errnoOf(error)
          throw new BlockError(strerror(errno), { errno })
        }
      },
      truncateText: resizeErrorText,
      vmStateOffset: (disk) => (disk.root === null ? 0 : vmStateOffset(disk.root.node)),
      specificInfo: (disk) => (disk.root === null ? '' : humanSpecificInfo(disk.root.node)),
    },
    commands: [...IO_COMMANDS, reopenCommand(tool)],
  }
}
