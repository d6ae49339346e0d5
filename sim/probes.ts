/**
 * Situations that worlds must get into, by name, each with where it is noticed. A campaign that never meets one of them
 * has not tested what it believes to have tested.
 */
import { FAULTS, faultProbe } from './faults'
import { SCHEDULES, scheduleProbe } from './schedules'

export const PROBES = {
  'disk/overtaken': 'a request ends before one that came earlier to the same disk',
  'disk/torn': 'a write fails and leaves its first half behind',
  'disk/fault': 'a planned error fires',
  'disk/stalled': 'one request takes longer than all the others together',
  'disk/throttled': 'a request waits for the limits of a throttle group',
  'disk/zeroes-refused': 'a disk answers ENOTSUP to a zero write: none at all, or not at this alignment',
  'disk/discard-below-a-unit': 'a discard covers no whole allocation unit',
  'disk/discard-leaves-bytes': 'a discard leaves what was there, or other bytes, to be read',
  'disk/hole-of-unknown-content': 'block status tells of a hole that is not known to read zero',
  'disk/many-in-flight': 'eight requests are in flight at the two disks',

  'guest/write-over-copy': 'a guest writes where the mirror is copying',
  'guest/zero-over-copy': 'a guest zeroes where the mirror is copying',
  'guest/discard-over-copy': 'a guest discards where the mirror is copying',
  'guest/write-over-active': 'a guest writes where the mirror still works for another request',
  'guest/during-scan': 'a guest changes the disk before the first scan of the source has ended',
  'guest/unaligned-to-chunks': 'a change begins or ends inside a chunk',
  'guest/short-tail': 'a change reaches into the last chunk, which is shorter than the others',
  'guest/data-on-known-zero': 'a guest writes data where the destination is known to read zero',
  'guest/zero-on-known-zero': 'a guest zeroes where the destination is known to read zero',
  'guest/change-when-synced': 'a guest changes the disk while it is actively synced',
  'guest/change-in-ready': 'a guest changes the disk after READY',
  'guest/change-in-pause': 'a guest changes the disk while the job stands still',
  'guest/change-after-job': 'a guest changes the disk after the job has ended',
  'guest/read-in-job': 'a guest reads while the mirror runs',
  'guest/failed': 'a request of the guest fails',
  'guest/read-only': 'a guest tries to change a disk that it may only read',
  'guest/aborted': 'a reset of the device ends a request in flight',
  'guest/many-in-flight': 'four requests of the guest are in flight',

  'guest/zero-over-active': 'a guest zeroes where the mirror still works for another request',
  'guest/discard-over-active': 'a guest discards where the mirror still works for another request',
  'guest/tail-zeroed-in-flight': 'a guest zeroes the short last chunk in part while the mirror is at work there',
  'guest/change-over-change': 'a guest changes what another of its requests is changing',
  'guest/read-over-change': 'a guest reads what another of its requests is changing',
  'guest/flush-over-change': 'a guest flushes while changes are under way',

  'mirror/zeroing': 'the destination is zeroed before the copy',
  'mirror/operations-wait': 'an operation waits for another one on the same chunk',
  'mirror/zero-skipped': 'a zero write is left out because the destination reads zero already',
  'mirror/discarded': 'a discard is carried out at the destination',
  'mirror/synced': 'the mirror becomes actively synced',
  'mirror/synced-lost': 'it is not so any more',
  'mirror/dirty-again': 'something becomes dirty after READY',
  'mirror/mode-changed': 'the copy mode changes while the job runs',
  'mirror/mode-changed-mid-request': 'the copy mode is to change while a request is between source and destination',
  'mirror/read-fails': 'a disk fails a read of the mirror',
  'mirror/copy-fails': 'a disk fails a write of the mirror before READY',
  'mirror/copy-fails-at-ready': 'a disk fails a write of the mirror after READY',
  'mirror/active-fails': 'the destination fails a write for a guest before READY',
  'mirror/active-fails-at-ready': 'the destination fails a write for a guest after READY',
  'mirror/flush-fails': 'the destination fails a flush',
  'mirror/status-fails': 'a disk fails to tell what it has allocated',
  'mirror/fails-in-scan': 'a disk fails a request while the mirror zeroes or scans',

  'job/paused': 'the job stands still before READY',
  'job/standby': 'the job stands still after READY',
  'job/error-ignored': 'an error is ignored',
  'job/error-stops': 'an error stops the job',
  'job/failed': 'the job ends with an error',
  'job/completed': 'the job ends with the guest on the destination',
  'job/cancelled-softly': 'the job ends with a point in time on the destination',
  'job/cancelled-by-force': 'the job is broken off',
  'job/pending': 'the job waits to be finalised',
  'job/second': 'a second mirror begins after the first has ended',
  'job/lengths-differ': 'the job ends because source and destination are not of one length',

  'power/cut-in-job': 'the power goes off while the mirror runs',
  'power/cut-after-completed': 'the power goes off after the job has ended with the guest on the destination',
  'power/unflushed-lost': 'a power cut loses a change that had ended and was not flushed',
  'power/in-flight-kept': 'a change that was in flight survives a power cut',
  'power/torn': 'a power cut keeps some sectors of a change',

  'control/refused': 'an order is refused',
  'control/mirror-refused': 'a mirror cannot be started',
  'control/drain-under-load': 'a drained section begins while requests are in flight',
  'control/reset-under-load': 'the device is reset while requests are in flight',
  'control/complete-under-load': 'completion is asked for while the guest is at work',
  'control/caretaker': 'nobody does anything any more, and the world brings the job to its end',
} as const

