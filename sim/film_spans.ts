/** What takes time in a film: from the event in which it begins to the one in which it ends. */
import type { Span } from './film_frames'
import type { MirrorView } from './observer'

export class Spans {
  readonly all: Span[] = []
  private readonly open = new Map<object | string, Span>()

  begin(
    key: object | string,
    step: number,
    lane: string,
    id: string,
    kind: string,
    offsetBytes: number,
    lengthBytes: number,
  ): void {
    const span = { lane, id, kind, offsetBytes, lengthBytes, fromStep: step, toStep: Infinity, isBad: false }
    this.open.set(key, span)
    this.all.push(span)
  }

  finish(key: object | string, step: number, isBad: boolean): void {
    const span = this.open.get(key)
    if (span === undefined) return
    span.toStep = step
    span.isBad = isBad
    this.open.delete(key)
  }

  private readonly ofMirror = new Set<object>()

  /** What the mirror works on is told by nobody: it is there after one event and not after another. */
  followMirror(mirror: MirrorView | null, step: number): void {
    const present = new Set<object>()
    const follow = (lane: string, one: { kind: string; offsetBytes: number; lengthBytes: number }, isBad: boolean): void => {
      present.add(one)
      if (!this.open.has(one)) this.begin(one, step, lane, one.kind, one.kind, one.offsetBytes, one.lengthBytes)
      this.ofMirror.add(one)
      this.open.get(one)!.isBad = isBad
    }
    for (const request of mirror?.filterRequests ?? []) follow('device', request, false)
    for (const operation of mirror?.operations ?? []) follow('mirror', operation, !operation.isInFlight)
    for (const one of this.ofMirror) {
      if (present.has(one)) continue
      this.finish(one, step, this.open.get(one)!.isBad)
      this.ofMirror.delete(one)
    }
  }
}
