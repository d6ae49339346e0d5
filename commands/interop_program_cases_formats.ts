/** Conversations about formats other than raw and qcow2: listed ones, and ones that are drawn from a seed. */
import type { Conversation } from './interop_program_cases'
import { Draw, request } from './interop_program_plan'

interface Kind {
  format: string
  options: string
  takesBacking?: boolean
  /** The file is as long as the disk: QEMU gives new files their first block, and where holes are differs. */
  isFlat?: boolean
  /** Only whole grains can be written, and only once: by convert. */
  isPacked?: boolean
}

const KINDS: readonly Kind[] = [
  { format: 'qcow', options: '', takesBacking: true },
  { format: 'qed', options: '', takesBacking: true },
  { format: 'qed', options: 'cluster_size=4k,table_size=2', takesBacking: true },
  { format: 'qed', options: 'cluster_size=128k,table_size=8', takesBacking: true },
  { format: 'parallels', options: '' },
  { format: 'parallels', options: 'cluster_size=64k' },
  { format: 'vdi', options: '' },
  { format: 'vdi', options: 'static=on', isFlat: true },
  { format: 'vpc', options: '' },
  { format: 'vpc', options: 'force_size=on' },
  { format: 'vpc', options: 'subformat=fixed', isFlat: true },
  { format: 'vmdk', options: '', takesBacking: true },
  { format: 'vmdk', options: 'zeroed_grain=on', takesBacking: true },
  { format: 'vmdk', options: 'subformat=monolithicFlat', isFlat: true },
  { format: 'vmdk', options: 'subformat=twoGbMaxExtentSparse', takesBacking: true },
  { format: 'vmdk', options: 'subformat=twoGbMaxExtentFlat', isFlat: true },
  { format: 'vmdk', options: 'subformat=streamOptimized', isPacked: true },
]

const LENGTHS = [1 << 20, 3 << 20, 1000 * 512]

function made({ format, options }: Kind): string {
  return `${format}${options === '' ? '' : ` -o ${options}`}`
}
/** Places are not asked for where they differ: in flat files, and in qed, whose tables stand between other clusters here. */
function asked({ format, isFlat = false }: Kind, name: string): string[] {
  const hasPlaces = !isFlat && format !== 'qed'
  return [
    `qemu-img info -f ${format} ${name}`,
    `qemu-img info --output=json ${name}`,
    hasPlaces ? `qemu-img map --output=json -f ${format} ${name}` : `qemu-io -c 'map' -f ${format} ${name}`,
    `qemu-img check${hasPlaces ? '' : ' -q'} -f ${format} ${name}`,
  ]
}

/** An image of some kind, requests, and what is then asked about it; copies of other kinds; perhaps an overlay. */
export function drawFormatConversation(seed: string): Conversation {
  const draw = new Draw(`formats.${seed}`)
  const kind = draw.of(KINDS.filter(({ isPacked }) => isPacked !== true))
  const lengthBytes = draw.of(LENGTHS)
  const requests = (name: string, format: string): string => {
    const texts = Array.from({ length: 1 + draw.below(5) }, () => `-c '${request(draw, lengthBytes, false)}'`)
    return `qemu-io -f ${format} ${texts.join(' ')} ${name}`
  }
  const { format } = kind
  const lines = [`qemu-img create -f ${made(kind)} i ${lengthBytes}`, requests('i', format), ...asked(kind, 'i')]
  if (kind.takesBacking === true && draw.oneIn(2)) {
    lines.push(`qemu-img create -f ${made(kind)} -b i -F ${format} o`, requests('o', format), ...asked(kind, 'o'))
    lines.push(`qemu-img convert -O raw o r`)
    if (draw.oneIn(2)) lines.push(`qemu-img commit -q -f ${format} o`, ...asked(kind, 'i'))
  }
  const other = draw.of(KINDS)
  lines.push(`qemu-img convert -f ${format} -O ${made(other)} i j`, ...asked(other, 'j'))
  lines.push(`qemu-img compare -f ${format} -F ${other.format} i j`)
  if (other.isPacked !== true) lines.push(requests('j', other.format), ...asked(other, 'j'))
  return { name: `formats: drawn ${seed}`, lines }
}

