/** What a command ends with when it cannot do what it was asked: one line for people, and the exit code. */
export class CliError extends Error {
  override readonly name = "CliError"

  constructor(
    /** What is wrong, and what would be right. */
    message: string,
    readonly exitCode = 1
  ) {
    super(message)
  }
}

/** Exit code where the fault is the program's own, as EX_SOFTWARE of sysexits.h. */
export const exitDefect = 70
