/**
 * Which process code runs in: a service of its fiber, so that the fibers that it forks belong to the process too.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as FiberRefs from "effect/FiberRefs"
import * as Runtime from "effect/Runtime"
import type { Pid } from "../Pid.ts"
import type { ProcessImpl } from "./process.ts"

/**
 * The process that the code runs in. In `R` it says: this makes sense only inside of a process.
 */
export class Self extends Context.Tag("mimosa-cache/actor/Process/Self")<Self, Pid>() {}

/** The process that a fiber belongs to, or null. Fibers forked by a process' code belong to it. */
export const selfOf = (fiber: Fiber.RuntimeFiber<unknown, unknown>): ProcessImpl | null =>
  (fiber.currentContext.unsafeMap.get(Self.key) as ProcessImpl | undefined) ?? null

/** Runs in the name of a process what is left to do after the end of its fiber, with that fiber's loggers. */
export const runOutside = <A, E>(
  process: ProcessImpl,
  fiberRefs: FiberRefs.FiberRefs,
  effect: Effect.Effect<A, E>
): Fiber.RuntimeFiber<A, E> =>
  Runtime.runFork(
    Runtime.make({
      context: Context.make(Self, process) as Context.Context<never>,
      fiberRefs,
      runtimeFlags: Runtime.defaultRuntimeFlags
    }),
    effect
  )
