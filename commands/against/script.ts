/**
 * A failure as a shell script that needs QEMU's programs alone: images by qemu-img and qemu-io, the daemon by QMP lines over
 * its standard input, the guest by qemu-io over NBD. Requests that were under way together run side by side.
 */
import { writerOf } from '../../model/stamp'
import type { DiskName, DiskPlan, GuestOperation, Plan } from '../../sim/plan'
import type { Finding } from '../../sim/verdict'
import type { LifecycleResult } from './lifecycle'
import type { Step } from './nodes'

const HEAD = `set -u; trap '' PIPE
QSD=\${QSD:-qemu-storage-daemon} IMG=\${IMG:-qemu-img} IO=\${IO:-qemu-io}
D=$(mktemp -d); mkdir $D/source $D/destination; cd $D
`
const START = `mkfifo in
MALLOC_PERTURB_=165 $QSD --chardev stdio,id=m --monitor m --nbd-server addr.type=unix,addr.path=$D/nbd,max-connections=0 <in >out 2>err &
PID=$!
exec 3>in
N=0
qmp() { N=$((N+1)); echo "$1" >&3; for i in $(seq 200); do [ "$(grep -c '^{"return"\\|^{"error"' out)" -ge $N ] && return; sleep 0.01; done; }
status() { for i in $(seq 500); do grep -q "\\"status\\": \\"$1\\"" out && return; sleep 0.01; done; echo "no status $1"; }
guest() { $IO -f raw "$@" "nbd+unix:///disk?socket=$D/nbd" >/dev/null; }
qmp '{"execute": "qmp_capabilities"}'
`

/** `folder`: where the images of the lifecycle lay. */
export function scriptOf(plan: Plan, result: LifecycleResult, finding: Finding, version: string, folder: string): string {
  const lines = ['#!/bin/bash', `# ${finding.key}, found on QEMU ${version}`, `# ${finding.text.replace(/\s+/g, ' ')}`, HEAD]
  for (const name of ['source', 'destination'] as const) lines.push(...imageLines(name, plan[name]))
  lines.push(START, ...stepLines(plan, result.steps, folder), 'wait $(jobs -p | grep -v "^$PID$")', ...endLines(plan))
  return `${lines.join('\n')}\n`
}

function pattern(id: string): number {
  return (writerOf(id) % 250) + 1
}

function imageLines(name: DiskName, { format, lengthBytes, initial }: DiskPlan): string[] {
  const file = `${name}/image`
  const lines: string[] = []
  const fill = (what: string, kind: string, extents: DiskPlan['initial']): void => {
    for (const { id, offsetBytes, lengthBytes: bytes, content } of extents) {
      const flag = content === 'data' || content === 'compressed' ? `-P ${pattern(id)}` : content === 'hole' ? '-z -u' : '-P 0'
      lines.push(`$IO -f ${kind} -c 'write ${flag} ${offsetBytes} ${bytes}' ${what} >/dev/null`)
    }
  }
  if (format === undefined) lines.push(`truncate -s ${lengthBytes} ${file}`)
  else {
    const { backing, version, clusterBytes, extendedL2, refcountBits, lazyRefcounts, preallocation, dataFile } = format
    if (backing !== undefined) {
      lines.push(`$IMG create -q -f ${backing.format} ${name}/backing ${backing.lengthBytes}`)
      fill(`${name}/backing`, backing.format, backing.initial)
    }
    const options = [`compat=${version === 3 ? 'v3' : 'v2'}`, `cluster_size=${clusterBytes}`, `refcount_bits=${refcountBits}`]
    options.push(`preallocation=${preallocation}`)
    if (extendedL2) options.push('extended_l2=on')
    if (lazyRefcounts) options.push('lazy_refcounts=on')
    if (dataFile !== 'none') options.push(`data_file=${name}/data,data_file_raw=${dataFile === 'raw' ? 'on' : 'off'}`)
    const below = backing === undefined ? '' : `-b backing -F ${backing.format} `
    lines.push(`$IMG create -q -f qcow2 ${below}-o ${options.join(',')} ${file} ${lengthBytes}`)
  }
  fill(file, format === undefined ? 'raw' : 'qcow2', initial)
  return lines
}

/** Requests between two orders run side by side, those of a lane in one qemu-io. */
function stepLines(plan: Plan, steps: readonly Step[], folder: string): string[] {
  const lines: string[] = []
  const operations = new Map(plan.guest.map((operation) => [operation.id, operation]))
  let lanes = new Map<number, string[]>()
  const flush = (): void => {
    for (const commands of lanes.values()) lines.push(`guest ${commands.map((command) => `-c '${command}'`).join(' ')} &`)
    lanes = new Map()
  }
  for (const step of steps) {
    if ('guest' in step) {
      const operation = operations.get(step.guest)
      const command = operation === undefined ? null : ioCommand(operation)
      if (command === null) continue
      const { lane } = operation!
      lanes.set(lane, [...(lanes.get(lane) ?? []), command])
    } else if ('status' in step) {
      flush()
      lines.push(`status ${step.status}`)
    } else {
      flush()
      const text = JSON.stringify(step.qmp).replaceAll(`${folder}/`, '').replaceAll("'", "'\\''")
      lines.push(`qmp '${text}'`)
    }
  }
  flush()
  return lines
}

function ioCommand({ id, kind, offsetBytes, lengthBytes, unmap, zeroData }: GuestOperation): string | null {
  switch (kind) {
    case 'read':
      return `read ${offsetBytes} ${lengthBytes}`
    case 'write':
      return `write -P ${zeroData === true ? 0 : pattern(id)} ${offsetBytes} ${lengthBytes}`
    case 'write-zeroes':
      return `write -z ${unmap === true ? '-u ' : ''}${offsetBytes} ${lengthBytes}`
    case 'discard':
      return `discard ${offsetBytes} ${lengthBytes}`
    case 'flush':
      return 'flush'
    default:
      return null
  }
}

function endLines({ source, destination }: Plan): string[] {
  const kind = ({ format }: DiskPlan): string => (format === undefined ? 'raw' : 'qcow2')
  const check = ([name, disk]: [string, DiskPlan]): string[] =>
    disk.format === undefined ? [] : [`$IMG check -f qcow2 ${name}/image`]
  return [
    `qmp '{"execute": "quit"}'`,
    'wait $PID; echo "the daemon ends with $?"; cat err',
    'grep -o \'"error": {[^}]*}\' out',
    ...check(['source', source]),
    ...check(['destination', destination]),
    `$IMG compare -f ${kind(source)} -F ${kind(destination)} source/image destination/image`,
    `$IMG map -f ${kind(destination)} destination/image`,
    'echo "$D"',
  ]
}
