/** Errors that come from synchronous code, maybe with every operation, as lines of the log. */
import { Effect, Runtime } from "effect"

/**
 * A function that logs an error under this message, in the logger that is installed where the effect runs.
 *
 * The first is told, and from then on each that doubles their number, the `count` of the line: what always fails would
 * fill the log. Who wants to know all of them counts them.
 */
export const repeatedError = (
  message: string
): Effect.Effect<(error: unknown, annotations?: Readonly<Record<string, string>>) => void> =>
  Effect.map(Effect.runtime(), (runtime) => {
    let count = 0
    return (error, annotations = {}) => {
      if ((++count & (count - 1)) !== 0) return
      Runtime.runSync(runtime)(Effect.annotateLogs(Effect.logError(message, { count, error }), annotations))
    }
  })
