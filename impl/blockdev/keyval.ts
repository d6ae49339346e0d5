/**
 * Options as text on command lines. Two dialects: `parseKeyval` is that of options with a JSON schema (`--blockdev`,
 * `--object`): dotted keys make a tree. `parseQemuOpts` is the older one (`-drive`, `--image-opts`): a flat list in which
 * `flag` means `flag=on` and `noflag` means `flag=off`. Both write a comma in a value as two.
 *
 * What may fail: text that is no list of options, as BlockError with QEMU's text.
 */
import { BlockError } from '../block'
import { assert } from '../co'
import { JsonError, type JsonObject, type JsonValue, parseJson } from '../json'
import { Options } from './options'

const KEY_FRAGMENT_MAX = 127
const INDEX_MAX = 65535

/** The value at `at`, up to a single comma or the end, and where it ends. */
function valueAt(text: string, at: number): { value: string; end: number } {
  let value = ''
  for (let from = at; ; ) {
    const comma = text.indexOf(',', from)
    if (comma < 0) return { value: value + text.slice(from), end: text.length }
    value += text.slice(from, comma)
    if (text[comma + 1] !== ',') return { value, end: comma }
    value += ','
    from = comma + 2
  }
}

/**
 * `key=value,…` as a tree of strings; `implied` is the key of a first value without one. `help` or `?` as a key sets
 * `isHelp`. Throws BlockError.
 */
export function parseKeyval(text: string, implied: string | null): { tree: JsonObject; isHelp: boolean } {
  const tree: JsonObject = new Map()
  let isHelp = false
  let impliedKey = implied
  for (let at = 0; at < text.length; ) {
    const keyEnd = text.slice(at).search(/[=,]/)
    const end = keyEnd < 0 ? text.length : at + keyEnd
    let key = text.slice(at, end)
    let value: string
    if (text[end] === '=') {
      const found = valueAt(text, end + 1)
      value = found.value
      at = found.end
    } else if (key === 'help' || key === '?') {
      isHelp = true
      at = end + 1
      impliedKey = null
      continue
    } else if (impliedKey !== null && key !== '') {
      const found = valueAt(text, at)
      value = found.value
      at = found.end
      key = impliedKey
    } else throw new BlockError(key === '' ? "Expected parameter before '='" : `Expected '=' after parameter '${key}'`)
    impliedKey = null
    putAt(tree, key, value)
    if (at < text.length) at++
  }
  return { tree: listsOf(tree, '') as JsonObject, isHelp }
}

function putAt(tree: JsonObject, path: string, value: string): void {
  if (path === '' || path.startsWith('.')) throw new BlockError(`Invalid parameter '${path}'`)
  const fragments = path.split('.')
  let object = tree
  for (const [index, fragment] of fragments.entries()) {
    const isNumber = /^\d+$/.test(fragment)
    const isName = /^[A-Za-z][A-Za-z0-9_-]*$/.test(fragment) || /^__[A-Za-z0-9.-]+_[A-Za-z0-9_-]+$/.test(fragment)
    if ((!isName && !(isNumber && index > 0)) || fragment.length > KEY_FRAGMENT_MAX) {
      const where = fragments.slice(index).join('.')
      throw new BlockError(index === 0 ? `Invalid parameter '${where}'` : `Invalid parameter '${path}'`)
    }
    const name = isNumber ? String(Number(fragment)) : fragment
    const present = object.get(name)
    if (index === fragments.length - 1) {
      if (present instanceof Map) throw new BlockError(`Parameters '${path}.*' used inconsistently`)
      object.set(name, value)
      return
    }
    const prefix = fragments.slice(0, index + 1).join('.')
    if (present !== undefined && !(present instanceof Map)) throw new BlockError(`Parameters '${prefix}.*' used inconsistently`)
    const below: JsonObject = present ?? new Map()
    object.set(name, below)
    object = below
  }
}

/** Objects whose keys are 0, 1, … are lists. */
function listsOf(value: JsonValue, path: string): JsonValue {
  if (!(value instanceof Map)) return value
  let numbers = 0
  for (const [name, member] of value) {
    value.set(name, listsOf(member, path === '' ? name : `${path}.${name}`))
    if (/^\d+$/.test(name)) numbers++
  }
  if (numbers === 0) return value
  if (numbers < value.size) throw new BlockError(`Parameters '${path}.*' used inconsistently`)
  assert(path !== '', 'keyval-root-is-no-list')
  const list: JsonValue[] = []
  for (let index = 0; index < numbers; index++) {
    const item = value.get(String(index))
    if (item === undefined || index > INDEX_MAX) throw new BlockError(`Parameter '${path}.${index}' missing`)
    list.push(item)
  }
  return list
}

/** An option with a schema on a command line: JSON if it begins with a brace, else `parseKeyval`. Throws BlockError. */
export function parseJsonOrKeyval(text: string, implied: string | null): { tree: JsonObject; isText: boolean; isHelp: boolean } {
  if (!text.startsWith('{')) return { ...parseKeyval(text, implied), isText: true }
  try {
    const value = parseJson(text)
    assert(value instanceof Map, 'braces-make-object')
    return { tree: value, isText: false, isHelp: false }
  } catch (error) {
    if (error instanceof JsonError) throw new BlockError(error.message)
    throw error
  }
}

const IDENTIFIER_HINT = "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.\n"
const IDENTIFIER = /^[A-Za-z][A-Za-z0-9._-]*$/

/**
 * The older dialect: flat options in order, later ones winning; `id` is kept apart. `warn` hears of forms that are out of
 * date. Throws BlockError.
 */
export function parseQemuOpts(
  text: string,
  implied: string | null = null,
  warn: (text: string) => void = () => {},
): { id: string | null; options: Options; isHelp: boolean } {
  const options = new Options()
  let id: string | null = null
  let isHelp = false
  let impliedKey = implied
  for (let at = 0; at < text.length; ) {
    const comma = text.indexOf(',', at)
    const equals = text.indexOf('=', at)
    let key: string
    let value: string
    if (equals < 0 || (comma >= 0 && comma < equals)) {
      if (impliedKey !== null) {
        key = impliedKey
        const found = valueAt(text, at)
        value = found.value
        at = found.end
      } else {
        const end = comma < 0 ? text.length : comma
        const flag = text.slice(at, end)
        at = end
        const isOff = flag.startsWith('no') && flag !== 'no'
        key = isOff ? flag.slice(2) : flag
        value = isOff ? 'off' : 'on'
        if (flag === 'help' || flag === '?') isHelp = true
        else if (!isOff) warn(`short-form boolean option '${flag}' deprecated`)
      }
    } else {
      key = text.slice(at, equals)
      const found = valueAt(text, equals + 1)
      value = found.value
      at = found.end
    }
    impliedKey = null
    if (at < text.length) at++
    if (key === 'id') {
      if (!IDENTIFIER.test(value)) throw new BlockError("Parameter 'id' expects an identifier", { hint: IDENTIFIER_HINT })
      id = value
    } else if (key !== 'help' && key !== '?') {
      options.delete(key)
      options.set(key, value)
    }
  }
  return { id, options, isHelp }
}
