/** What a command ends with when it cannot do what it was asked: one line for people, and the exit code. */
import { Data } from "effect"

export class CliError extends Data.TaggedError("CliError")<{
  /** What is wrong, and what would be right. */
  readonly message: string
  /** Default 1. */
  readonly exitCode?: number
}> {}

/** Exit code where the fault is the program's own, as EX_SOFTWARE of sysexits.h. */
export const exitDefect = 70
