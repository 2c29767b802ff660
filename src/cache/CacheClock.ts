/**
 * The clock by which entries age: wall-clock milliseconds that never go back, so that a correction of the machine's
 * clock cannot make what has expired come alive. It follows Effect's Clock, so a TestClock drives it.
 */
import { Context, Effect, Layer } from "effect"
import type { Clock } from "../kernel/index.ts"

export class CacheClock extends Context.Tag("mimosa-cache/cache/CacheClock")<CacheClock, Clock>() {
  static readonly layer: Layer.Layer<CacheClock> = Layer.effect(
    CacheClock,
    Effect.map(Effect.clock, (clock) => {
      let latestMs = 0
      return {
        nowMs: () => {
          const nowMs = clock.unsafeCurrentTimeMillis()
          if (nowMs > latestMs) latestMs = nowMs
          return latestMs
        }
      }
    })
  )
}
