/** What was asked of other instances and cannot be had. */
import { Data } from "effect"

/** Fewer other instances are there than were waited for, after all the time that there was. */
export class NotEnoughMembers extends Data.TaggedError("NotEnoughMembers")<{
  /** How many others were to be there. */
  readonly awaited: number
  /** How many are. */
  readonly present: number
  readonly timeoutMs: number
}> {
  override get message(): string {
    const { awaited, present, timeoutMs } = this
    return `${present} other instance${present === 1 ? " is" : "s are"} there after ${timeoutMs} ms; ${awaited} were awaited`
  }
}
