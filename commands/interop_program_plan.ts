/** Conversations at random: images with random options, random requests, and what is then asked about them. One seed, one list. */
import seedrandom = require('seedrandom')

import type { Conversation } from './interop_program_cases'

export class Draw {
  private readonly random: () => number

  constructor(seed: string) {
    const generator = seedrandom.tychei(seed)
    this.random = () => generator.int32() >>> 0
  }
  below(end: number): number {
    return this.random() % end
  }
  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!
  }
  oneIn(count: number): boolean {
    return this.below(count) === 0
  }
}

const LENGTHS = [65536, 1 << 20, 3 << 20, 1000 * 512]

function options(draw: Draw, isWhole: boolean): string {
  const chosen: string[] = []
  if (draw.oneIn(2)) chosen.push(`cluster_size=${draw.of(isWhole ? ['512', '4k', '64k'] : ['512', '4k', '64k', '1M'])}`)
  if (draw.oneIn(4)) chosen.push(`compat=${draw.of(['0.10', '1.1'])}`)
  else if (draw.oneIn(3)) chosen.push(`refcount_bits=${draw.of([1, 2, 4, 8, 16, 32, 64])}`)
  else if (draw.oneIn(2)) chosen.push('extended_l2=on')
  if (draw.oneIn(5)) chosen.push('preallocation=metadata')
  if (draw.oneIn(5)) chosen.push('lazy_refcounts=on')
  return chosen.length === 0 ? '' : ` -o ${chosen.join(',')}`
}

/** Whole clusters where something asks for maps later: what is left of a new cluster is a hole here, and is none there. */
function extent(draw: Draw, lengthBytes: number, isWhole: boolean): string {
  const unit = isWhole ? 65536 : draw.of([1, 512, 4096, 65536])
  const offset = Math.floor(draw.below(lengthBytes) / unit) * unit
  const bytes = Math.max(1, Math.min(lengthBytes - offset, (1 + draw.below(4)) * unit * draw.of([1, 1, 8])))
  return `${offset} ${bytes}`
}

/** A request of qemu-io at random. */
export function request(draw: Draw, lengthBytes: number, isWhole: boolean): string {
  const range = extent(draw, lengthBytes, isWhole)
  const pattern = 1 + draw.below(255)
  switch (draw.below(10)) {
    case 0:
      return `write -z ${range}`
    case 1:
      return `write -z -u ${range}`
    case 2:
      return `discard ${range}`
    case 3:
      return `read ${range}`
    case 4:
      return `writev -P ${pattern} ${range}`
    case 5:
      return `aio_write -P ${pattern} ${range}' -c 'aio_flush`
    case 6:
      return draw.of(['map', 'length', 'flush', 'aio_flush', `alloc ${range}`, 'info'])
    default:
      return `write -P ${pattern} ${range}`
  }
}

function requests(draw: Draw, file: string, lengthBytes: number, isWhole: boolean, flags = ''): string {
  const commands = Array.from({ length: 1 + draw.below(6) }, () => `-c '${request(draw, lengthBytes, isWhole)}'`)
  return `qemu-io${flags} ${commands.join(' ')} -c aio_flush ${file}`
}

function question(draw: Draw, isWhole: boolean): string {
  const questions = [
    'qemu-img info t.qcow2',
    'qemu-img info --output=json --backing-chain t.qcow2',
    'qemu-img check t.qcow2',
    'qemu-img check --output=json t.qcow2',
    'qemu-img compare b.img t.qcow2',
    'qemu-io -c map t.qcow2',
    'qemu-img convert -O raw t.qcow2 copy.raw',
    'qemu-img convert -O qcow2 t.qcow2 copy.qcow2',
    'qemu-img convert -c -O qcow2 t.qcow2 packed.qcow2',
  ]
  if (isWhole) {
    questions.push('qemu-img map t.qcow2', 'qemu-img map --output=json t.qcow2', 'qemu-img measure -O qcow2 t.qcow2')
  }
  return draw.of(questions)
}

function change(draw: Draw, lengthBytes: number, isWhole: boolean): string {
  return draw.of([
    requests(draw, 't.qcow2', lengthBytes, isWhole, draw.oneIn(2) ? ' -d ignore' : ''),
    requests(draw, 't.qcow2', lengthBytes, isWhole),
    'qemu-img commit t.qcow2',
    `qemu-img resize t.qcow2 ${lengthBytes + 65536}`,
    `qemu-img resize --shrink t.qcow2 ${lengthBytes}`,
    "qemu-img rebase -b '' t.qcow2",
    'qemu-img snapshot -c s t.qcow2',
    'qemu-img bitmap --add t.qcow2 m',
    'qemu-img dd if=t.qcow2 of=piece.raw bs=4k count=7 skip=2',
  ])
}

export function drawConversation(seed: string): Conversation {
  const draw = new Draw(seed)
  const lengthBytes = draw.of(LENGTHS)
  const isWhole = draw.oneIn(2)
  const baseFormat = draw.of(['raw', 'qcow2'])
  const lines = [
    `qemu-img create -f ${baseFormat} b.img ${lengthBytes}`,
    requests(draw, 'b.img', lengthBytes, isWhole, ` -f ${baseFormat}`),
  ]
  const chosen = options(draw, isWhole)
  const below = draw.oneIn(2) && (!chosen.includes('preallocation') || chosen.includes('extended_l2'))
  lines.push(`qemu-img create -f qcow2${chosen}${below ? ` -b b.img -F ${baseFormat}` : ''} t.qcow2 ${lengthBytes}`)
  lines.push(requests(draw, 't.qcow2', lengthBytes, isWhole))
  for (let step = 0; step < 3; step++)
    lines.push(draw.oneIn(2) ? change(draw, lengthBytes, isWhole) : question(draw, isWhole), question(draw, isWhole))
  return { name: seed, lines: withoutReusedPlaces(lines) }
}

/** Requests that give clusters up: ours takes them again after a flush only, so what follows may lie elsewhere. */
const FREES = /discard|write -z|commit|--shrink/

/** Places are asked for as long as none can have been given up; what is allocated is asked for all the same. */
function withoutReusedPlaces(lines: readonly string[]): string[] {
  const first = lines.findIndex((line) => FREES.test(line))
  return lines.map((line, index) =>
    first >= 0 && index > first && line.startsWith('qemu-img map') ? 'qemu-io -c map t.qcow2' : line,
  )
}
