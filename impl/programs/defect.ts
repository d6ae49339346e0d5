/** For what must not happen: says so, with everything that helps to find it. */
export function defectText(error: unknown): string {
  return `mirrorsim: this is a defect of mirrorsim: ${error instanceof Error ? error.stack : String(error)}\n`
}
