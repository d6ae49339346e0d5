/**
 * Several commands as one: either all of them take effect or none. Each is prepared, which does everything that can fail;
 * then all are committed, or those that were prepared are aborted, the last one first.
 *
 * What never may: an action whose effect a guest sees before all have been prepared (whoever changes a node keeps it drained
 * until the end).
 */
import { BlockError } from '../../block'
import { assert, type Co } from '../../co'
import { JobGroup } from '../job_group'

/** individual: jobs end each for itself; grouped: all with success, or none. */
export type CompletionMode = 'individual' | 'grouped'

export interface TransactionAction {
  /** As QMP calls it. */
  readonly type: string
  /** It may start a job, which can be part of a group. */
  readonly joinsGroups?: boolean
  /** Does what can fail. Throws BlockError and has changed nothing then. */
  prepare(group: JobGroup | null): Co<void>
  /** Cannot fail. */
  commit(): Co<void>
  /** Undoes what was prepared. Cannot fail. */
  abort(): Co<void>
  /** After the one or the other, in the order of the actions. */
  clean?(): Co<void>
}

/** Throws the error of the first action that has one. */
export function* runTransaction(actions: readonly TransactionAction[], mode: CompletionMode = 'individual'): Co<void> {
  const group = mode === 'grouped' ? new JobGroup() : null
  const prepared: TransactionAction[] = []
  try {
    for (const action of actions) {
      if (group !== null && action.joinsGroups !== true) {
        const property = `completion-mode = ${mode}`
        throw new BlockError(`Action '${action.type}' does not support Transaction property ${property}`)
      }
      yield* action.prepare(group)
      prepared.push(action)
    }
  } catch (error) {
    assert(error instanceof BlockError, 'actions-refuse-in-words', () => String(error))
    for (const action of [...prepared].reverse()) yield* action.abort()
    for (const action of prepared) if (action.clean !== undefined) yield* action.clean()
    throw error
  }
  for (const action of actions) yield* action.commit()
  for (const action of actions) if (action.clean !== undefined) yield* action.clean()
}
