import { describe, expect, it } from "vitest"
import { PeerBook, type Target } from "../../../../src/coherence/transport/internal/peerBook.ts"

const wanted = () => true
const x = { origin: 1, region: 0, address: "10.0.0.1:1" }
const y = { origin: 2, region: 0, address: "10.0.0.1:1" }
const z = { origin: 3, region: 0, address: "10.0.0.1:1" }

const book = (targetsMax = 10) => new PeerBook({ random: () => 0.5, targetsMax })
const dialed = (of: PeerBook, nowMs: number): string[] =>
  of.due(nowMs, 10, wanted).map(({ target, isProbe }) => `${isProbe ? "asks" : "dials"} ${target.address}`)
const target = (of: PeerBook, address: string): Target => {
  const found = of.targets.get(address)
  if (found === undefined) throw new Error(`${address} is not in the book`)
  return found
}
/** A link that we dialed, and that is lost at time 0. */
const lost = () => {
  const of = book()
  of.note(x.address, "beacon", x, 0)
  of.due(0, 1, wanted)
  of.onAnswer(target(of, x.address), x)
  of.onLinkUp(x, x.address, false, 0)
  of.onLinkDown(x.origin, false, 0)
  return of
}

describe("what is dialed", () => {
  it("is a seed that has led to oneself once more later where it is a name, and never where it is an address", () => {
    const of = book()
    for (const seed of ["cache:7700", "10.0.0.1:7700"]) of.note(seed, "seed", null, 0)
    for (const { target } of of.due(0, 10, wanted)) of.onSelf(target, 0)
    expect(dialed(of, 1)).toEqual([])
    expect(dialed(of, 60_000)).toEqual(["dials cache:7700"])
  })

  it("is whoever is known, wanted and not linked; each once at a time", () => {
    const of = book()
    of.note("a:1", "seed", null, 0)
    of.note(x.address, "beacon", x, 0)
    expect(of.due(0, 10, () => false).map(({ target }) => target.address)).toEqual(["a:1"])
    expect(dialed(of, 0)).toEqual([])
    of.reconsider(5)
    expect(dialed(of, 5)).toEqual([`dials ${x.address}`])
    of.onAnswer(target(of, x.address), x)
    of.onLinkUp(x, x.address, false, 6)
    expect(dialed(of, 1_000_000)).toEqual([])
  })

  it("is one address of a member at a time", () => {
    const of = book()
    of.note(x.address, "beacon", x, 0)
    of.note("127.0.0.1:1", "beacon", x, 0)
    expect(dialed(of, 0)).toEqual([`dials ${x.address}`])
    expect(dialed(of, 1)).toEqual([])
    of.onFailure(target(of, x.address), false, 2)
    expect(dialed(of, 2)).toEqual(["dials 127.0.0.1:1"])
  })

  it("waits longer after each failure, up to a bound", () => {
    const of = book()
    of.note("a:1", "seed", null, 0)
    const waits: number[] = []
    for (let nowMs = 0; waits.length < 10; ) {
      of.due(nowMs, 1, wanted)
      of.onFailure(target(of, "a:1"), true, nowMs)
      waits.push(of.nextDueMs() - nowMs)
      nowMs = of.nextDueMs()
    }
    expect(waits).toEqual([37.5, 75, 150, 300, 600, 1_200, 2_400, 3_750, 3_750, 3_750])
  })

  it("gives up an address that somebody has told and that never answers; never a seed, nor a member that was linked", () => {
    const of = lost()
    of.note("a:1", "seed", null, 0)
    of.note("b:1", "gossip", { origin: 9, region: 0 }, 0)
    for (let nowMs = 0; nowMs < 60_000; nowMs += 1_000) {
      for (const { target } of of.due(nowMs, 10, wanted)) of.onFailure(target, false, nowMs)
    }
    expect([...of.targets.keys()]).toEqual([x.address, "a:1"])
  })

  it("asks once who is at the address that a peer tells of itself, unless both are on this host", () => {
    const of = book()
    of.onLinkUp(x, x.address, false, 0)
    expect(dialed(of, 0)).toEqual([`asks ${x.address}`])
    of.onAnswer(target(of, x.address), x)
    expect(dialed(of, 1_000_000)).toEqual([])
    const here = book()
    here.onLinkUp(x, x.address, true, 0)
    expect(dialed(here, 0)).toEqual([])
  })

  it("holds only so many addresses", () => {
    const of = book(2)
    const noted = ["a:1", "b:1", "c:1"].map((address) => of.note(address, "gossip", null, 0))
    expect(noted).toEqual([true, true, false])
    expect(of.targets.size).toBe(2)
  })

  it("leaves a peer that wants no link alone for a while", () => {
    const of = lost()
    of.onLinkUp(x, x.address, false, 100)
    of.onLinkDown(x.origin, true, 100)
    expect(dialed(of, 5_000)).toEqual([])
    of.reconsider(5_000)
    expect(dialed(of, 5_000)).toEqual([`dials ${x.address}`])
  })
})

