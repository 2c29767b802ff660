/**
 * Why a process ended, in OTP's words. A closed list: what Erlang says with an arbitrary term is a crash carrying its
 * `Cause`, or a `shutdown` with a detail.
 *
 * Where Effect speaks of exits: success is `normal`, interruption is `shutdown`, failure and defect are a crash.
 */
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import { shapeOf } from "./internal/shape.ts"

export type ExitReason = Normal | Shutdown | Killed | Crash

/** It had nothing more to do. Linked processes that do not trap exits are left alone. */
export interface Normal {
  readonly _tag: "normal"
}

/** It was asked to end, or interrupted. `detail` is Erlang's `{shutdown, Term}`. A transient child is not restarted. */
export interface Shutdown {
  readonly _tag: "shutdown"
  readonly detail?: unknown
}

/** It was ended without being asked. Given to `Process.exit`, it is the signal that nobody can refuse. */
export interface Killed {
  readonly _tag: "killed"
}

/** A failure or defect that nobody handled. */
export interface Crash {
  readonly _tag: "crash"
  readonly cause: Cause.Cause<unknown>
}

export const normal: ExitReason = { _tag: "normal" }
export const shutdown: ExitReason = { _tag: "shutdown" }
export const killed: ExitReason = { _tag: "killed" }
export const shutdownWith = (detail: unknown): ExitReason => ({ _tag: "shutdown", detail })
export const crash = (cause: Cause.Cause<unknown>): ExitReason => ({ _tag: "crash", cause })

/** A crash with `defect` as its cause: Erlang's `exit(Term)`. */
export const crashWith = (defect: unknown): ExitReason => crash(Cause.die(defect))

/** The reason that a fiber's exit stands for. */
export const fromExit = (exit: Exit.Exit<unknown, unknown>): ExitReason =>
  Exit.isSuccess(exit) ? normal : fromCause(exit.cause)

/** The reason that a failed fiber's cause stands for: `shutdown` if there is nothing but interruption in it. */
export const fromCause = (cause: Cause.Cause<unknown>): ExitReason =>
  Cause.isInterruptedOnly(cause) ? shutdown : crash(cause)

/** True for `killed` and crashes: what makes a supervisor restart a transient child. */
export const isAbnormal = (reason: ExitReason): boolean => reason._tag === "killed" || reason._tag === "crash"

/** One line for people: `normal`, `shutdown: reached maximum restart intensity`, `crash: TypeError: bad key`. */
export const format = (reason: ExitReason): string => {
  switch (reason._tag) {
    case "crash":
      return `crash: ${firstLine(describe(Cause.squash(reason.cause)))}`
    case "shutdown":
      return reason.detail === undefined ? "shutdown" : `shutdown: ${firstLine(describe(reason.detail))}`
    default:
      return reason._tag
  }
}

/**
 * Of an error its name and message: a stack costs more than the crash. Of other objects the shape: their content may be
 * secret.
 */
const describe = (value: unknown): string => {
  if (value instanceof Error) {
    const { message, name } = value // asked once: a message may be made of another error's, and so on
    return message === "" ? name : `${name}: ${message}`
  }
  if (typeof value !== "object" || value === null) return String(value)
  return "_tag" in value ? String(value._tag) : shapeOf(value)
}

const firstLine = (text: string): string => text.split("\n", 1)[0] as string
