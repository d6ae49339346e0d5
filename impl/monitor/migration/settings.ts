/**
 * What users set before a migration: capabilities and parameters, with QEMU's names and defaults. Most of them are about memory
 * and processors, which machines here do not have: they are kept and told, and change nothing.
 */
import { BlockError } from '../../block'
import { assert } from '../../co'
import { type JsonObject, type JsonValue, jsonObject } from '../../json'
import { MIGRATION_CAPABILITIES } from '../../qapi/schema/migration'
import { type NodeAlias, parseMapping } from './bitmaps'

/** By name, in the order in which people are told; the unit stands behind the value there. */
const PARAMETERS: ReadonlyArray<readonly [name: string, value: JsonValue, unit: string]> = [
  ['announce-initial', 50, ' ms'],
  ['announce-max', 550, ' ms'],
  ['announce-rounds', 5, ''],
  ['announce-step', 100, ' ms'],
  ['throttle-trigger-threshold', 50, ''],
  ['cpu-throttle-initial', 20, ''],
  ['cpu-throttle-increment', 10, ''],
  ['cpu-throttle-tailslow', false, ''],
  ['max-cpu-throttle', 99, ''],
  ['tls-creds', '', ''],
  ['tls-hostname', '', ''],
  ['max-bandwidth', 134217728, ' bytes/second'],
  ['downtime-limit', 300, ' ms'],
  ['x-checkpoint-delay', 20000, ' ms'],
  ['multifd-channels', 2, ''],
  ['multifd-compression', 'none', ''],
  ['multifd-zlib-level', 1, ''],
  ['multifd-zstd-level', 1, ''],
  ['xbzrle-cache-size', 67108864, ' bytes'],
  ['max-postcopy-bandwidth', 0, ''],
  ['tls-authz', '', ''],
]
const MAPPING = 'block-bitmap-mapping'

export class MigrationSettings {
  private readonly capabilities = new Map(MIGRATION_CAPABILITIES.map((name) => [name, false]))
  private readonly parameters = new Map(PARAMETERS.map(([name, value]) => [name, value]))
  private mappingValue: JsonValue[] | null = null
  /** null: nodes and bitmaps keep their names. */
  mapping: readonly NodeAlias[] | null = null

  has(capability: string): boolean {
    const state = this.capabilities.get(capability)
    assert(state !== undefined, 'capability-known', () => capability)
    return state
  }
  /** Throws BlockError for one that there is not. */
  setCapability(name: string, state: boolean): void {
    if (!this.capabilities.has(name)) throw new BlockError(`invalid parameter value: ${name}`)
    this.capabilities.set(name, state)
  }
  queryCapabilities(): JsonValue {
    return [...this.capabilities].map(([capability, state]) => jsonObject({ capability, state }))
  }
  capabilityLines(): string {
    return [...this.capabilities].map(([name, state]) => `${name}: ${state ? 'on' : 'off'}\n`).join('')
  }

  /** All or nothing. Throws BlockError. */
  setParameters(values: JsonObject): void {
    const mapping = values.get(MAPPING)
    if (Array.isArray(mapping)) {
      this.mapping = parseMapping(mapping)
      this.mappingValue = mapping
    }
    for (const [name, value] of values) if (name !== MAPPING) this.parameters.set(name, value)
  }
  /** As a line of people's monitor sets one. Throws BlockError. */
  setParameterText(name: string, text: string): void {
    const old = this.parameters.get(name)
    if (old === undefined) throw new BlockError(`invalid parameter value: ${name}`)
    if (typeof old === 'string') this.parameters.set(name, text)
    else if (typeof old === 'boolean') this.parameters.set(name, text === 'on')
    else {
      // Bandwidths are megabytes there where no unit is named.
      const match = /^(\d+)([KMGT]?)$/i.exec(text)
      if (match === null) throw new BlockError(`Parameter '${name}' expects a size`)
      const unit = match[2] === '' ? (name.includes('bandwidth') ? 'M' : '') : match[2]!.toUpperCase()
      this.parameters.set(name, Number(match[1]) * 1024 ** ['', 'K', 'M', 'G', 'T'].indexOf(unit))
    }
  }
  queryParameters(): JsonValue {
    const told: JsonObject = new Map(this.parameters)
    if (this.mappingValue !== null) told.set(MAPPING, this.mappingValue)
    return told
  }
  parameterLines(): string {
    const lines = PARAMETERS.map(([name, , unit]) => {
      const value = this.parameters.get(name)!
      const text = typeof value === 'boolean' ? (value ? 'on' : 'off') : name.startsWith('tls-') ? `'${value}'` : String(value)
      return `${name}: ${text}${unit}\n`
    })
    if (this.mapping !== null) {
      lines.push(`${MAPPING}:\n`)
      for (const { nodeName, alias, bitmaps } of this.mapping) {
        lines.push(`  '${nodeName}' -> '${alias}'\n`)
        for (const bitmap of bitmaps) lines.push(`    '${bitmap.name}' -> '${bitmap.alias}'\n`)
      }
    }
    return lines.join('')
  }
}