describe("who is gone", () => {
  const fails = (of: PeerBook, isRefused: boolean, nowMs: number): number[] => {
    expect(of.due(nowMs, 10, wanted)).toHaveLength(1)
    return of.onFailure(target(of, x.address), isRefused, nowMs)
  }

  it("a member whose address refuses twice, a moment apart", () => {
    const of = lost()
    expect(fails(of, true, 5)).toEqual([])
    expect(dialed(of, 20)).toEqual([])
    expect(fails(of, true, 30)).toEqual([x.origin])
  })

  it("nobody whose address does not answer at all, or answers in between", () => {
    const of = lost()
    expect(fails(of, true, 5)).toEqual([])
    expect(fails(of, false, 100)).toEqual([])
    expect(fails(of, true, 1_000)).toEqual([])
    of.due(2_000, 10, wanted)
    of.onAnswer(target(of, x.address), x)
    of.onLinkUp(x, x.address, false, 2_000)
    of.onLinkDown(x.origin, false, 2_000)
    expect(fails(of, true, 2_010)).toEqual([])
  })

  it("nobody whose address never answered: it may be that of a router", () => {
    const of = book()
    of.onLinkUp(x, x.address, false, 0)
    of.onLinkDown(x.origin, false, 0)
    for (let nowMs = 10; nowMs < 50_000; nowMs += 1_000) {
      for (const { target } of of.due(nowMs, 10, wanted)) expect(of.onFailure(target, true, nowMs)).toEqual([])
    }
  })

  it("nobody who was found by a seed that is a name: it may be that of several, unless one says that it is its own", () => {
    for (const isOwn of [false, true]) {
      const of = book()
      const name = "cache:7700"
      of.note(name, "seed", null, 0)
      of.due(0, 1, wanted)
      of.onAnswer(target(of, name), x)
      of.onLinkUp(x, name, false, 0)
      if (isOwn) of.own(name)
      of.onLinkDown(x.origin, false, 0)
      of.due(5, 10, wanted)
      expect(of.onFailure(target(of, name), true, 5)).toEqual([])
      expect(of.onFailure(target(of, name), true, 50)).toEqual(isOwn ? [x.origin] : [])
      if (!isOwn) expect(of.onAnswer(target(of, name), y)).toEqual([])
    }
  })

  it("a member whose address answers as another one", () => {
    const of = lost()
    of.due(5, 10, wanted)
    expect(of.onAnswer(target(of, y.address), y)).toEqual([x.origin])
  })

  it("a member that had said to be where another one was, and has ended before anybody had a look", () => {
    for (const isHere of [true, false]) {
      const of = lost() // x was there
      of.onLinkUp(y, y.address, isHere, 5)
      of.due(6, 10, wanted)
      of.onLinkDown(y.origin, false, 7)
      expect(of.onAnswer(target(of, z.address), z)).toEqual([y.origin, x.origin])
    }
  })

  it("both of them, when nobody is there any more", () => {
    const of = lost()
    of.onLinkUp(y, y.address, true, 5)
    of.due(6, 10, wanted)
    of.onLinkDown(y.origin, false, 7)
    expect(of.onFailure(target(of, y.address), true, 8)).toEqual([])
    expect(of.onFailure(target(of, y.address), true, 40)).toEqual([y.origin, x.origin])
  })

  it("whoever was said to be where another one answers, and was never linked", () => {
    const of = book()
    of.note(x.address, "gossip", x, 0)
    of.onLinkUp(y, y.address, true, 5)
    expect(dialed(of, 6)).toEqual([`asks ${y.address}`])
    expect(of.onAnswer(target(of, y.address), y)).toEqual([x.origin])
    of.note(y.address, "gossip", x, 7)
    expect(dialed(of, 8)).toEqual([])
  })

  it("whoever was said to be on this host, where nobody listens", () => {
    const of = book()
    of.note("127.0.0.1:1", "gossip", x, 0)
    of.due(0, 10, wanted)
    expect(of.onFailure(target(of, "127.0.0.1:1"), true, 1)).toEqual([])
    of.due(30, 10, wanted)
    expect(of.onFailure(target(of, "127.0.0.1:1"), true, 30)).toEqual([x.origin])
  })

  it("nobody who is linked and has said to be where another one answers", () => {
    const of = lost()
    of.onLinkUp(y, y.address, true, 5)
    of.due(6, 10, wanted)
    expect(of.onAnswer(target(of, x.address), x)).toEqual([])
    of.onLinkDown(y.origin, false, 7)
    of.due(20, 10, wanted)
    expect(of.onAnswer(target(of, x.address), x)).toEqual([y.origin])
  })

  it("is not brought back by gossip, but by a beacon of its own, and looked for at its address a while longer", () => {
    const of = lost()
    fails(of, true, 5)
    fails(of, true, 30)
    expect(of.note("10.0.0.9:1", "gossip", x, 50)).toBe(false)
    expect(of.note("10.0.0.9:1", "beacon", x, 50)).toBe(true)
    of.due(60, 10, wanted)
    expect(dialed(of, 10_000)).toEqual([`dials ${x.address}`])
    for (let nowMs = 10_000; nowMs < 1_000_000; nowMs += 5_000) {
      of.onFailure(target(of, x.address), true, nowMs)
      if (!of.targets.has(x.address)) break
      of.due(nowMs + 5_000, 10, wanted)
    }
    expect(of.targets.has(x.address)).toBe(false)
  })
})