/** Those that only worlds with images can get into. */
export const IMAGE_PROBES = {
  'image/zeroes-over-below': 'a range is zeroed where the image below has data, which must not show through',
  'image/compressed-overwritten': 'a compressed cluster is written to',
  'mirror/whole-clusters': 'the mirror completes clusters of the destination, whose image below comes later',
  'backing/linked-in-scan': 'an image below is attached or replaced before the first scan of the source has ended',
  'backing/attached-in-job': 'the image below the destination is attached while the mirror copies',
  'backing/attached-after-job': 'the image below the destination is attached after the job has ended',
  'backing/replaced-in-job': 'an image below is replaced by another that shows the same, while the mirror copies',
  'backing/replaced-after-job': 'an image below is replaced by another that shows the same, after the job has ended',
} as const

/** Those of mirrors between NBD servers. */
export const NBD_PROBES = {
  'nbd/target-cut-running': 'the link to the destination breaks while the mirror copies',
  'nbd/target-cut-ready': 'the link to the destination breaks after READY',
  'nbd/target-cut-aborting': 'the link to the destination breaks while the job ends',
  'nbd/target-cut-null': 'the link breaks when guests are on the destination',
  'nbd/guest-cut': 'the link of a guest breaks',
  'nbd/requests-lost': 'a guest loses requests that are under way',
  'nbd/guest-failed': 'a request of a guest is answered with an error',
  'nbd/status': 'a guest asks for block status',
  'nbd/zeroes-not-fast': 'zeroes that must be fast are refused',
  'nbd/odd-magic': 'a guest sends what is no request',
  'nbd/odd-write-beyond': 'a guest writes beyond the end of its disk',
  'nbd/odd-read-beyond': 'a guest reads beyond the end of its disk',
  'nbd/odd-command': 'a guest sends a command that does not exist',
  'nbd/odd-flags': 'a guest sends flags that do not exist',
  'nbd/odd-read-too-long': 'a guest reads more than one reply may hold',
  'nbd/mirror-completed': 'guests switch over to the destination',
  'nbd/mirror-failed': 'the job ends with an error',
} as const

