/** What the log hears of members: of whole instances in virtual time, and of a table that the test holds. */
import { Context, Effect, Layer, Logger } from "effect"
import { describe, expect, it } from "vitest"
import { layerWith } from "../../src/App.ts"
import { Coherence } from "../../src/coherence/index.ts"
import { MembershipLog } from "../../src/coherence/MembershipLog.ts"
import { Member } from "../../src/coherence/protocol/Members.ts"
import * as Memory from "../../src/coherence/transport/Memory.ts"
import { eventually } from "../support/eventually.ts"
import { House, Village } from "./Village.ts"

/** What a house's log says, with a look each 250 ms; it begins with its start. */
class Told {
  lines: string[] = []
  private readonly log: MembershipLog

  constructor(private readonly house: House) {
    const { instance, village } = house
    this.log = new MembershipLog(instance, {
      nowMs: () => village.nowMs,
      degradedForMs: () => instance.status().degradedForMs,
      degradedWhy: () => instance.status().degradedWhy,
      regionOf: (region) => (region === 1 ? "here" : String(region))
    })
    this.look()
  }

  look(): void {
    for (const { level, text } of this.log.look()) this.lines.push(`${level}: ${text}`)
    this.house.village.time.after(250, () => this.look())
  }

  /** What was said meanwhile. */
  during(ms: number): readonly string[] {
    this.lines = []
    this.house.village.run(ms)
    return this.lines
  }
}

const settled = (count: number) => {
  const village = new Village(count)
  const told = new Told(village.houses[0] as House)
  return { village, told, houses: village.houses, first: told.during(1_500) }
}

/** One more, linked with all of them. */
const arrive = (village: Village): House => {
  const house = new House(village, village.houses.length + 1)
  for (const other of village.houses) {
    other.instance.onLinkUp({ origin: house.origin, region: 1 })
    house.instance.onLinkUp({ origin: other.origin, region: 1 })
  }
  village.houses.push(house)
  house.instance.settled()
  return house
}

const name = (origin: number): string => origin.toString(16).padStart(14, "0")

describe("the log of an instance", () => {
  it("begins with who is there", () => {
    const { village, told } = settled(3)
    expect(told.during(60_000)).toEqual([]) // nothing changes
    const log = new Told(village.houses[1] as House)
    expect(log.lines).toEqual([`info: 2 instances are there, 2 others now: ${name(1)} (here), ${name(3)} (here)`])
  })

  it("tells who comes, says good-bye, is gone, is forgotten and comes back", () => {
    const { village, houses, told } = settled(2)
    const [a, b] = houses as [House, House]
    const c = arrive(village)
    expect(told.during(2_000)).toEqual([`info: instance ${name(3)} (here) joined: 2 others now`])
    c.instance.leave()
    expect(told.during(2_000)).toEqual([`info: instance ${name(3)} (here) has said good-bye: 1 other now`])
    village.isLost = (_, from, to) => from === b || to === b
    a.instance.onGone(b.origin)
    expect(told.during(2_000)).toEqual([`info: instance ${name(2)} (here) is gone: 0 others now`])
    village.isLost = () => false
    expect(told.during(2_000)).toEqual([`info: instance ${name(2)} (here) joined: 1 other now`])
    village.isLost = (_, from, to) => from === b || to === b
    told.during(2_000)
    a.instance.forget(b.origin)
    expect(told.during(2_000)[0]).toBe(`info: instance ${name(2)} (here) was forgotten: 0 others now`)
  })

  it("warns once of being degraded, and tells when it is over", () => {
    const { village, houses, told } = settled(3)
    const b = houses[1] as House
    village.isLost = (_, from) => from === b
    const warned = told.during(30_000)
    expect(warned).toEqual([expect.stringMatching(/^warning: not coherent for 1\.[0-3] s: suspect/)])
    village.isLost = () => false
    expect(told.during(2_000)).toEqual([expect.stringMatching(/^info: coherent again after (29|30)\.\d s$/)])
    expect(told.during(10_000)).toEqual([])
  })

  it("keeps a moment of it for itself", () => {
    const { village, houses, told } = settled(3)
    const [a, b] = houses as [House, House]
    village.isLost = (_, from) => from === b
    village.time.after(900, () => {
      expect(a.instance.isCoherent).toBe(false)
      village.isLost = () => false
    })
    expect(told.during(10_000)).toEqual([])
    expect(a.instance.stats.degradedTimes).toBe(1)
  })
})

