import { describe, expect, it } from "@effect/vitest"
import { Effect, TestClock } from "effect"
import { CacheClock } from "../../src/cache/index.ts"

describe("the cache's clock", () => {
  it.effect("follows Effect's clock, every reading a fresh one", () =>
    Effect.gen(function* () {
      const clock = yield* CacheClock
      yield* TestClock.setTime(1_000)
      expect(clock.nowMs()).toBe(1_000)
      yield* TestClock.adjust(7)
      expect(clock.nowMs()).toBe(1_007)
    }).pipe(Effect.provide(CacheClock.layer))
  )

  it.effect("neither goes back nor stands still when the machine's clock is set back", () =>
    Effect.gen(function* () {
      const clock = yield* CacheClock
      yield* TestClock.setTime(1_000_000)
      expect(clock.nowMs()).toBe(1_000_000)
      yield* TestClock.setTime(400_000)
      expect(clock.nowMs()).toBe(1_000_000)
      yield* TestClock.adjust(30_000)
      expect(clock.nowMs()).toBe(1_030_000)
    }).pipe(Effect.provide(CacheClock.layer))
  )
})
