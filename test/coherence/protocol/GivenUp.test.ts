/** What was given up, as nobody had it any more, and is learnt of after all. */
import { describe, expect, it } from "vitest"
import { encode, Op } from "../../../src/coherence/protocol/Frame.ts"
import { type Guest, leafOf, lost, Room } from "./Room.ts"

const header = { namespace: 9, author: 1, to: 0, region: 0, hops: 0 }
const invOf = (first: number, hash: number, hops = 0): Uint8Array => {
  const records = [{ op: Op.tag, flags: 0, hash, version: 20 }]
  return encode({ type: "inv", ...header, hops, isReplay: false, wantsAck: false, first, records })
}

/** What was applied of the records of the first. */
const ofA = (guest: Guest): string[] => guest.told.filter((what) => what.startsWith("1:"))
const hasGivenUp = (guest: Guest): boolean => guest.told.includes("epoch")

/** Each has joined alone. */
const three = (room: Room): [Guest, Guest, Guest] =>
  [1, 2, 3].map((origin) => room.add(origin, { isAlone: true })) as never
const four = (room: Room): [Guest, Guest, Guest, Guest] => [...three(room), room.add(4, { isAlone: true })]

/** b has given up what a wrote, who is dead; c, a stranger to b, has received it. */
const strangers = (): [Room, Guest, Guest, Guest] => {
  const room = new Room({ membersMax: 8 })
  const [a, b, c] = three(room)
  room.link(a, b)
  room.run(400)
  b.set(9, "own")
  room.run(5)
  for (const hash of [71, 72]) a.wide(Op.tag, hash)
  room.run(105, lost("inv", "pull", "buckets")) // a heartbeat tells of them
  room.unlink(a, b)
  room.link(a, c)
  room.run(100)
  room.kill(a)
  b.instance.onGone(a.origin)
  room.run(600)
  expect([hasGivenUp(b), ofA(b), ofA(c)]).toEqual([true, [], ["1:71", "1:72"]])
  return [room, a, b, c]
}

/** b, c and d of one region have given up tag 70 of a, who is dead; one of another region has it. */
const acrossRegions = (slow: readonly number[] = []) => {
  const room = new Room({ membersMax: 8 })
  const near = [1, 2, 3, 4].map((origin) =>
    room.add(origin, { isAlone: true, parameters: { gapLimitMs: slow.includes(origin) ? 1_000 : 100 } })
  )
  const [a, b, c, d] = near as [Guest, Guest, Guest, Guest]
  const far = room.add(5, { region: 1, isAlone: true })
  room.linkAll(near)
  room.link(a, far)
  room.run(405)
  a.wide(Op.tag, 70)
  a.instance.flush()
  room.deliver((_, to) => to !== far.origin)
  room.run(105, (frame, to) => to !== far.origin && lost("inv", "pull", "buckets")(frame))
  room.kill(a)
  for (const each of [b, c, d]) each.instance.forget(far.origin)
  room.run(200)
  const relays = [b, c, d].filter(({ instance }) => instance.status().isRelay)
  const leaf = leafOf([b, c, d])
  expect([hasGivenUp(leaf), ofA(leaf), ofA(far)]).toEqual([true, [], ["1:70"]])
  return { room, far, relays, leaf }
}

