/** Smaller versions of lists and settings. */

/** The list without all, without each half, each quarter, … and at last without each single element. */
export function* fewer<T>(list: readonly T[]): Generator<T[]> {
  for (let size = list.length; size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < list.length; at += size) yield [...list.slice(0, at), ...list.slice(at + size)]
  }
}

/** All settings at their dull values, then each alone; nothing where they are dull already. */
export function* duller<T extends object>(settings: T, dull: Partial<T>): Generator<T> {
  const names = (Object.keys(dull) as Array<keyof T>).filter((name) => settings[name] !== dull[name])
  if (names.length > 1) yield { ...settings, ...dull }
  for (const name of names) yield { ...settings, [name]: dull[name] }
}
