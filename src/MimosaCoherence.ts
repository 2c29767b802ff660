/** The instances that share a namespace, for programs without Effect. */
import { Effect } from "effect"
import type { AckMode } from "./cache/index.ts"
import {
  Coherence,
  type CoherenceService,
  type CoherenceStatus,
  type Diagnosis,
  type MembersWait
} from "./coherence/index.ts"
import type { MimosaProgram } from "./MimosaProgram.ts"

/** What `mimosa.coherence` is. Each method rejects where the program has no `namespace`. */
export class MimosaCoherence {
  constructor(private readonly program: MimosaProgram) {}

  /** How this instance stands, and how far each other has come. */
  status(): Promise<CoherenceStatus> {
    return this.ask((coherence) => Effect.sync(coherence.status))
  }

  /** What is known of a key, in sentences. */
  trace(key: string): Promise<string[]> {
    return this.ask((coherence) => Effect.sync(() => coherence.trace(key)))
  }

  /**
   * Compares so many entries (default 1,000), taken at random, with what the other instances know of them: what is stale
   * and why, and what the sample says of 10^9 reads. At once where nothing is suspected, else after up to 11 seconds.
   * Rejects while another one is under way.
   */
  async examine(samples?: number): Promise<Diagnosis> {
    const diagnosis = await this.ask((coherence) => Effect.promise(() => coherence.examine(samples)))
    if (diagnosis === "busy") throw new Error("an examination is under way")
    return diagnosis
  }

  /**
   * Waits until all that was written here so far has been applied by one other instance, or by all that live. Answers the
   * names of those who have not, after two seconds. Rejects with `InvalidAckMode` for a word that is none.
   */
  acknowledged(mode: Exclude<AckMode, "async">): Promise<{ readonly missing: readonly string[] }> {
    return this.ask((coherence) => Effect.promise(() => coherence.acknowledged(mode)))
  }

  /**
   * Waits until at least so many other instances are there: without end, or for `timeoutMs`, and then rejects with
   * `NotEnoughMembers`. `close` does not wait for it: it rejects at once, because the cache is closed.
   */
  untilMembers(count: number, options?: MembersWait): Promise<void> {
    return this.ask((coherence) => coherence.untilMembers(count, options), this.program.closes)
  }

  /** Stops waiting for an instance that will not come back. False where there is none of that name. */
  forget(name: string): Promise<boolean> {
    return this.ask((coherence) => Effect.sync(() => coherence.forget(name)))
  }

  private ask<A, E>(question: (coherence: CoherenceService) => Effect.Effect<A, E>, signal?: AbortSignal): Promise<A> {
    return this.program.run(
      Effect.flatMap(
        Coherence.Coherence,
        (coherence): Effect.Effect<A, E | Error> =>
          coherence === null ? Effect.fail(new Error("nothing is shared: give a namespace")) : question(coherence)
      ),
      signal
    )
  }
}
