/**
 * What the hart needs for F and D. Operations are keyed by mnemonic (`fadd.d`, `fcvt.w.s`, `fclass.s`, `fmadd.s` …); those
 * that only move bits (loads, stores, fmv, fsgnj) are the hart's own.
 *
 * Operands come as pairs in `operands`: first, second, third source. Values of 32 bits are in the low half of a pair, already
 * unboxed. The answer is left in `result`: a float of 32 bits in [0] (the hart boxes it), one of 64 in both halves; integers
 * extended to 64 bits. Exceptions are OR-ed into flags[0] (NV 16, DZ 8, OF 4, UF 2, NX 1). Modes are 0 to 4, as in frm.
 */
export interface FloatUnit {
  readonly result: Int32Array
  readonly flags: Int32Array
  readonly operations: Readonly<Record<string, (operands: Int32Array, mode: number) => void>>
}
