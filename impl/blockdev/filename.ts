/**
 * File names of images: protocol prefixes, and names that are relative to another image. Pure text.
 */

/** `nbd:`, `json:` and the like; not a path with a colon in a later part. */
export function hasProtocol(name: string): boolean {
  return /^[^:/]*:/.test(name)
}

/** The part before the colon. Ask `hasProtocol` first. */
export function protocolOf(name: string): string {
  return name.slice(0, name.indexOf(':'))
}

export function stripPrefix(name: string, prefix: string): string {
  return name.startsWith(prefix) ? name.slice(prefix.length) : name
}

function isAbsolute(path: string): boolean {
  // What follows a protocol counts: `nbd:/x` is absolute.
  return (hasProtocol(path) ? path.slice(path.indexOf(':') + 1) : path).startsWith('/')
}

/** `name` as seen from the image `base`: what is relative lies in the same folder. */
export function combinePaths(base: string, name: string): string {
  if (isAbsolute(name) || hasProtocol(name)) return name
  const afterProtocol = hasProtocol(base) ? base.indexOf(':') + 1 : 0
  return base.slice(0, Math.max(base.lastIndexOf('/') + 1, afterProtocol)) + name
}

/** True for names that mean the same from everywhere. */
export function isFullName(name: string): boolean {
  return name === '' || hasProtocol(name) || name.startsWith('/')
}
