/** An invariant does not hold. */
export class Broken extends Error {
  constructor(
    /** `I1` to `I19` of the protocol's page, `W1` (a write became no record), or `defect` (something threw). */
    readonly invariant: string,
    /** The key that it is about; space -1 for none. */
    readonly space: number,
    readonly key: string,
    readonly sentence: string,
    readonly atMs: number
  ) {
    super(`${invariant}: ${sentence}`)
  }
}
