/** `vdi`: the images of VirtualBox. */
import { writeHead } from '../../block/drivers/clusters/head'
import { newVdi, openVdi, probeVdi } from '../../block/drivers/vdi'
import type { Co } from '../../co'
import type { BlockdevDriver, Creating, Opened, Opening } from '../driver'
import { imageUuid } from '../image_identity'

export const VDI: BlockdevDriver = {
  name: 'vdi',
  protocol: null,
  isFilter: false,
  strongOptions: [],
  probe: (head) => (probeVdi(head) ? 100 : 0),
  open,
  createOptions: [
    { name: 'size', type: 'size', help: 'Virtual disk size' },
    { name: 'static', type: 'bool', help: 'VDI static (pre-allocated) image', defaultText: 'off' },
  ],
  create,
}

function* open(opening: Opening): Co<Opened> {
  const file = yield* opening.child({ name: 'file', role: 'image', isProbed: false })
  return { driver: yield* openVdi(file), children: [{ name: 'file', role: 'image', node: file }] }
}

function* create({ context, filename, options, makeFile, openFile }: Creating): Co<void> {
  const isStatic = options.flag('static') ?? false
  const nowNs = context.graph.kernel.nowNs()
  const { head, fileBytes } = newVdi({
    sizeBytes: Math.ceil((options.size('size') ?? 0) / 512) * 512,
    isStatic,
    uuids: [imageUuid(nowNs, filename, 'image'), imageUuid(nowNs, filename, 'state')],
  })
  yield* makeFile(filename, 0)
  yield* writeHead(yield* openFile(filename), fileBytes, [[0, head]])
}
