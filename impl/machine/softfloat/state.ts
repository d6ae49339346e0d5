/**
 * What the operations share with the hart: the cell of a 64-bit result, the accrued exception flags, and the numbers of the
 * rounding modes. Nothing here fails. Flags are only ever OR-ed in; who reads `fflags` clears them.
 */

/** A 64-bit result (f64, i64, u64, boxed f32): [0] the low half, [1] the high half. */
export const result = new Int32Array(2)

/** The accrued exceptions, laid out as the CSR `fflags` (RISC-V F, "Floating-Point Control and Status Register"). */
export const flags = new Int32Array(1)

export const INEXACT = 1
export const UNDERFLOW = 2
export const OVERFLOW = 4
export const DIVIDE_BY_ZERO = 8
export const INVALID = 16

/** Rounding modes as in `frm`. 5 and 6 are reserved and 7 means `frm` itself: the decoder never lets them come here. */
export const NEAREST_EVEN = 0
export const TOWARD_ZERO = 1
export const DOWNWARD = 2
export const UPWARD = 3
export const NEAREST_AWAY = 4

/** The canonical NaNs (RISC-V F, "NaN Generation and Propagation"): quiet, positive, no payload. */
export const NAN_F32 = 0x7fc00000
export const NAN_F64_HIGH = 0x7ff80000
