import { expect, it } from "vitest"
import { TurnClock } from "../../src/cache/TurnClock.ts"

const settable = () => {
  const source = {
    atMs: 1_000,
    reads: 0,
    nowMs: () => {
      source.reads++
      return source.atMs
    }
  }
  return { source, clock: new TurnClock(source) }
}

it("stands still during a turn and reads its source once", () => {
  const { source, clock } = settable()
  clock.enter()
  expect(clock.nowMs()).toBe(1_000)
  source.atMs = 2_000
  expect(clock.nowMs()).toBe(1_000)
  expect(source.reads).toBe(1)
  clock.leave()
  expect(clock.nowMs()).toBe(2_000)
})

it("is read afresh outside of turns, and at the first look in each turn", () => {
  const { source, clock } = settable()
  clock.nowMs()
  source.atMs = 1_001
  expect(clock.nowMs()).toBe(1_001)
  source.atMs = 1_002
  clock.enter()
  expect(clock.nowMs()).toBe(1_002)
  clock.leave()
  source.atMs = 1_003
  clock.enter()
  expect(clock.nowMs()).toBe(1_003)
})

it("reads nothing in a turn in which nobody asks", () => {
  const { source, clock } = settable()
  clock.enter()
  clock.leave()
  expect(source.reads).toBe(0)
})

it("goes on at its pace when the machine's clock is set back", () => {
  const { source, clock } = settable()
  clock.nowMs()
  source.atMs = 400
  expect(clock.nowMs()).toBe(1_000)
  source.atMs = 410
  expect(clock.nowMs()).toBe(1_010)
  source.atMs = 300
  expect(clock.nowMs()).toBe(1_010)
  source.atMs = 305
  expect(clock.nowMs()).toBe(1_015)
})
