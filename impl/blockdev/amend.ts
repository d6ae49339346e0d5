/**
 * What `qemu-img amend` and x-blockdev-amend say about passwords, and the nodes that take it.
 *
 * What may fail: what does not go together, and secrets that are not there, as BlockError with QEMU's texts.
 */
import { BlockError, type BlockNode } from '../block'
import { ITERATION_TIME_MS, type LuksAmendment } from '../block/crypto/luks'
import { LuksDriver } from '../block/drivers/luks'
import { Qcow2Driver } from '../block/drivers/qcow2'
import { type Co, ENOTSUP } from '../co'
import type { JsonObject } from '../json'
import type { BlockdevContext } from './context'
import type { CreateOption } from './create_options'
import { passwordOf } from './drivers/luks'
import { Options } from './options'

/** The options of amend about passwords, with `prefix` before each name. */
export function luksAmendOptions(prefix: string): readonly CreateOption[] {
  return [
    { name: `${prefix}state`, type: 'string', help: 'Select new state of affected keyslots (active/inactive)' },
    { name: `${prefix}new-secret`, type: 'string', help: 'New secret to set in the matching keyslots. Empty string to erase' },
    { name: `${prefix}old-secret`, type: 'string', help: 'Select all keyslots that match this password' },
    { name: `${prefix}keyslot`, type: 'number', help: 'Select a single keyslot to modify explicitly' },
    { name: `${prefix}iter-time`, type: 'number', help: 'Time to spend in PBKDF in milliseconds' },
  ]
}

/** As it was said; undefined: it was not. */
export interface PasswordChange {
  state: string | undefined
  newSecret: string | undefined
  oldSecret: string | undefined
  slot: number | undefined
  iterationTimeMs: number | undefined
}

/** What it means. Throws BlockError. */
export function luksAmendment(context: BlockdevContext, change: PasswordChange): LuksAmendment {
  const { state, newSecret, oldSecret, slot = null, iterationTimeMs } = change
  if (state === undefined) throw new BlockError("Parameter 'state' is missing")
  if (state === 'active') {
    if (newSecret === undefined) throw new BlockError("'new-secret' is required to activate a keyslot")
    if (oldSecret !== undefined) throw new BlockError("'old-secret' must not be given when activating keyslots")
    const newPassword = passwordOf(context, newSecret, 'new-secret')
    return { state, newPassword, slot, iterationTimeMs: iterationTimeMs ?? ITERATION_TIME_MS }
  }
  if (state !== 'inactive') throw new BlockError(`Parameter 'state' does not accept value '${state}'`)
  if (newSecret !== undefined) throw new BlockError("'new-secret' must not be given when erasing keyslots")
  if (iterationTimeMs !== undefined) throw new BlockError("'iter-time' must not be given when erasing keyslots")
  return { state, oldPassword: oldSecret === undefined ? null : passwordOf(context, oldSecret, 'old-secret'), slot }
}

/** x-blockdev-amend of `node`. `tree` is a checked BlockdevAmendOptions. Throws BlockError. */
export function* amendBlockdev(context: BlockdevContext, node: BlockNode, tree: JsonObject, force: boolean): Co<void> {
  const { driver } = node
  const options = Options.ofJson(tree)
  const prefix = driver instanceof LuksDriver ? '' : 'encrypt.'
  if (prefix !== '' && !options.hasBelow(prefix)) return
  if (driver instanceof Qcow2Driver) checkFormat(driver, options.takeString('encrypt.format'))
  const amendment = luksAmendment(context, {
    state: options.takeString(`${prefix}state`),
    newSecret: options.takeString(`${prefix}new-secret`),
    oldSecret: options.takeString(`${prefix}old-secret`),
    slot: options.takeNumber(`${prefix}keyslot`),
    iterationTimeMs: options.takeNumber(`${prefix}iter-time`),
  })
  if (node.options.readOnly) throw new BlockError(`Block node '${node.name}' is read-only`)
  if (driver instanceof LuksDriver) yield* driver.amend(amendment, force)
  else if (driver instanceof Qcow2Driver) yield* driver.amend({ encryption: { amendment, force } })
  else throw new BlockError('Block driver does not support amending', { errno: ENOTSUP })
}

function checkFormat({ image: { encryption } }: Qcow2Driver, format: string | undefined): void {
  if (encryption === null) throw new BlockError("image is not encrypted, can't amend", { errno: ENOTSUP })
  if (format !== 'luks') throw new BlockError("Amend can't be used to change the qcow2 encryption format")
  if (encryption.format !== 'luks') {
    throw new BlockError('Only LUKS encryption options can be amended for qcow2 with blockdev-amend', { errno: ENOTSUP })
  }
}

/** Whether x-blockdev-amend knows this driver. */
export function isAmendable({ driver }: BlockNode): boolean {
  return driver instanceof LuksDriver || driver instanceof Qcow2Driver
}
