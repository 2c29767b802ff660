/**
 * The wheel against a plain list of deadlines: what fires, when, in which order, and when it wants to be woken.
 *
 * A deadline that is still ahead when it is scheduled is fired in the order of the deadlines. One that has passed
 * already is due at once, and the order says nothing of it; the list marks it `isLate`.
 */
import { describe, expect, it } from "vitest"
import { TimingWheel } from "../../src/kernel/TimingWheel.ts"
import { forAllSeeds, propertyTimeoutMs, type Random } from "../support/Random.ts"

const slotCount = 12 // few enough that buckets are shared and slots are scheduled again
const horizonMs = 64 ** 7
const nothing = (): void => {}

/** How far away a moment is: near, at the edges of the wheel's levels, years ahead, beyond its horizon. */
const randomDelayMs = (random: Random): number => {
  const kind = random.below(10)
  if (kind < 4) return random.between(0, 70)
  if (kind < 8) return Math.max(0, 64 ** random.between(1, 4) * random.between(1, 3) + random.between(-2, 2))
  if (kind === 8) return 64 ** random.between(5, 6) * random.between(1, 63) + random.between(-70, 70)
  return horizonMs * random.between(1, 3) + random.between(-70, 70)
}

class Schedule {
  readonly wheel: TimingWheel
  readonly pending = new Map<number, { deadlineMs: number; isLate: boolean }>()
  nowMs: number
  /** The instant of the latest `advance`: what was due then may still be waiting if its limit was reached. */
  private reachedMs: number
  private reentries = 0

  constructor(private readonly random: Random) {
    this.nowMs = random.pick([0, 1, 63, 64, 1_700_000_000_000, 64 ** 6 - 3])
    this.reachedMs = this.nowMs
    this.wheel = new TimingWheel(this.nowMs, slotCount)
  }

  step(): void {
    const kind = this.random.below(12)
    if (kind < 5) this.scheduleOne()
    else if (kind < 7) this.cancelOne()
    else if (kind < 11) {
      if (this.random.oneIn(2)) this.nowMs += randomDelayMs(this.random)
      else if (this.pending.size > 0) this.nowMs = Math.max(this.nowMs, this.earliestMs())
      this.reentries = 5
      this.advance(this.random.pick([1, 1, 2, 5, Number.MAX_SAFE_INTEGER]))
    } else if (this.random.oneIn(4)) this.clear()
    this.check()
  }

  /** Lets all the rest fire, however far away. */
  drain(): void {
    this.reentries = 0
    while (this.pending.size > 0) {
      this.nowMs = Math.max(this.nowMs, this.earliestMs())
      this.advance(this.random.between(1, 9))
      this.check()
    }
  }

  private scheduleOne(slot = this.random.below(slotCount)): void {
    const before = this.pending.has(slot) ? undefined : this.wheel.nextWakeMs()
    const delayMs = this.random.oneIn(8) ? -this.random.between(1, 5000) : randomDelayMs(this.random)
    const deadlineMs = this.nowMs + delayMs
    const wakeMs = this.wheel.schedule(slot, deadlineMs)
    this.pending.set(slot, { deadlineMs, isLate: deadlineMs <= this.reachedMs })
    expect(wakeMs).toBeLessThanOrEqual(Math.max(deadlineMs, this.reachedMs))
    if (before !== undefined) expect(this.wheel.nextWakeMs()).toBe(Math.min(before, wakeMs))
  }

  private cancelOne(slot = this.random.below(slotCount)): void {
    this.wheel.cancel(slot)
    this.pending.delete(slot)
  }

  private clear(): void {
    this.wheel.clear()
    this.pending.clear()
  }

  private advance(limit: number): void {
    let fired = 0
    this.reachedMs = Math.max(this.reachedMs, this.nowMs)
    const nowMs = this.nowMs
    const work = this.wheel.advance(nowMs, limit, (slot, deadlineMs) => {
      fired++
      this.onFire(slot, deadlineMs)
    })
    expect(work).toBeLessThanOrEqual(limit)
    expect(fired).toBeLessThanOrEqual(work)
    if (work < limit) expect(this.earliestMs()).toBeGreaterThan(nowMs)
  }

  private onFire(slot: number, deadlineMs: number): void {
    const fired = this.pending.get(slot)
    if (fired === undefined) throw new Error(`slot ${slot} fired without being scheduled`)
    expect(deadlineMs).toBe(fired.deadlineMs)
    expect(deadlineMs).toBeLessThanOrEqual(this.nowMs)
    this.pending.delete(slot)
    if (!fired.isLate) {
      for (const [other, { deadlineMs: otherMs, isLate }] of this.pending) {
        if (!isLate && otherMs < deadlineMs) throw new Error(`${slot}@${deadlineMs} fired before ${other}@${otherMs}`)
      }
    }
    this.wheel.checkInvariants()
    for (; this.reentries > 0 && this.random.oneIn(2); this.reentries--) this.reenter(slot)
  }

  private reenter(slot: number): void {
    const kind = this.random.below(8)
    if (kind < 2) this.scheduleOne(slot)
    else if (kind < 4) this.scheduleOne()
    else if (kind < 6) this.cancelOne()
    else if (kind === 6) {
      this.nowMs += this.random.pick([0, 1, 64, 100])
      this.advance(Number.MAX_SAFE_INTEGER)
      if (this.random.oneIn(2)) this.clear()
    } else this.cancelOne(slot)
  }

