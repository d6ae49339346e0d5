/** What all programs print alike. */
import { VERSION } from '../version'

export function versionText(name: string): string {
  return `${name} version 11.0.0 (mirrorsim ${VERSION})\nCopyright (c) the mirrorsim authors\n`
}
