/** `qcow`: the first format of its family, without snapshots. */
import { BlockError } from '../../block'
import { writeHead } from '../../block/drivers/clusters/head'
import { newQcow, openQcow, probeQcow } from '../../block/drivers/qcow'
import type { Co } from '../../co'
import type { CreateOptions } from '../create_options'
import type { BlockdevDriver, Creating, Opened, Opening } from '../driver'

const SECTOR_BYTES = 512

export const QCOW: BlockdevDriver = {
  name: 'qcow',
  protocol: null,
  isFilter: false,
  supportsBacking: true,
  strongOptions: [],
  probe: (head) => (probeQcow(head) ? 100 : 0),
  open,
  canCompress: true,
  createOptions: [
    { name: 'size', type: 'size', help: 'Virtual disk size' },
    { name: 'backing_file', type: 'string', help: 'File name of a base image' },
    { name: 'backing_fmt', type: 'string', help: 'Format of the backing image' },
    {
      name: 'encryption',
      type: 'bool',
      help: "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)",
    },
    { name: 'encrypt.format', type: 'string', help: "Encrypt the image, format choices: 'aes'" },
    { name: 'encrypt.key-secret', type: 'string', help: 'ID of the secret that provides the AES encryption key' },
  ],
  create,
}

function* open(opening: Opening): Co<Opened> {
  const file = yield* opening.child({ name: 'file', role: 'image', isProbed: false })
  const driver = yield* openQcow(file, opening.context.codecs.deflate)
  const { backingName } = driver.header
  return {
    driver,
    children: [{ name: 'file', role: 'image', node: file }],
    // The header does not say which format the image below has.
    backing: backingName === null ? null : { name: backingName, format: null },
  }
}

function* create({ filename, options, makeFile, openFile }: Creating): Co<void> {
  refuseEncryption(options)
  const { head, fileBytes } = newQcow({
    sizeBytes: Math.ceil((options.size('size') ?? 0) / SECTOR_BYTES) * SECTOR_BYTES,
    backingName: options.string('backing_file') ?? null,
  })
  yield* makeFile(filename, 0)
  yield* writeHead(yield* openFile(filename), fileBytes, [[0, head]])
}

function refuseEncryption(options: CreateOptions): void {
  const format = options.flag('encryption') === true ? 'aes' : options.string('encrypt.format')
  if (format === undefined) return
  if (format !== 'aes') throw new BlockError(`Parameter 'encrypt.format' does not accept value '${format}'`)
  if (options.string('encrypt.key-secret') === undefined) {
    throw new BlockError("Parameter 'encrypt.key-secret' is required for cipher")
  }
  throw new BlockError('Encrypted qcow images are not supported')
}
