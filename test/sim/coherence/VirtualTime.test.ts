import { describe, expect, it } from "vitest"
import { forAllSeeds } from "../../support/Random.ts"
import { VirtualTime } from "./VirtualTime.ts"

describe("VirtualTime", () => {
  it("runs events by their time, and equal times in the order of asking", () => {
    const time = new VirtualTime()
    const ran: string[] = []
    time.at(5, () => ran.push("b"))
    time.at(5, () => ran.push("c"))
    time.at(1, () => ran.push("a"))
    time.runUntil(5)
    expect(ran).toEqual(["a", "b", "c"])
    expect(time.nowMs).toBe(5)
  })

  it("runs what was asked for a time that has passed now, behind what was asked for now before", () => {
    const time = new VirtualTime()
    const ran: string[] = []
    time.at(3, () => {
      time.at(3, () => ran.push("first"))
      time.at(1, () => ran.push("second"))
    })
    time.runUntil(3)
    expect(ran).toEqual(["first", "second"])
  })

  it("leaves what comes after the end for later", () => {
    const time = new VirtualTime()
    let ran = 0
    time.at(10.5, () => ran++)
    time.runUntil(10)
    expect([ran, time.pending]).toEqual([0, 1])
    time.runUntil(11)
    expect([ran, time.pending]).toEqual([1, 0])
  })

  it("says so when time does not move any more", () => {
    const time = new VirtualTime()
    const again = (): void => time.after(0, again)
    again()
    expect(() => time.runUntil(1, 1_000)).toThrow("livelock")
  })

  it("is a sorted list, whatever is asked for (model)", () =>
    forAllSeeds(200, (random) => {
      const time = new VirtualTime()
      const ran: number[] = []
      const wanted: Array<[number, number]> = []
      for (let id = 0; id < 60; id++) {
        const atMs = random.below(20)
        wanted.push([atMs, id])
        time.at(atMs, () => ran.push(id))
      }
      time.runUntil(20)
      expect(ran).toEqual(wanted.sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(([, id]) => id))
    }))
})
