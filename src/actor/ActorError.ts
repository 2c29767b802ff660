/**
 * What can be expected to go wrong between processes. All of it stays in the process, so `Data.TaggedError`.
 */
import * as Data from "effect/Data"
import * as ExitReason from "./ExitReason.ts"
import type { Pid } from "./Pid.ts"

/** No answer within `timeoutMs`. If the request was not yet taken from the mailbox it never will be. */
export class CallTimeout extends Data.TaggedError("CallTimeout")<{
  readonly pid: Pid
  readonly request: string
  readonly timeoutMs: number
  /** A fiber of the asked process itself was the caller. */
  readonly isFromItself: boolean
}> {
  override get message(): string {
    const noAnswer = `${this.request} to ${this.pid} got no answer within ${this.timeoutMs} ms`
    if (!this.isFromItself) return noAnswer
    return `${noAnswer}; it came from a fiber of ${this.pid} itself, whose callback must not wait for that fiber`
  }
}

/** Nobody is there: the name is not registered, or the process had ended before it was asked. */
export class NoProcess extends Data.TaggedError("NoProcess")<{ readonly target: string }> {
  override get message(): string {
    return `${this.target} is not alive`
  }
}

/** The process ended between the request and its answer. */
export class ProcessExited extends Data.TaggedError("ProcessExited")<{
  readonly pid: Pid
  readonly reason: ExitReason.ExitReason
}> {
  override get message(): string {
    return `${this.pid} ended before it answered (${ExitReason.format(this.reason)})`
  }
}

/** The request was refused, or pushed out by a newer message: the mailbox holds `capacity` and its policy says so. */
export class MailboxFull extends Data.TaggedError("MailboxFull")<{ readonly pid: Pid; readonly capacity: number }> {
  override get message(): string {
    return `the mailbox of ${this.pid} holds ${this.capacity} messages and takes no more`
  }
}

export type CallError = CallTimeout | NoProcess | ProcessExited | MailboxFull

export const isCallError = (error: unknown): error is CallError =>
  error instanceof CallTimeout ||
  error instanceof NoProcess ||
  error instanceof ProcessExited ||
  error instanceof MailboxFull

/** What came over a wire is none of the requests that the server takes. `issue` says where and why, for people. */
export class BadRequest extends Data.TaggedError("BadRequest")<{ readonly issue: string; readonly cause: unknown }> {
  override get message(): string {
    return `not a request of this server: ${this.issue}`
  }
}

/** `init` stopped, failed or died. */
export class StartFailed extends Data.TaggedError("StartFailed")<{
  readonly label: string
  readonly reason: ExitReason.ExitReason
}> {
  override get message(): string {
    return `${this.label} did not start (${ExitReason.format(this.reason)})`
  }
}

/** `init` chose not to run. A supervisor takes it as a success without a process. */
export class StartIgnored extends Data.TaggedError("StartIgnored")<{ readonly label: string }> {
  override get message(): string {
    return `${this.label} chose not to start`
  }
}

/** `init` took longer than `timeoutMs`; the process was killed. */
export class StartTimeout extends Data.TaggedError("StartTimeout")<{
  readonly label: string
  readonly timeoutMs: number
}> {
  override get message(): string {
    return `${this.label} did not start within ${this.timeoutMs} ms`
  }
}

/** The name belongs to `pid`, which is alive. */
export class AlreadyStarted extends Data.TaggedError("AlreadyStarted")<{ readonly key: string; readonly pid: Pid }> {
  override get message(): string {
    return `"${this.key}" is already ${this.pid}`
  }
}

export type StartError = StartFailed | StartIgnored | StartTimeout | AlreadyStarted

/** The unique key belongs to `pid`. */
export class AlreadyRegistered extends Data.TaggedError("AlreadyRegistered")<{
  readonly key: string
  readonly pid: Pid
}> {
  override get message(): string {
    return `key "${this.key}" is registered by ${this.pid}; another key, or a registry with duplicate keys, would do`
  }
}

/** The registry holds `limit` entries. */
export class RegistryFull extends Data.TaggedError("RegistryFull")<{ readonly key: string; readonly limit: number }> {
  override get message(): string {
    return `no room for key "${this.key}": the registry holds its limit of ${this.limit} entries`
  }
}

/** The supervisor has no child of that id (or pid). */
export class ChildNotFound extends Data.TaggedError("ChildNotFound")<{ readonly id: string }> {
  override get message(): string {
    return `no child "${this.id}"`
  }
}

/** A child of that id exists: running, or stopped with its specification kept. */
export class ChildAlreadyPresent extends Data.TaggedError("ChildAlreadyPresent")<{
  readonly id: string
  readonly pid: Pid | null
}> {
  override get message(): string {
    return this.pid === null
      ? `child "${this.id}" is there but not running; restart it, or delete it first`
      : `child "${this.id}" is already running as ${this.pid}`
  }
}

/** The operation wants a stopped child, and this one is running or being restarted. */
export class ChildRunning extends Data.TaggedError("ChildRunning")<{
  readonly id: string
  readonly isRestarting: boolean
}> {
  override get message(): string {
    return `child "${this.id}" is ${this.isRestarting ? "being restarted" : "running"}; terminate it first`
  }
}

/** The child is significant, and its end could not be the end of this supervisor. */
export class InvalidSignificant extends Data.TaggedError("InvalidSignificant")<{
  readonly id: string
  readonly why: "permanent" | "noAutoShutdown" | "dynamic"
}> {
  override get message(): string {
    return `child "${this.id}" ${whyNotSignificant[this.why]}`
  }
}

const whyNotSignificant = {
  permanent: "is permanent, so it cannot be significant; make it transient or temporary",
  noAutoShutdown: 'is significant, so the supervisor needs an autoShutdown other than "never"',
  dynamic: "is significant, which a dynamic supervisor makes nothing of; start it under a Supervisor with autoShutdown"
}

/** The dynamic supervisor has `limit` children. */
export class MaxChildren extends Data.TaggedError("MaxChildren")<{ readonly limit: number }> {
  override get message(): string {
    return `there are already ${this.limit} children, which is the limit`
  }
}

/** No result within `timeoutMs`. The task goes on. */
export class TaskTimeout extends Data.TaggedError("TaskTimeout")<{ readonly pid: Pid; readonly timeoutMs: number }> {
  override get message(): string {
    return `task ${this.pid} had no result within ${this.timeoutMs} ms`
  }
}

/** The task ended without a result. */
export class TaskExited extends Data.TaggedError("TaskExited")<{
  readonly pid: Pid
  readonly reason: ExitReason.ExitReason
}> {
  override get message(): string {
    return `task ${this.pid} ended without a result (${ExitReason.format(this.reason)})`
  }
}
