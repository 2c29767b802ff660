/**
 * The clock by which entries age: wall-clock milliseconds that never go back, so that a correction of the machine's
 * clock can neither make what has expired come alive nor keep what lives from ageing. It follows Effect's Clock, so a
 * TestClock drives it.
 */
import { Context, Effect, Layer } from "effect"
import type { Clock } from "../kernel/index.ts"
import { TurnClock } from "./TurnClock.ts"

export class CacheClock extends Context.Tag("mimosa-cache/cache/CacheClock")<CacheClock, Clock>() {
  static readonly layer: Layer.Layer<CacheClock> = Layer.effect(
    CacheClock,
    Effect.map(Effect.clock, (clock) => new TurnClock({ nowMs: () => clock.unsafeCurrentTimeMillis() }))
  )
}
