/** `qcow2`: the format with snapshots, images below, and holes. */
import { openQcow2, PLACE_NAMES, type Qcow2OpenOptions } from '../../block/drivers/qcow2'
import { assert, type Co } from '../../co'
import type { BlockdevDriver, Opened, OpenedChild, Opening } from '../driver'
import type { Options } from '../options'

const MAGIC = 0x514649fb
const MS_PER_S = 1000

export const QCOW2: BlockdevDriver = {
  name: 'qcow2',
  protocol: null,
  isFilter: false,
  supportsBacking: true,
  strongOptions: ['encrypt.format', 'encrypt.key-secret'],
  probe(head) {
    if (head.length < 8) return 0
    const view = new DataView(head.buffer, head.byteOffset, head.byteLength)
    return view.getUint32(0) === MAGIC && view.getUint32(4) >= 2 ? 100 : 0
  },
  open,
}

function* open(opening: Opening): Co<Opened> {
  const { options, context, isForCheck, nodeOptions } = opening
  const file = yield* opening.child({ name: 'file', role: 'image', isProbed: false })
  const given = takeOptions(options, nodeOptions.discard === 'unmap')
  const driver = yield* openQcow2(file, {
    ...given,
    readOnly: nodeOptions.readOnly,
    forCheck: isForCheck,
    codecs: context.codecs,
  })
  const children: OpenedChild[] = [{ name: 'file', role: 'image', node: file }]
  const { dataFileName, backingName, backingFormat } = driver.header
  const wanted = { name: 'data-file', role: 'image', isProbed: false } as const
  const dataFile = driver.needsDataFile
    ? yield* opening.child({ ...wanted, ...(dataFileName === null ? {} : { filename: dataFileName }) })
    : yield* opening.childIfThere(wanted)
  if (dataFile !== null) children.push({ name: 'data-file', role: 'image', node: dataFile })
  assert(children.length <= 2, 'qcow2-children')
  return {
    driver,
    children,
    backing: backingName === null ? null : { name: backingName, format: backingFormat },
    start: () => driver.start(context.repair),
  }
}

/** `discards`: the node hands discards on, which decides about those that a guest has not asked for. */
function takeOptions(options: Options, discards: boolean): Omit<Qcow2OpenOptions, 'codecs'> {
  const lazyRefcounts = options.takeFlag('lazy-refcounts')
  const sizes = {
    cacheBytes: options.takeSize('cache-size'),
    l2CacheBytes: options.takeSize('l2-cache-size'),
    l2CacheEntryBytes: options.takeSize('l2-cache-entry-size'),
    refcountCacheBytes: options.takeSize('refcount-cache-size'),
  }
  const template = options.takeString('overlap-check') ?? options.takeString('overlap-check.template')
  const checks: Record<string, string | boolean | undefined> = template === undefined ? {} : { template }
  for (const [, name] of PLACE_NAMES) {
    const flag = options.takeFlag(`overlap-check.${name}`)
    if (flag !== undefined) checks[name] = flag
  }
  // Caches are bounded anyway, so that nothing has to be cleaned up after a while.
  const interval = options.takeNumber('cache-clean-interval')
  assert(interval === undefined || interval * MS_PER_S >= 0, 'cache-clean-interval')
  return {
    ...(lazyRefcounts === undefined ? {} : { lazyRefcounts }),
    passDiscardRequest: options.takeFlag('pass-discard-request') ?? discards,
    passDiscardSnapshot: options.takeFlag('pass-discard-snapshot') ?? true,
    passDiscardOther: options.takeFlag('pass-discard-other') ?? false,
    discardNoUnref: options.takeFlag('discard-no-unref') ?? false,
    overlapCheck: checks,
    ...(Object.fromEntries(Object.entries(sizes).filter(([, bytes]) => bytes !== undefined)) as Partial<typeof sizes> as {
      cacheBytes?: number
    }),
  }
}