  private earliestMs(): number {
    let earliest = Number.POSITIVE_INFINITY
    for (const { deadlineMs } of this.pending.values()) earliest = Math.min(earliest, deadlineMs)
    return earliest
  }

  private check(): void {
    this.wheel.checkInvariants()
    expect(this.wheel.size).toBe(this.pending.size)
    const wakeMs = this.wheel.nextWakeMs()
    if (this.pending.size === 0) expect(wakeMs).toBe(Number.POSITIVE_INFINITY)
    else expect(wakeMs).toBeLessThanOrEqual(Math.max(this.earliestMs(), this.reachedMs))
  }
}

describe("TimingWheel", () => {
  it("fires what a plain list of deadlines says, in order, whatever re-enters", {
    timeout: propertyTimeoutMs
  }, async () => {
    await forAllSeeds(3000, (random) => {
      const schedule = new Schedule(random)
      for (let step = 0; step < 40; step++) schedule.step()
      schedule.drain()
    })
  })

  it("reaches every deadline by following nextWakeMs, at most one wake a level and horizon", {
    timeout: propertyTimeoutMs
  }, async () => {
    await forAllSeeds(4000, (random) => {
      const startMs = random.pick([0, 1_700_000_000_000]) + random.below(64 ** 3)
      const wheel = new TimingWheel(startMs, 1)
      const deadlineMs = startMs + randomDelayMs(random)
      let wakes = 0
      let wakeMs = wheel.schedule(0, deadlineMs)
      const fired: number[] = []
      while (fired.length === 0) {
        wakes++
        wheel.advance(wakeMs, Number.MAX_SAFE_INTEGER, () => fired.push(wakeMs))
        const next = wheel.nextWakeMs()
        expect(next).toBeGreaterThan(wakeMs)
        wakeMs = next
      }
      expect(fired).toEqual([deadlineMs])
      expect(wakes).toBeLessThanOrEqual(7 + 2 * Math.ceil((deadlineMs - startMs) / horizonMs))
    })
  })

  it("is awake at once, and makes progress with a limit of 1, while something due is left", {
    timeout: propertyTimeoutMs
  }, async () => {
    await forAllSeeds(1000, (random) => {
      const wheel = new TimingWheel(0, slotCount)
      for (let slot = 0; slot < slotCount; slot++) wheel.schedule(slot, random.between(1, 64 ** 3))
      const nowMs = 64 ** 3
      let fired = 0
      while (fired < slotCount) {
        expect(wheel.nextWakeMs()).toBeLessThanOrEqual(nowMs)
        expect(wheel.advance(nowMs, 1, () => fired++)).toBe(1)
        wheel.checkInvariants()
      }
      expect(wheel.advance(nowMs, 1, nothing)).toBe(0)
    })
  })

  it("spreads 100,000 slots of one bucket over calls that each keep to the limit", () => {
    const count = 100_000
    const wheel = new TimingWheel(0, count)
    const deadlineMs = 64 ** 2 + 5 * 64 + 7 // passes three levels
    for (let slot = 0; slot < count; slot++) wheel.schedule(slot, deadlineMs)
    const fired: number[] = []
    let [calls, total] = [0, 0]
    for (let work = 256; work === 256; calls++) {
      const before = fired.length
      work = wheel.advance(deadlineMs, 256, (slot) => fired.push(slot))
      expect(fired.length - before).toBeLessThanOrEqual(work)
      total += work
    }
    expect(fired).toEqual(Array.from({ length: count }, (_, slot) => slot))
    expect(total).toBe(3 * count)
    expect(calls).toBe(Math.floor(total / 256) + 1)
  })

  it("leaves alone a slot that comes into the bucket just fired while its turn is a round away", () => {
    const wheel = new TimingWheel(0, 2)
    const fired: string[] = []
    wheel.schedule(0, 10)
    wheel.advance(10, 100, (slot, deadlineMs) => {
      fired.push(`${slot}@${deadlineMs}`)
      if (slot !== 0) return
      wheel.advance(20, 100, nothing)
      wheel.schedule(1, 10 + 64)
    })
    expect(fired).toEqual(["0@10"])
    expect(wheel.advance(74, 100, (slot, deadlineMs) => fired.push(`${slot}@${deadlineMs}`))).toBe(1)
    expect(fired).toEqual(["0@10", "1@74"])
  })

  it("keeps its slots when it grows", () => {
    const wheel = new TimingWheel(0, 1)
    wheel.schedule(0, 100)
    wheel.grow(3)
    wheel.schedule(2, 50)
    wheel.checkInvariants()
    const fired: number[] = []
    wheel.advance(100, 100, (slot) => fired.push(slot))
    expect(fired).toEqual([2, 0])
  })

  it("is found out by checkInvariants when a list is broken", () => {
    const wheel = new TimingWheel(0, 2)
    wheel.schedule(0, 10)
    const insides = wheel as unknown as { linked: number; deadlines: Float64Array; occupied: Int32Array }
    insides.linked = 2
    expect(() => wheel.checkInvariants()).toThrow("1 slots linked, 2 counted")
    insides.linked = 1
    insides.deadlines[0] = 11
    expect(() => wheel.checkInvariants()).toThrow("slot 0 is misplaced")
    insides.deadlines[0] = 10
    insides.occupied[0] = 0
    expect(() => wheel.checkInvariants()).toThrow("occupancy of bucket 10 is wrong")
  })
})
