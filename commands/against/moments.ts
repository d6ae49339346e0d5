/** Named moments of a lifecycle: each comes once, and whoever waits for it, then or later, goes on. */
export class Moments {
  private readonly reached = new Set<string>()
  private readonly waiting = new Map<string, Array<() => void>>()
  /** Nothing more will come. */
  isOver = false

  has(name: string): boolean {
    return this.reached.has(name)
  }

  /** Calls back when the moment has come, never before this call has returned. */
  when(name: string, then: () => void): void {
    if (this.isOver || this.reached.has(name)) queueMicrotask(then)
    else {
      const others = this.waiting.get(name)
      if (others === undefined) this.waiting.set(name, [then])
      else others.push(then)
    }
  }

  wait(name: string): Promise<void> {
    return new Promise((resolve) => this.when(name, resolve))
  }

  reach(name: string): void {
    if (this.reached.has(name)) return
    this.reached.add(name)
    for (const then of this.waiting.get(name) ?? []) queueMicrotask(then)
    this.waiting.delete(name)
  }

  /** Nothing more will come: whoever waits for anything goes on. */
  giveUp(): void {
    this.isOver = true
    for (const all of this.waiting.values()) for (const then of all) queueMicrotask(then)
    this.waiting.clear()
  }
}
