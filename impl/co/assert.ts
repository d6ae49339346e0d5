/**
 * Assertions that stay on in every build: what they guard is people's data.
 *
 * An assertion is for what our own code promises itself. A user's mistake, a failing disk, a hostile image or a
 * malformed ring are not assertions: they are errors with an errno or a text.
 */

/** Thrown by `assert`; the world reports it as class `crash` with the invariant's name as its key. */
export class AssertionFailure extends Error {
  readonly invariant: string
  constructor(invariant: string, detail: string) {
    super(detail === '' ? `assertion failed: ${invariant}` : `assertion failed: ${invariant}: ${detail}`)
    this.name = 'AssertionFailure'
    this.invariant = invariant
  }
}

/** Throws `AssertionFailure` unless `condition`; `invariant` is a stable name, `detail` is built only on failure. */
export function assert(condition: boolean, invariant: string, detail?: () => string): asserts condition {
  if (!condition) throw new AssertionFailure(invariant, detail === undefined ? '' : detail())
}