describe("what was given up is told of", () => {
  it("by its author, who was taken for dead and is not", () => {
    const [room, a, b, c] = Room.of(3) as [Room, Guest, Guest, Guest]
    b.set(9, "own")
    room.run(5)
    a.wide(Op.tag, 70)
    room.run(105, lost("inv", "pull")) // a heartbeat tells of it
    for (const each of [b, c]) {
      room.cut(a, each)
      room.cut(each, a)
    }
    room.run(400)
    for (const each of [b, c]) each.instance.forget(a.origin)
    room.run(400)
    expect(hasGivenUp(b)).toBe(true)
    expect(b.get(9)).toBe("own")
    room.mend()
    room.run(200, lost("buckets"))
    expect(b.instance.status()).toMatchObject({ isCoherent: false, degradedWhy: ["comparing"] })
    room.run(200)
    expect(b.get(9)).toBeUndefined()
    expect(b.told.filter((what) => what === "buckets of 1")).toHaveLength(1)
    expect(b.instance.isCoherent).toBe(true)
  })

  it("by its author, and may come late instead", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    a.wide(Op.tag, 70)
    a.instance.flush()
    const late = room.wire.splice(0) as unknown as [{ bytes: Uint8Array }]
    room.run(105, lost("inv", "pull")) // a heartbeat tells of it
    b.instance.forget(a.origin)
    room.cut(a, b)
    room.run(400)
    expect(hasGivenUp(b)).toBe(true)
    room.mend()
    room.run(200, lost("buckets"))
    expect(b.instance.status().degradedWhy).toEqual(["comparing"])
    b.instance.onFrame(late[0].bytes, a.origin)
    expect([b.told.at(-1), b.instance.status().degradedWhy]).toEqual(["1:70", []])
    room.run(1_000)
  })

  it("by whom this one meets later, as far as he has it", () => {
    for (const isLost of [() => false, lost("gone"), lost("inv")]) {
      const room = new Room()
      const [a, b, c] = three(room)
      room.link(a, b)
      room.link(a, c)
      room.run(400)
      b.set(9, "own")
      room.run(5)
      for (let count = 1; count <= 5; count++) {
        a.wide(Op.tag, 70 + count)
        a.instance.flush()
        room.deliver((_, to) => to === b.origin || count === 3)
      }
      room.run(105, lost("inv", "pull", "buckets")) // a heartbeat tells of them
      room.kill(a)
      b.instance.forget(c.origin)
      room.run(400)
      expect(hasGivenUp(b)).toBe(true)
      expect([b.get(9), b.member(a)?.contiguous]).toEqual(["own", 5])
      room.link(b, c)
      room.run(20, isLost)
      room.run(400)
      expect(ofA(b)).toEqual(["1:71", "1:72", "1:74", "1:75"])
      expect([b.get(9), b.instance.isCoherent]).toEqual([undefined, true])
    }
  })

  it("by the relays, to all of their region, as only they meet those of another one", () => {
    const { room, far, relays, leaf } = acrossRegions()
    room.run(200)
    for (const relay of relays) room.link(relay, far)
    room.run(5, ({ type }, to) => type === "inv" && to === leaf.origin) // whatever of it is lost
    room.run(10_000)
    expect([...relays, leaf].map((each) => [ofA(each), each.instance.isCoherent])).toEqual([
      [["1:70"], true],
      [["1:70"], true],
      [["1:70"], true]
    ])
  })

  it("by the relays, also where they have not given it up themselves", () => {
    // Each gives up after another random time: the relays, 2 and 4, after a longer one here.
    const { room, far, relays, leaf } = acrossRegions([2, 4])
    expect(relays.map((each) => [each.origin, hasGivenUp(each)])).toEqual([
      [2, false],
      [4, false]
    ])
    for (const relay of relays) room.link(relay, far)
    room.run(10_000)
    expect([relays.map(ofA), leaf.instance.isCoherent]).toEqual([[["1:70"], ["1:70"]], true])
    expect(ofA(leaf)).toEqual(["1:70"])
  })

  it("also where its author has said which buckets have moved, and died before it was asked about own writes", () => {
    const [room, a, b, c] = Room.of(3) as [Room, Guest, Guest, Guest]
    room.cut(a, b)
    room.cut(b, a)
    b.set(3, "overwritten, as nobody remembers")
    a.instance.lamport = 40
    a.set(3, "of a")
    for (let count = 0; count < 12; count++) a.set(35, "of the same bucket")
    room.run(1)
    c.known.delete(3)
    room.mend()
    room.run(300, ({ type }) => {
      if (type === "buckets") room.kill(a)
      return false
    })
    expect([b.told.includes("buckets of 1"), hasGivenUp(b)]).toEqual([true, false])
    room.run(2_000)
    expect([b.get(3), b.told.includes("1:3"), b.instance.isCoherent]).toEqual([undefined, true, true])
  })

  it("by whom this one has met before, who is told of it later", () => {
    const room = new Room({ membersMax: 8 })
    const [a, b, c, d] = four(room)
    for (const each of [b, c, d]) room.link(a, each)
    room.link(b, c)
    room.run(405)
    a.wide(Op.tag, 71)
    a.instance.flush()
    room.deliver((_, to) => to !== d.origin)
    room.run(105, lost("inv", "pull", "buckets"))
    room.kill(a)
    for (const each of [b, c]) each.instance.forget(d.origin)
    room.run(400)
    expect([b, c].map(hasGivenUp)).toEqual([true, true])
    room.link(c, d)
    room.run(50)
    room.kill(d) // before b meets it
    room.run(10_000)
    expect([ofA(c), b.instance.isCoherent]).toEqual([["1:71"], true])
    expect(ofA(b)).toEqual(["1:71"])
  })

  it("by whom is met while he is getting it himself", () => {
    const room = new Room({ membersMax: 8, deadKept: 8 })
    const [a, b, c, d] = four(room)
    for (const each of [b, c, d]) room.link(a, each)
    room.link(c, d)
    room.run(405)
    a.wide(Op.tag, 71)
    a.instance.flush()
    room.deliver((_, to) => to !== d.origin)
    room.run(105, (frame, to) => to !== d.origin && lost("inv", "pull", "buckets")(frame))
    room.kill(a)
    for (const each of [c, d]) b.instance.forget(each.origin)
    room.run(400, lost("inv")) // c goes on asking d
    expect([hasGivenUp(b), hasGivenUp(c), ofA(c)]).toEqual([true, false, []])
    room.link(b, c)
    room.run(5, lost("inv")) // c says that it does not have it
    room.run(10_000)
    expect([ofA(c), b.instance.isCoherent]).toEqual([["1:71"], true])
    expect(ofA(b)).toEqual(["1:71"])
  })

  it("to another region, where not its relays have met who has it", () => {
    const room = new Room({ membersMax: 16, deadKept: 8 })
    const [a, b] = [room.add(1, { isAlone: true }), room.add(2, { isAlone: true })]
    const others = [11, 12, 13, 14].map((origin) => room.add(origin, { region: 1, isAlone: true }))
    room.linkAll(others)
    room.run(400)
    const late = leafOf(others)
    const rest = others.filter((each) => each !== late)
    const relays = rest.filter(({ instance }) => instance.status().isRelay)
    room.link(a, b)
    for (const relay of relays) for (const each of [a, b]) room.link(relay, each)
    room.run(400)
    b.set(9, "own")
    room.run(105)
    a.wide(Op.tag, 70)
    // It reaches this one alone, which is cut off then.
    late.instance.onFrame(invOf(1, 70, 2), relays[0]?.origin as number)
    for (const each of rest) {
      room.cut(each, late)
      room.cut(late, each)
    }
    room.run(105, lost("inv", "pull", "buckets"))
    room.kill(a)
    for (const each of [b, ...rest]) {
      each.instance.onGone(a.origin)
      each.instance.forget(late.origin)
      late.instance.forget(each.origin)
    }
    room.run(1_000)
    for (const each of rest) room.unlink(each, late)
    for (const each of [b, ...rest]) expect([hasGivenUp(each), ofA(each)]).toEqual([true, []])
    room.mend()
    for (const each of rest) room.link(each, late)
    room.run(10_000)
    expect([b, ...rest].map(({ instance }) => instance.isCoherent)).toEqual([true, true, true, true])
    expect(rest.map(ofA)).toEqual([["1:70"], ["1:70"], ["1:70"]])
    expect([ofA(b), b.get(9)]).toEqual([["1:70"], undefined])
  })

  it("from both ends, as who has it may have the last of it alone", () => {
    const room = new Room({ logSize: 64, pullRecordsMax: 2 })
    const [a, b, c] = three(room)
    room.link(a, b)
    room.link(a, c)
    room.run(405)
    for (let at = 10; at <= 29; at++) {
      a.wide(Op.tag, at)
      a.instance.flush()
      room.deliver((_, to) => to === b.origin || at < 28)
    }
    room.run(105, lost("inv", "pull", "buckets"))
    room.kill(a)
    b.instance.forget(c.origin)
    c.instance.forget(b.origin)
    room.run(1_000)
    expect([hasGivenUp(b), ofA(c)]).toEqual([true, ["1:28", "1:29"]])
    room.link(b, c)
    room.run(10)
    expect(ofA(b)).toEqual(["1:28", "1:29"])
  })

  it("and no more where its author has answered for own writes, or there were none", () => {
    for (const hasOwn of [true, false]) {
      const [room, a, b] = Room.of(3) as [Room, Guest, Guest]
      room.cut(a, b)
      room.cut(b, a)
      if (hasOwn) b.set(3, "own")
      for (let count = 0; count < 20; count++) a.set(35, "of the same bucket")
      room.run(1)
      room.mend()
      room.run(300)
      expect(b.told).toContain("buckets of 1")
      room.kill(a)
      let wanted = 0
      room.run(2_000, (frame) => {
        if (frame.type === "vector") wanted += frame.entries.filter(({ holes }) => holes !== undefined).length
        return false
      })
      expect(wanted).toBe(0)
    }
  })
})

