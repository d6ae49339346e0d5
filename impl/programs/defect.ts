/** What was thrown, with where; for whatever a program may throw, also values without a text form. */
export function thrownText(thrown: unknown): string {
  if (thrown instanceof Error) return thrown.stack ?? thrown.message
  try {
    return String(thrown)
  } catch {
    return 'a value without a text form'
  }
}

/** For what must not happen: says so, with everything that helps to find it. */
export function defectText(error: unknown): string {
  return `mirrorsim: this is a defect of mirrorsim: ${thrownText(error)}\n`
}
