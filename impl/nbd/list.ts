/**
 * What a server has to offer, as `qemu-nbd --list` shows it: every export that it lists, with what it tells of each.
 *
 * What may fail: the connection and the server's answers, as a BlockError with QEMU's text. Exports that the server does not
 * show are left out.
 */
import { BlockError } from '../block'
import type { ByteStream, Co, TlsCredentials } from '../co'
import { ClientHandshake, type ExportFacts } from './client_handshake'
import { HeaderMode, Option, TransmissionFlag } from './protocol'

export interface ListedExport extends ExportFacts {
  readonly hasExtendedHeaders: boolean
  readonly contexts: readonly string[]
}

/** Asks on `stream`, and closes it. Throws BlockError. */
export function* listExports(stream: ByteStream, tls: TlsCredentials | null, hostname: string | null): Co<ListedExport[]> {
  const handshake = new ClientHandshake(stream)
  try {
    yield* handshake.greet(tls, hostname)
    if (!handshake.isFixed) throw new BlockError('Server does not support export lists')
    yield* handshake.chooseHeaders()
    const listed: ListedExport[] = []
    for (const { name, description } of yield* handshake.list()) {
      const facts = yield* describe(handshake, name)
      if (facts !== null) listed.push({ ...facts, description: facts.description ?? description })
    }
    yield* handshake.abort()
    return listed
  } catch (error) {
    handshake.close()
    throw error
  }
}

function* describe(handshake: ClientHandshake, name: string): Co<ListedExport | null> {
  const facts = yield* handshake.askExport(Option.Info, name)
  if (facts === null) return null
  const asks = handshake.mode !== HeaderMode.Simple
  const contexts = asks ? yield* handshake.contexts(Option.ListMetaContext, name, []) : []
  return {
    ...facts,
    hasExtendedHeaders: handshake.mode === HeaderMode.Extended,
    contexts: contexts.map((context) => context.name),
  }
}

/** Names of the transmission flags from bit 1 on. */
const FLAG_NAMES = [
  'readonly',
  'flush',
  'fua',
  'rotational',
  'trim',
  'zeroes',
  'df',
  'multi',
  'resize',
  'cache',
  'fast-zero',
  'block-status-payload',
]

/** The lines that `qemu-nbd --list` prints. */
export function describeServer(exports: readonly ListedExport[]): string {
  const lines = [`exports available: ${exports.length}`]
  for (const listed of exports) {
    lines.push(` export: '${listed.name}'`)
    if (listed.description !== null && listed.description !== '') lines.push(`  description: ${listed.description}`)
    lines.push(`  size:  ${listed.lengthBytes}`)
    if ((listed.flags & TransmissionFlag.HasFlags) !== 0) {
      const names = FLAG_NAMES.filter((_, index) => (listed.flags & (2 << index)) !== 0)
      lines.push(`  flags: 0x${listed.flags.toString(16)} ( ${names.map((name) => `${name} `).join('')})`)
    }
    if (listed.preferredBlockBytes > 0) {
      lines.push(`  min block: ${listed.minBlockBytes}`)
      lines.push(`  opt block: ${listed.preferredBlockBytes}`)
      lines.push(`  max block: ${listed.payloadMaxBytes}`)
    }
    lines.push(`  transaction size: ${listed.hasExtendedHeaders ? '64-bit' : '32-bit'}`)
    if (listed.contexts.length > 0) {
      lines.push(`  available meta contexts: ${listed.contexts.length}`)
      for (const context of listed.contexts) lines.push(`   ${context}`)
    }
  }
  return `${lines.join('\n')}\n`
}
