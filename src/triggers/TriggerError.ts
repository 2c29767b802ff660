/** What can be wrong with a trigger when it is registered, asked for or tried. Each says what would be right. */
import { Data } from "effect"

export class InvalidTrigger extends Data.TaggedError("InvalidTrigger")<{
  /** The name that was given. */
  readonly trigger: string
  readonly field:
    | "name"
    | "pattern"
    | "events"
    | "timeout"
    | "memory"
    | "priority"
    | "sample"
    | "scope"
    | "include"
    | "failclosed"
    | "source"
  readonly reason: string
}> {
  override get message(): string {
    return `${this.field}: ${this.reason}`
  }
}

export class TriggerSyntaxError extends Data.TaggedError("TriggerSyntaxError")<{
  readonly trigger: string
  /** Both from 1. */
  readonly line: number
  readonly column: number
  readonly reason: string
}> {
  override get message(): string {
    return `source: ${this.trigger}:${this.line}:${this.column}: ${this.reason}`
  }
}

export class TriggerNotFound extends Data.TaggedError("TriggerNotFound")<{ readonly trigger: string }> {
  override get message(): string {
    return `no trigger is named '${this.trigger}'`
  }
}

export class TooManyTriggers extends Data.TaggedError("TooManyTriggers")<{ readonly limit: number }> {
  override get message(): string {
    return `${this.limit} triggers are registered, which is the limit; remove one first`
  }
}

export class TooMuchSource extends Data.TaggedError("TooMuchSource")<{ readonly limit: number }> {
  override get message(): string {
    return `the sources of all triggers and their versions hold ${this.limit} bytes, which is the limit; remove a trigger first`
  }
}

export class VersionNotFound extends Data.TaggedError("VersionNotFound")<{
  readonly trigger: string
  /** Null where the one before was meant, and there is none. */
  readonly version: number | null
  /** Those that are kept, the oldest first. */
  readonly kept: readonly number[]
}> {
  override get message(): string {
    const { trigger, version, kept } = this
    if (version === null) return `trigger '${trigger}' has no version before version ${kept[0]}`
    return `trigger '${trigger}' has no version ${version}; there are ${kept.join(", ")}`
  }
}

export class NoShadow extends Data.TaggedError("NoShadow")<{ readonly trigger: string }> {
  override get message(): string {
    return `trigger '${this.trigger}' has no shadow; TRIGGER SHADOW ${this.trigger} <source> makes one`
  }
}

export class HistoryOff extends Data.TaggedError("HistoryOff") {
  override get message(): string {
    return "no events are kept to run it on; give the library's setting eventLog a number above 0 (mimosa serve keeps 1,000 unless --event-log says otherwise)"
  }
}

export class TriggersNotSaved extends Data.TaggedError("TriggersNotSaved")<{ readonly cause: unknown }> {
  override get message(): string {
    return `the trigger is active, but could not be saved and will not survive a restart: ${String(this.cause)}`
  }
}

/** They were a tenant's who was removed. */
export class TriggersClosed extends Data.TaggedError("TriggersClosed") {
  override get message(): string {
    return "the tenant whose triggers these are was removed; nothing can be registered for it"
  }
}

/** The registry takes the change or refuses it with one of these; nothing is half done. */
export type RegistrationError = InvalidTrigger | TriggerSyntaxError | TooManyTriggers | TooMuchSource | TriggersClosed
