/**
 * The options that every node has, whatever its driver, and what children inherit of them.
 *
 * What may fail: options that exclude each other, as BlockError with QEMU's texts.
 */
import { BlockError, type ChildRole, type NodeOptions } from '../block'
import { assert } from '../co'
import type { Options } from './options'

export const CACHE_DIRECT = 'cache.direct'
export const CACHE_NO_FLUSH = 'cache.no-flush'
export const READ_ONLY = 'read-only'
export const AUTO_READ_ONLY = 'auto-read-only'
export const ACTIVE = 'active'
export const FORCE_SHARE = 'force-share'

export interface CommonOptions {
  nodeName: string | null
  node: NodeOptions
  direct: boolean
  noFlush: boolean
  autoReadOnly: boolean
  /** False: another program has the image for now. undefined: nothing is said about it. */
  isActive: boolean | undefined
}

/** Takes them out of `options`. Throws BlockError. */
export function takeCommonOptions(options: Options): CommonOptions {
  const nodeName = options.takeString('node-name') ?? null
  const direct = options.takeFlag(CACHE_DIRECT) ?? false
  const noFlush = options.takeFlag(CACHE_NO_FLUSH) ?? false
  const readOnly = options.takeFlag(READ_ONLY) ?? false
  const autoReadOnly = options.takeFlag(AUTO_READ_ONLY) ?? false
  const detect = options.takeString('detect-zeroes') ?? 'off'
  const discardText = options.takeString('discard')
  const isActive = options.takeFlag(ACTIVE)
  const forceShare = options.takeFlag(FORCE_SHARE) ?? false
  if (forceShare && !readOnly) throw new BlockError('force-share=on can only be used with read-only images')
  const discard = discardOf(discardText ?? 'ignore')
  if (detect !== 'off' && detect !== 'on' && detect !== 'unmap') {
    throw new BlockError(`Parameter 'detect-zeroes' does not accept value '${detect}'`)
  }
  if (detect === 'unmap' && discard !== 'unmap') {
    throw new BlockError('setting detect-zeroes to unmap is not allowed without setting discard operation to unmap')
  }
  const node: NodeOptions = { readOnly, discard, detectZeroes: detect, ...(forceShare ? { forceShare } : {}) }
  return { nodeName, node, direct, noFlush, autoReadOnly, isActive }
}

function discardOf(text: string): NodeOptions['discard'] {
  if (text === 'ignore' || text === 'off') return 'ignore'
  if (text === 'unmap' || text === 'on') return 'unmap'
  throw new BlockError('Invalid discard option')
}

/** What nobody has said about a child follows from its parent. Images below overlays are only read. */
export function inheritOptions(parent: Options, child: Options, role: ChildRole): void {
  for (const key of [CACHE_DIRECT, CACHE_NO_FLUSH, FORCE_SHARE]) copyDefault(parent, child, key)
  if (role === 'cow') {
    child.setDefault(READ_ONLY, 'on')
    child.setDefault(AUTO_READ_ONLY, 'off')
  } else {
    copyDefault(parent, child, READ_ONLY)
    copyDefault(parent, child, AUTO_READ_ONLY)
  }
  // Whoever discards at the parent has been asked there; what a format frees is to be free.
  child.setDefault('discard', 'unmap')
  assert(child.has('discard'), 'discard-inherited')
}

function copyDefault(parent: Options, child: Options, key: string): void {
  const value = parent.get(key)
  if (value !== undefined) child.setDefault(key, value)
}
