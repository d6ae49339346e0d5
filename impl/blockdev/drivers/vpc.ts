/** `vpc`: virtual hard disks (VHD). */
import { BlockError } from '../../block'
import { writeHead } from '../../block/drivers/clusters/head'
import { newVpc, openVpc, probeVpc, sizeRule } from '../../block/drivers/vpc'
import type { Co } from '../../co'
import type { BlockdevDriver, Creating, Opened, Opening } from '../driver'
import { imageUuid } from '../image_identity'

const NS_PER_SECOND = 1e9

export const VPC: BlockdevDriver = {
  name: 'vpc',
  protocol: null,
  isFilter: false,
  strongOptions: ['force_size_calc'],
  probe: (head) => (probeVpc(head) ? 100 : 0),
  open,
  createOptions: [
    { name: 'size', type: 'size', help: 'Virtual disk size' },
    {
      name: 'subformat',
      type: 'string',
      help: 'Type of virtual hard disk format. Supported formats are {dynamic (default) | fixed} ',
    },
    {
      name: 'force_size',
      type: 'bool',
      help: 'Force disk size calculation to use the actual size specified, rather than using the nearest CHS-based calculation',
    },
  ],
  create,
}

function* open(opening: Opening): Co<Opened> {
  const rule = sizeRule(opening.options.takeString('force_size_calc'))
  const file = yield* opening.child({ name: 'file', role: 'image', isProbed: false })
  return { driver: yield* openVpc(file, rule), children: [{ name: 'file', role: 'image', node: file }] }
}

function* create({ context, filename, options, makeFile, openFile }: Creating): Co<void> {
  const subformat = options.string('subformat') ?? 'dynamic'
  if (subformat !== 'dynamic' && subformat !== 'fixed') {
    throw new BlockError(`Parameter 'subformat' does not accept value '${subformat}'`)
  }
  const nowNs = context.graph.kernel.nowNs()
  const { pieces, fileBytes } = newVpc({
    sizeBytes: options.size('size') ?? 0,
    isFixed: subformat === 'fixed',
    forceSize: options.flag('force_size') ?? false,
    uuid: imageUuid(nowNs, filename, 'image'),
    nowSeconds: Math.floor(nowNs / NS_PER_SECOND),
  })
  yield* makeFile(filename, 0)
  yield* writeHead(yield* openFile(filename), fileBytes, pieces)
}
