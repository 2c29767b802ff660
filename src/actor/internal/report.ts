/**
 * What a process says in the log when something went wrong: in names and shapes, never content.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import * as LogLevel from "effect/LogLevel"
import * as ExitReason from "../ExitReason.ts"
import type { ProcessImpl } from "./process.ts"
import { runOutside } from "./self.ts"
import { shapeOf } from "./shape.ts"

/** The crash report: one structured line of the log, in shapes and names. Not even made where errors are not logged. */
export const report = (process: ProcessImpl, reason: ExitReason.Crash, fiberRefs: FiberRefs.FiberRefs): void => {
  const leastLevel = FiberRefs.getOrDefault(fiberRefs, FiberRef.currentMinimumLogLevel)
  if (LogLevel.greaterThan(leastLevel, LogLevel.Error)) return
  const annotations = {
    pid: process.toString(),
    reason: ExitReason.format(reason),
    messagesHandled: process.handled,
    mailboxDepth: process.mailbox.depth,
    ...process.behaviour?.describe()
  }
  const line = Effect.annotateLogs(Effect.logError("process crashed", withoutContent(reason.cause)), annotations)
  runOutside(process, fiberRefs, line)
}

/** A warning about what a process is not to blame for, with what was thrown. */
export const warn = (
  process: ProcessImpl,
  fiber: Fiber.RuntimeFiber<unknown, unknown> | null,
  message: string,
  thrown: unknown
): void => {
  if (fiber === null) return
  const line = Effect.logWarning(message, withoutContent(Cause.die(thrown)))
  runOutside(process, fiber.getFiberRefs(), Effect.annotateLogs(line, { pid: process.toString() }))
}

/** Loggers print what was failed with as JSON. Errors speak for themselves; of all else only the shape is told. */
const withoutContent = (cause: Cause.Cause<unknown>): Cause.Cause<unknown> => {
  const shown = (value: unknown) => (typeof value === "object" && !(value instanceof Error) ? shapeOf(value) : value)
  return Cause.match(cause, {
    onEmpty: Cause.empty as Cause.Cause<unknown>,
    onFail: (error) => Cause.fail(shown(error)),
    onDie: (defect) => Cause.die(shown(defect)),
    onInterrupt: (by) => Cause.interrupt(by),
    onSequential: (left, right) => Cause.sequential(left, right),
    onParallel: (left, right) => Cause.parallel(left, right)
  })
}