describe("until what was given up is told of", () => {
  it("nobody is given what it may be about", () => {
    const [room, , b, c] = strangers()
    room.link(b, c)
    room.deliver() // greetings
    c.fetch(9)
    room.run(5_000)
    expect([ofA(b), b.get(9)]).toEqual([["1:71", "1:72"], undefined])
    expect([c.get(9), c.instance.isCoherent]).toEqual([undefined, true])
  })

  it("who joins has the same to learn", () => {
    const [room, , b, c] = strangers()
    const j = room.add(4)
    room.link(b, j)
    j.instance.settled()
    room.run(400)
    j.fetch(9)
    room.run(50)
    expect(j.get(9)).toBe("own")
    room.link(c, j)
    room.link(b, c)
    room.run(5_000)
    expect([ofA(b), b.get(9)]).toEqual([["1:71", "1:72"], undefined])
    expect([j.get(9), j.instance.isCoherent]).toEqual([undefined, true])
  })
})

describe("what was given up is asked for", () => {
  it("no more when its origin is forgotten", () => {
    const [room, , b, c] = strangers()
    room.link(b, c)
    room.run(2, lost("pull"))
    for (const origin of [11, 12]) b.instance.onGone(origin) // deadKept is 2
    room.run(1_000)
    const before = b.instance.stats.pullsOut
    room.run(20_000)
    expect(b.instance.stats.pullsOut - before).toBe(0)
  })

  it("though another recovery of the same origin is told that its records are gone", () => {
    const [room, a, b, c] = strangers()
    for (const first of [4, 6]) b.instance.onFrame(invOf(first, 70 + first), a.origin) // nobody has what is between
    room.nowMs += 5
    room.link(b, c)
    room.run(10_000)
    expect(b.instance.isCoherent).toBe(true)
    expect(ofA(b)).toEqual(["1:74", "1:76", "1:71", "1:72"])
  })

  it("no longer than there is an answer, with more runs than are kept", () => {
    const room = new Room({ membersMax: 8, intervalsMax: 2, logSize: 64, pullRecordsMax: 20 })
    const [a, b, c] = three(room)
    room.link(a, b)
    room.link(a, c)
    room.run(405)
    for (let at = 1; at <= 9; at++) {
      a.wide(Op.tag, 70 + at)
      a.instance.flush() // b gets 2 and 4, c 7
      room.deliver((_, to) => (to === b.origin ? at !== 2 && at !== 4 : to !== c.origin || at !== 7))
    }
    room.run(105, lost("inv", "pull", "buckets"))
    room.kill(a)
    b.instance.forget(c.origin)
    c.instance.forget(b.origin)
    room.run(2_000)
    expect([hasGivenUp(b), ofA(c)]).toEqual([true, ["1:77"]])
    room.link(b, c)
    room.run(2_000)
    const before = b.instance.stats.pullsOut
    room.run(20_000)
    expect([b.instance.stats.pullsOut - before, ofA(b)]).toEqual([0, ["1:72", "1:74", "1:77"]])
  })

  it("in more runs than are kept, and what lies between them is not applied twice", () => {
    const room = new Room({ membersMax: 8, logSize: 64, pullRecordsMax: 20 })
    const [a, b, c] = [2, 2, 64].map((intervalsMax, at) =>
      room.add(at + 1, { isAlone: true, parameters: { intervalsMax } })
    ) as [Guest, Guest, Guest]
    room.link(a, b)
    room.link(a, c)
    room.link(b, c)
    room.run(400)
    const late: Uint8Array[] = []
    for (let at = 1; at <= 9; at++) {
      a.wide(Op.tag, 70 + at)
      a.instance.flush()
      late.push((room.wire[0] as unknown as { bytes: Uint8Array }).bytes)
      room.deliver(() => at % 2 === 1) // nobody gets the odd ones
    }
    room.run(105, lost("inv", "pull", "buckets"))
    room.kill(a)
    room.run(3_000)
    expect(ofA(b)).toEqual(["1:72", "1:74", "1:76", "1:78"])
    for (const bytes of late) b.instance.onFrame(bytes, a.origin)
    expect(ofA(b).filter((what) => what === "1:76" || what === "1:78")).toEqual(["1:76", "1:78"])
  })
})