const named = (name: string, ...lines: string[]): Conversation => ({ name: `formats: ${name}`, lines })
/** What is said of one kind of image in all commands that may refuse it. */
const surface = (format: string): Conversation =>
  named(
    format,
    `qemu-img create -f ${format} -o help`,
    `qemu-img create -f ${format} -o foo=bar i 1M`,
    `qemu-img create -f ${format} i`,
    `qemu-img create -f ${format} i 2M`,
    `qemu-io -c 'write -P 1 1M 64k' -c 'write -z 0 64k' -c 'map' -c 'length' i`,
    `qemu-img info i`,
    `qemu-img map i`,
    `qemu-img check i`,
    `qemu-img check --output=json i`,
    `qemu-img check -r all i`,
    `qemu-img snapshot -c s i`,
    `qemu-img snapshot -l i`,
    `qemu-img amend -f ${format} -o size=1M i`,
    `qemu-img resize i 1M`,
    `qemu-img resize i 4M`,
    `qemu-img rebase -u -b '' i`,
    `qemu-img bitmap --add i b`,
    // QEMU 7.2 makes no qcow image so, and does not say why.
    `qemu-img convert${format === 'qcow' ? '' : ' -c'} -O ${format} i j`,
    `qemu-img compare i j`,
    `qemu-img create -f ${format} -b i -F ${format} k`,
    `qemu-img commit k`,
    `qemu-io -c 'discard 0 64k' -c 'truncate 1M' -c 'flush' i`,
    `qemu-io -f qcow2 -c 'length' i`,
  )

export const FORMAT_CONVERSATIONS: readonly Conversation[] = [
  ...['qcow', 'qed', 'parallels', 'vdi', 'vpc', 'vmdk'].map(surface),
  named(
    'creation that is refused',
    'qemu-img create -f qcow i 0',
    'qemu-img create -f qcow -o encryption=on i 1M',
    'qemu-img create -f qed -o cluster_size=1 i 1M',
    'qemu-img create -f qed -o table_size=3 i 1M',
    'qemu-img create -f qed -o table_size=1,cluster_size=4096 i 3G',
    'qemu-img create -f vmdk -o subformat=foo i 1M',
    'qemu-img create -f vmdk -o adapter_type=foo i 1M',
    'qemu-img create -f vmdk -o compat6=on,hwversion=5 i 1M',
    'qemu-img create -f vmdk -o subformat=monolithicFlat,zeroed_grain=on i 1M',
    'qemu-img create -f raw r 1M',
    'qemu-img create -f vmdk -b r -F raw i',
    'qemu-img create -f vpc -o subformat=foo i 1M',
    'qemu-img create -f bochs i 1M',
    'qemu-img create -f cloop i 1M',
    'qemu-img create -f dmg i 1M',
    'qemu-img info -f bochs r',
    'qemu-img info -f cloop r',
    'qemu-img info -f parallels r',
    'qemu-img info -f qcow r',
    'qemu-img info -f qed r',
    'qemu-img info -f vdi r',
    'qemu-img info -f vmdk r',
    'qemu-img info -f vpc r',
    // What was refused is removed here, and left there.
    'qemu-img create -f raw i 1M',
  ),
  named(
    'vmdk in several files',
    'qemu-img create -f vmdk -o subformat=twoGbMaxExtentSparse s.vmdk 5G',
    'qemu-img info s.vmdk',
    "qemu-io -c 'write -P 1 2147450880 64k' -c 'write -P 2 4G 1k' s.vmdk",
    'qemu-img map s.vmdk',
    'qemu-img map --output=json s.vmdk',
    'qemu-img create -f vmdk -o subformat=monolithicFlat,adapter_type=lsilogic f.vmdk 3M',
    "qemu-io -c 'write -P 1 1M 64k' f.vmdk",
    'qemu-img info f.vmdk',
    'qemu-img info --output=json f.vmdk',
    'qemu-img convert -O vmdk -o subformat=streamOptimized f.vmdk p.vmdk',
    'qemu-img info p.vmdk',
    'qemu-img compare p.vmdk f.vmdk',
    "qemu-io -c 'write 0 512' -c 'write 2M 64k' -c 'read -P 1 1M 64k' p.vmdk",
  ),
]
