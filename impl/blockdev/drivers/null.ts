/** `null-co` and `null-aio`: disks that store nothing. */
import { BlockError } from '../../block'
import { NullDriver } from '../../block/drivers/null_co'
import type { Co } from '../../co'
import type { BlockdevDriver, Opened, Opening } from '../driver'

function entry(name: 'null-co' | 'null-aio'): BlockdevDriver {
  return {
    name,
    protocol: name,
    isFilter: false,
    strongOptions: ['size', 'latency-ns', 'read-zeroes'],
    parseFilename(filename) {
      // It has no options in it: QEMU takes the bare form only.
      if (filename !== `${name}://`) throw new BlockError(`The only allowed filename for this driver is '${name}://'`)
    },
    open: (opening) => open(name, opening),
  }
}

export const NULL_CO = entry('null-co')
export const NULL_AIO = entry('null-aio')

function* open(name: 'null-co' | 'null-aio', { options }: Opening): Co<Opened> {
  options.takeString('filename')
  const sizeBytes = options.takeSize('size')
  const latencyNs = options.takeNumber('latency-ns')
  const readZeroes = options.takeFlag('read-zeroes') ?? false
  const given = { ...(sizeBytes === undefined ? {} : { sizeBytes }), ...(latencyNs === undefined ? {} : { latencyNs }) }
  return { driver: new NullDriver({ ...given, readZeroes }, name), children: [] }
}
