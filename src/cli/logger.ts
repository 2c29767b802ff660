/**
 * Where log records become lines: on stderr, so that stdout holds what a command answers and nothing else.
 */
import { type Layer, Logger } from "effect"

/** `json` for machines, one record a line; `pretty` for a person at a terminal. */
export type LogFormat = "json" | "pretty"

/**
 * Holds records back until `release`: while a server starts, one line says what keeps it from starting, and the crash
 * reports of the processes around it would only bury that. The first `heldMax` are kept.
 */
export class HeldLog {
  private held: Array<Logger.Logger.Options<unknown>> | null = []
  private readonly inner: Logger.Logger<unknown, void>

  constructor(format: LogFormat) {
    this.inner = format === "json" ? Logger.withConsoleError(Logger.jsonLogger) : Logger.prettyLogger({ stderr: true })
  }

  get layer(): Layer.Layer<never> {
    return Logger.replace(
      Logger.defaultLogger,
      Logger.make((record) => {
        if (this.held === null) this.inner.log(record)
        else if (this.held.length < heldMax) this.held.push(record)
      })
    )
  }

  /** Writes what was held back, and from now on everything at once. */
  release(): void {
    for (const record of this.held ?? []) this.inner.log(record)
    this.held = null
  }
}

const heldMax = 1_000 // records; a start has a few, unless a saved trigger logs a lot
