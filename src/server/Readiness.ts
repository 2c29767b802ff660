/**
 * Which listeners there should be, and which of them accept connections at this moment.
 *
 * It belongs to the scope above the listeners, so that it can tell of one that is down, and so that one that comes back
 * finds the port that it had.
 */
import { Effect, Schedule } from "effect"
import { ListenFailed } from "./ServerError.ts"

export class Readiness {
  private readonly ports = new Map<string, number>()
  private readonly portsBefore = new Map<string, number>()

  constructor(
    /** What people call them, in the order in which they are shown. */
    readonly listeners: readonly string[]
  ) {}

  accepts(listener: string, port: number): void {
    this.ports.set(listener, port)
    this.portsBefore.set(listener, port)
  }

  stops(listener: string): void {
    this.ports.delete(listener)
  }

  /** The port on which it accepts; undefined while it does not. */
  portOf(listener: string): number | undefined {
    return this.ports.get(listener)
  }

  /** Those that do not accept; empty when everything is ready. */
  missing(): string[] {
    return this.listeners.filter((listener) => !this.ports.has(listener))
  }

  /**
   * Listens by `listen`, which answers the port that it got, and notes that; fails with `ListenFailed`.
   *
   * A listener that has listened before gets the port it had, also where a free one was asked for: its clients know no
   * other. One that was killed lets go of its port a few turns later, so the next waits for that a while.
   */
  listen(
    { listener, host, port }: { readonly listener: string; readonly host: string; readonly port: number },
    listen: (port: number) => Promise<number>
  ): Effect.Effect<number, ListenFailed> {
    const before = this.portsBefore.get(listener)
    const attempt = Effect.tryPromise({
      try: () => listen(before ?? port),
      catch: (cause) => new ListenFailed({ listener, host, port: before ?? port, cause })
    })
    const bound = before === undefined ? attempt : Effect.retry(attempt, { schedule: handover, while: isInUse })
    return Effect.tap(bound, (bound) => Effect.sync(() => this.accepts(listener, bound)))
  }
}

const isInUse = ({ cause }: ListenFailed): boolean => (cause as { readonly code?: string }).code === "EADDRINUSE"

const handover = Schedule.intersect(Schedule.spaced("20 millis"), Schedule.recurs(100)) // 2 s; a kill takes a few turns
