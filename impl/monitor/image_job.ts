/** The jobs of blockdev-create and x-blockdev-amend, which write what an image is. No block jobs: they have only their status to tell. */
import type { BlockError } from '../block'
import { type Co, type Errno, OK } from '../co'
import { Job, type JobManager } from '../jobs'

export type ImageJobType = 'create' | 'amend'

export class ImageJob extends Job {
  readonly type: ImageJobType
  private readonly body: () => Co<BlockError | null>

  /** `body` gives what went wrong, or null. */
  constructor(manager: JobManager, id: string, type: ImageJobType, body: () => Co<BlockError | null>) {
    super(manager, { id, speedBytesPerSecond: 0, autoFinalize: true, autoDismiss: false })
    this.type = type
    this.body = body
  }

  protected override emit(event: string, data: Record<string, unknown>): void {
    if (event === 'JOB_STATUS_CHANGE') super.emit(event, data)
  }
  protected waitingBytes(): number {
    return 0
  }
  protected *run(): Co<Errno> {
    this.progress.begin(1)
    const error = yield* this.body()
    this.progress.succeed(1)
    if (error === null) return OK
    this.errorText = error.message
    return error.errno
  }
  protected *prepare(): Co<Errno> {
    return OK
  }
  protected *abort(): Co<void> {}
  protected *settle(): Co<void> {}
  protected stoodStill(): void {}
}