describe("the log of a table", () => {
  const table = () => {
    const [live, dead] = [new Map<number, Member>(), new Map<number, Member>()]
    const port = { members: { live, dead }, isJoined: true, isCoherent: true }
    const state = { nowMs: 0, why: ["it has not joined the others yet"] as readonly string[], sinceMs: 0 }
    const log = new MembershipLog(port, {
      nowMs: () => state.nowMs,
      degradedForMs: () => state.nowMs - state.sinceMs,
      degradedWhy: () => state.why,
      regionOf: String
    })
    const add = (origin: number): Member => {
      const member = new Member(origin, 7, 8, 0)
      member.split = 1
      live.set(origin, member)
      return member
    }
    const at = (nowMs: number): readonly string[] => {
      state.nowMs = nowMs
      return log.look().map(({ text }) => text)
    }
    return { live, dead, port, state, add, at }
  }

  it("joins what happens within a second, and names ten", () => {
    const { live, add, at } = table()
    expect(at(0)).toEqual([])
    add(1)
    expect(at(250)).toEqual([`instance ${name(1)} (7) joined: 1 other now`])
    for (let origin = 2; origin <= 500; origin++) add(origin)
    for (const nowMs of [500, 750, 1_000]) expect(at(nowMs)).toEqual([])
    const [line = "", ...others] = at(1_250)
    expect(others).toEqual([])
    expect(line).toMatch(/^499 instances joined, 500 others now: 00000000000002 \(7\), .*, and 489 more$/)
    expect(line.match(/\(7\)/g)).toHaveLength(10)
    live.clear()
    expect(at(2_250)).toEqual([expect.stringMatching(/^500 instances are gone, 0 others now: /)])
  })

  it("waits for a member until it was heard of and has joined, and forgets one that never was", () => {
    const { live, add, at } = table()
    const [unheard, joining] = [add(1), add(2)]
    unheard.isSuspect = true
    joining.split = 0
    expect(at(0)).toEqual([])
    joining.split = 3
    expect(at(1_000)).toEqual([`instance ${name(2)} (7) joined: 1 other now`])
    live.delete(1)
    expect(at(2_000)).toEqual([])
  })

  it("does not end a member that only is not heard of", () => {
    const { add, at } = table()
    const member = add(1)
    expect(at(0)).toEqual([`instance ${name(1)} (7) is there: 1 other now`])
    member.isSuspect = true
    expect(at(5_000)).toEqual([])
  })

  it("says nothing of a start that takes less than five seconds, and then that it is over", () => {
    const { port, at, add } = table()
    Object.assign(port, { isJoined: false, isCoherent: false })
    add(1)
    for (const nowMs of [0, 2_500, 4_999]) expect(at(nowMs)).toEqual([])
    expect(at(5_000)).toEqual(["not coherent for 5.0 s: it has not joined the others yet"])
    expect(at(6_000)).toEqual([])
    Object.assign(port, { isJoined: true, isCoherent: true })
    expect(at(6_200)).toEqual([`instance ${name(1)} (7) is there: 1 other now`, "coherent after 6.2 s"])
  })

  it("gives eight of the reasons", () => {
    const { port, state, at } = table()
    at(0)
    port.isCoherent = false
    state.why = Array.from({ length: 300 }, (_, n) => `reason ${n}`)
    expect(at(1_000)[0]).toMatch(/^not coherent for 1\.0 s: reason 0; .*; reason 7; and 292 more$/)
  })
})

describe("the log of a program", () => {
  it("has the members where that is wanted", () => {
    const said: string[] = []
    const logger = Logger.make(({ logLevel, message }) => void said.push(`${logLevel.label} ${message}`))
    const told = Effect.gen(function* () {
      const network = Layer.succeedContext(yield* Layer.build(Memory.layerNetwork))
      const transport = Layer.provide(Memory.layer, network)
      const programWith = (logsMembers: boolean) =>
        Effect.map(
          Layer.build(layerWith({ namespace: "shop", coherence: { logsMembers } }, [], { transport })),
          (services) => Context.get(services, Coherence.Coherence)?.status().name
        )
      yield* programWith(true)
      const joined = `INFO coherence: instance ${yield* programWith(false)} (default) joined: 1 other now`
      yield* Effect.promise(() => eventually(() => said.includes(joined)))
      expect(said.filter((line) => line.includes("coherence:"))).toEqual([joined]) // nothing by the second one
    })
    return Effect.runPromise(Effect.provide(Effect.scoped(told), Logger.replace(Logger.defaultLogger, logger)))
  })
})
