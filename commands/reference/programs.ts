/** The reference of the programs that are installed: `mirrorsim mirror`, and those that take the place of QEMU's. */
import { IO_COMMANDS } from '../../impl/io'
import { mirrorCommand } from '../../impl/programs/mirror_command'
import { imgCommands } from '../../impl/programs/qemu/img'
import { IO_USAGE } from '../../impl/programs/qemu/io'
import { NBD_USAGE } from '../../impl/programs/qemu/nbd_usage'
import { STORAGE_DAEMON_USAGE } from '../../impl/programs/qemu/storage_daemon_usage'
import { SYSTEM_USAGE } from '../../impl/programs/qemu/system/usage'
import { commandSection, table } from './commands'

/** Those that explain themselves in one page. */
const PAGES: ReadonlyArray<readonly [name: string, qemuName: string, usage: string]> = [
  ['io', 'qemu-io', IO_USAGE],
  ['nbd', 'qemu-nbd', NBD_USAGE],
  ['storage-daemon', 'qemu-storage-daemon', STORAGE_DAEMON_USAGE],
  ['system', 'qemu-system-x86_64', SYSTEM_USAGE],
]

export function programSections(): string[] {
  const nowhere = { write: () => true }
  const mirror = mirrorCommand({ out: nowhere, err: nowhere } as unknown as Parameters<typeof mirrorCommand>[0], () => {})
  return [
    '## Programs',
    '',
    'Installed by the package as `mirrorsim`, and each of the last five also as `mirrorsim-NAME`.',
    '',
    ...commandSection('mirrorsim mirror', 'npx mirrorsim mirror', mirror),
    ...imgSection(),
    ...PAGES.flatMap(([name, qemuName, usage]) => pageSection(name, qemuName, usage)),
  ]
}

function imgSection(): string[] {
  const rows = imgCommands().map(({ name, summary, usage }) => [`\`${name}\``, `\`${usage}\``, summary])
  return ['### mirrorsim img', '', 'In the place of `qemu-img`.', '', ...table(['command', 'takes', 'what it does'], rows), '']
}

function pageSection(name: string, qemuName: string, usage: string): string[] {
  const page = ['```text', usage.replaceAll('NAME', `mirrorsim ${name}`).trim(), '```', '']
  const head = [`### mirrorsim ${name}`, '', `In the place of \`${qemuName}\`.`, '', ...page]
  if (name !== 'io') return head
  const rows = IO_COMMANDS.map(({ name: command, short, usage: takes, summary }) => [
    `\`${command}\`${short === undefined ? '' : `, \`${short}\``}`,
    takes === undefined ? '' : `\`${takes}\``,
    summary,
  ])
  return [...head, 'Its commands, which the monitor knows too:', '', ...table(['command', 'takes', 'what it does'], rows), '']
}
