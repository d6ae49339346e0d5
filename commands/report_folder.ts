/**
 * The reports of a campaign on disk, written as soon as a failure is known. At most KEPT_PER_KEY of one key stay: those of
 * the lowest world indexes, so that the folder is the same however the work was shared out.
 */
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import type { FailureGroup, FoundFailure } from '../properties/campaign'
import { makeFolder, makeReport, type Report, reportFileName, writeReport } from '../reports/format'
import { UsageError } from './cli'

/** The revision of the sources, with a `+` if files differ from it; `unknown` outside a repository. */
export function revisionOf(folder: string): string {
  const git = (...args: string[]): string | null => {
    const { status, stdout } = spawnSync('git', ['-C', folder, ...args], { encoding: 'utf8' })
    return status === 0 ? stdout.trim() : null
  }
  const revision = git('rev-parse', '--short=12', 'HEAD')
  if (revision === null) return 'unknown'
  return git('status', '--porcelain', '--untracked-files=no') === '' ? revision : `${revision}+`
}

export class ReportFolder {
  readonly folder: string
  private readonly label: () => Pick<Report['label'], 'revision' | 'command'>
  private readonly written = new Map<FoundFailure, string>()

  /**
   * `label` is asked only when there is something to report. The folder is made now: that nothing can be written there is
   * a `UsageError` now, and not when a failure has been found.
   */
  constructor(folder: string, label: () => Pick<Report['label'], 'revision' | 'command'>) {
    this.folder = folder
    try {
      makeFolder(folder)
      fs.accessSync(folder, fs.constants.W_OK | fs.constants.X_OK)
      if (!fs.statSync(folder).isDirectory()) throw Object.assign(new Error(), { code: 'ENOTDIR' })
    } catch (error) {
      throw new UsageError(
        `--out ${folder}: ${(error as NodeJS.ErrnoException).code}: give a folder where reports can be written`,
      )
    }
    let known: ReturnType<typeof label> | undefined
    this.label = () => (known ??= label())
  }

  /**
   * Brings the files of one key up to date with what the group keeps now. `tell` hears of files that cannot be written: a
   * full disk ends no campaign, which still prints what it has found.
   */
  update(group: FailureGroup, tell: (text: string) => void): void {
    for (const found of group.found) {
      if (this.written.has(found)) continue
      const file = path.join(this.folder, reportFileName(group.key, found.seed))
      try {
        writeReport(file, this.reportOf(found))
      } catch (error) {
        tell(`${file} cannot be written: ${(error as NodeJS.ErrnoException).code ?? error}`)
        continue
      }
      this.written.set(found, file)
    }
    for (const [found, file] of this.written) {
      if (found.failure.key !== group.key || group.found.includes(found)) continue
      fs.rmSync(file, { force: true })
      this.written.delete(found)
    }
  }

  fileOf(found: FoundFailure): string | null {
    return this.written.get(found) ?? null
  }

  /** As people are shown it: relative to where they are, if it lies below. */
  shownFileOf(found: FoundFailure): string | null {
    const file = this.fileOf(found)
    if (file === null) return null
    const relative = path.relative(process.cwd(), file)
    return relative.startsWith('..') ? file : relative
  }

  /** What --json says of the failures of a tally. */
  summaryOf(groups: readonly FailureGroup[]): object[] {
    return groups.map(({ class: failureClass, key, count, found }) => ({
      class: failureClass,
      key,
      count,
      reports: found.map((one) => this.shownFileOf(one)),
    }))
  }

  reportOf(found: FoundFailure): Report {
    const { seed, plan, decisions } = found
    return makeReport(plan, found, { seed, profile: plan.profile, ...this.label() }, decisions)
  }
}
