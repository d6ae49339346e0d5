/** The job of blockdev-create: writes what an empty image is. No block job: it has only its status to tell. */
import type { BlockError } from '../block'
import { type Co, type Errno, OK } from '../co'
import { Job, type JobManager } from '../jobs'

export const CREATE_JOB_TYPE = 'create'

export class CreateJob extends Job {
  readonly type = CREATE_JOB_TYPE
  private readonly body: () => Co<BlockError | null>

  /** `body` gives what went wrong, or null. */
  constructor(manager: JobManager, id: string, body: () => Co<BlockError | null>) {
    super(manager, { id, speedBytesPerSecond: 0, autoFinalize: true, autoDismiss: false })
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
