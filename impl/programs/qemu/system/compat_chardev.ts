/** Character devices in their old short form, as `-qmp`, `-monitor` and `-qtest` take them. */
import { BlockError } from '../../../block'
import { Options, parseQemuOpts } from '../../../blockdev'

/** null: nothing is wanted (`none`). Throws BlockError. */
export function compatOptions(text: string): Options | null {
  if (text === 'none') return null
  if (text === 'null' || text === 'stdio') return new Options([['backend', text]])
  const [, kind, rest] = /^(unix|tcp|mon|fd):(.*)$/s.exec(text) ?? []
  if (kind === 'mon') throw new BlockError(`multiplexed character devices ('mon:') are not supported`)
  if (kind === undefined || rest === undefined) throw new BlockError(`'${text}' is not a valid char driver`)
  const comma = rest.indexOf(',')
  const place = comma < 0 ? rest : rest.slice(0, comma)
  const { options } = parseQemuOpts(comma < 0 ? '' : rest.slice(comma + 1))
  options.set('backend', 'socket')
  if (kind === 'unix') options.set('path', place)
  else if (kind === 'fd') options.set('fd', place)
  else {
    const at = place.lastIndexOf(':')
    if (at < 0) throw new BlockError(`'${text}' has no port`)
    options.set('host', place.slice(0, at))
    options.set('port', place.slice(at + 1))
  }
  return options
}