/** Those of mirrors that are driven over QMP. */
export const MONITOR_PROBES = {
  'monitor/user-left': 'a user goes without waiting for answers',
  'monitor/mirror-completed': 'the guest switches over to the destination',
  'monitor/mirror-failed': 'the job ends with an error',
  'monitor/mirror-cancelled-after-ready': 'the job is called off after READY',
  'monitor/mirror-cancelled': 'the job is broken off',
  'qmp/answered/job-pause': 'a job is paused',
  'qmp/refused/job-pause': 'a job cannot be paused',
  'qmp/answered/job-resume': 'a job goes on',
  'qmp/answered/block-job-pause': 'a job is paused by its older name',
  'qmp/answered/job-complete': 'a job is completed',
  'qmp/answered/job-dismiss': 'a job is dismissed',
  'qmp/answered/block-job-change': 'the copy mode is changed',
  'qmp/answered/blockdev-add': 'a node is added',
  'qmp/answered/blockdev-del': 'a node is removed',
  'qmp/answered/transaction': 'several changes are made at once',
  'qmp/refused/transaction': 'several changes are refused at once',
  'qmp/refused/no JSON': 'what is no JSON is refused',
} as const

/** Those that only faults other than errors can bring about. */
export const FAULT_PROBES = {
  'mirror/fails-while-completing': 'a disk fails a request while the job does its last work',
  'silent/hit': 'a silent fault has changed bytes',
  'silent/completed': 'bytes that a silent fault has hit are on the disk that the guest has moved to',
  'memory/refused-to-guest': 'a guest’s request gets no bounce buffer',
  'memory/refused-to-mirror': 'a request of the mirror gets no bounce buffer',
  'power/behind-a-lie': 'the power goes off, and a change is not safe that a flush has said to be',
} as const

/** Each schedule, when a world follows it. */
export const SCHEDULE_PROBES: Readonly<Record<string, string>> = Object.fromEntries(
  Object.values(SCHEDULES).map(({ kind, about }) => [scheduleProbe(kind), about]),
)

/** Each fault, when it fires. */
export const FIRED_PROBES: Readonly<Record<string, string>> = Object.fromEntries(
  FAULTS.map(({ name, about }) => [faultProbe(name), about]),
)

export type ProbeName = keyof typeof PROBES | keyof typeof IMAGE_PROBES | keyof typeof FAULT_PROBES

/** An order given to a job in some status; `none` before the first. Of each pair the one name. */
export function orderProbe(kind: string, status: string): string {
  return `order/${kind}/${status}`
}

/**
 * Orders in which every job must be disturbed in every status that lasts. Left out are statuses that no order can meet:
 * `created` and `waiting` are over in the event in which they begin.
 */
const ORDERS = [
  'pause',
  'resume',
  'set-speed',
  'change-copy-mode',
  'complete',
  'cancel',
  'finalize',
  'dismiss',
  'drain',
  'device-reset',
  'resize',
]
const STATUSES = ['none', 'running', 'paused', 'ready', 'standby', 'pending', 'aborting', 'concluded', 'null']

/** An order that only disks with an image below can be given. */
export const IMAGE_ORDER_PROBES: readonly string[] = STATUSES.map((status) => orderProbe('link-backing', status))

/** An order given while the mirror copies, or works for a guest. */
export function orderOverProbe(kind: string, what: 'copy' | 'active'): string {
  return `order/${kind}-over-${what}`
}

/** A second start is refused at once, and an end that has been reached has nothing in flight. */
export const ORDER_OVER_PROBES: readonly string[] = [...ORDERS, 'power-cut']
  .filter((kind) => kind !== 'finalize' && kind !== 'dismiss')
  .flatMap((kind) => [orderOverProbe(kind, 'copy'), orderOverProbe(kind, 'active')])

export const ORDER_PROBES: readonly string[] = ORDERS.flatMap((kind) => STATUSES.map((status) => orderProbe(kind, status)))
