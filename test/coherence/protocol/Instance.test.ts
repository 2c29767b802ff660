import { describe, expect, it } from "vitest"
import { encode, type Frame, type HeartbeatEntry, Op } from "../../../src/coherence/protocol/Frame.ts"
import type { Acknowledged } from "../../../src/coherence/protocol/Instance.ts"
import { type Guest, leafOf, lost, Room, tiny } from "./Room.ts"

const header = { namespace: 9, author: 2, to: 0, region: 0, hops: 0 }
const record = (hash: number, version: number) => ({ op: Op.key, flags: 0, hash, version })
const inv = (first: number, records: ReturnType<typeof record>[]): Frame => ({
  type: "inv",
  ...header,
  isReplay: false,
  wantsAck: false,
  first,
  records
})

/** What a heartbeat says of an instance. */
const entryOf = (origin: number, said: Partial<HeartbeatEntry> = {}): HeartbeatEntry => ({
  ...{ origin, region: 0, split: 1, last: 0, oldest: 1, lamport: 1, ageMs: 0 },
  ...said
})

/** Two, each alone in its region, that are linked and have joined. */
const farApart = (): [Room, Guest, Guest] => {
  const room = new Room()
  const [a, b] = [room.add(1), room.add(2, { region: 1 })]
  room.link(a, b)
  for (const { instance } of [a, b]) instance.settled()
  room.run(400)
  return [room, a, b]
}

describe("a write", () => {
  it("removes what others hold of its key, once", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    b.set(7, "old")
    room.run(2)
    a.set(7, "new")
    a.instance.flush()
    const [frame] = room.wire as unknown as [{ bytes: Uint8Array }]
    room.deliver()
    expect(b.get(7)).toBeUndefined()
    b.told.length = 0
    b.instance.onFrame(frame.bytes, a.origin)
    expect(b.told).toEqual([])
    expect(b.instance.stats.recordsDuplicate).toBe(1)
  })

  it("of two at once leaves the one with the higher version, then the higher origin, on both", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    a.set(7, "of a")
    b.set(7, "of b")
    room.run(2)
    expect([a.get(7), b.get(7)]).toEqual([undefined, "of b"])
  })

  it("leaves with others of its turn in one frame, and in batches where they are many", () => {
    const [room, a] = Room.of(2) as [Room, Guest]
    for (const hash of [1, 2, 3]) a.set(hash)
    expect(room.under("inv")).toEqual([])
    a.instance.tick()
    expect(room.under("inv").map(({ records }) => records.length)).toEqual([3])
    room.deliver()
    for (let hash = 1; hash <= 6; hash++) a.set(hash)
    expect(room.under("inv").map(({ records }) => records.length)).toEqual([4]) // a full batch does not wait
  })

  it("that has not left yet is amended by the next one of its key", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    const sequence = a.set(7)
    expect(sequence).toBeGreaterThan(a.instance.sealed)
    a.instance.amend(sequence, ++a.instance.lamport, 0)
    room.run(1)
    expect(b.known.get(7)?.version).toBe(a.instance.lamport)
    expect(a.instance.sealed).toBe(sequence)
  })

  it("takes a version above all that were heard of", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    a.instance.lamport = 40
    a.set(1)
    room.run(1)
    expect(b.instance.lamport).toBe(41)
    a.instance.lamport = 90 // said by the next heartbeat alone
    room.run(110)
    expect(b.instance.lamport).toBe(90)
  })

  it("takes a version above the time of day, so that others do not take what a new one writes for old", () => {
    const [room, a] = Room.of(1) as [Room, Guest]
    a.instance.lamport = 40
    a.set(7, "old")
    const b = room.add(2, { timeOfDayMs: () => 1_000.5 })
    b.set(7, "new")
    room.link(a, b)
    b.instance.settled()
    room.run(400)
    expect([a.get(7), b.get(7)]).toEqual([undefined, "new"])
    expect(b.known.get(7)?.version).toBe(1_001)
  })

  it("keeps up with the time of day: of two that did not hear each other who wrote later wins, not who wrote more", () => {
    const room = new Room()
    const timeOfDayMs = () => room.nowMs
    const [a, b] = [room.add(1, { isAlone: true, timeOfDayMs }), room.add(2, { isAlone: true, timeOfDayMs })]
    room.link(a, b)
    room.run(300)
    room.cut(a, b)
    room.cut(b, a)
    for (let count = 0; count < 50; count++) b.set(7, "earlier")
    room.run(400)
    a.set(7, "later")
    room.mend()
    room.run(2_000)
    expect([a.get(7), b.get(7)]).toEqual(["later", undefined])
  })

  it("takes a version above those of records that it has only been told of", () => {
    const [room, a, b, c] = Room.of(3) as [Room, Guest, Guest, Guest]
    a.instance.lamport = 40
    a.set(1)
    room.cut(a, b)
    room.run(1)
    const told = (["vector", "leave"] as const).map((type) => {
      b.instance.lamport = 0
      if (type === "vector") room.run(1_100, (frame) => frame.type === "heartbeat")
      else {
        room.mend()
        c.instance.leave()
        room.deliver((frame) => frame.type !== "leave")
      }
      return b.instance.lamport
    })
    expect(told).toEqual([41, 41])
  })

  it("is told of by moved buckets where the log has overwritten it before it left", () => {
    const [room, a, b] = Room.of(2, { batchRecordsMax: 64 }) as [Room, Guest, Guest]
    for (let hash = 1; hash <= 20; hash++) a.set(hash)
    room.run(60)
    expect(a.instance.stats.recordsUnsent).toBe(12)
    expect(b.told).toContain("buckets of 1")
    expect(b.member(a)).toMatchObject({ contiguous: 20, advertised: 20 })
  })
})

describe("a store that throws", () => {
  it("costs one record at most: the others of its frame are applied, and then the instance throws", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    const { apply } = b
    b.apply = (...record: Parameters<Guest["apply"]>) => {
      if (record[1] === 2) throw new Error("a defect")
      apply.apply(b, record)
    }
    for (const hash of [1, 2, 3]) a.set(hash)
    a.instance.flush()
    expect(() => room.deliver()).toThrow("a defect")
    expect(b.told).toEqual(["1:1", "1:3"])
    expect(b.member(a)).toMatchObject({ contiguous: 3 })
    room.run(200)
    expect(b.told.filter((each) => each.startsWith("1:"))).toEqual(["1:1", "1:3"]) // not again: it would throw again
  })

  it("is made up for when the instance recovers: copies go, and own entries are compared with all", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    b.set(7, "of b")
    a.set(8, "of a")
    room.run(20)
    b.fetch(8)
    room.run(20)
    expect(b.get(8)).toBe("of a")
    b.apply = () => {
      throw new Error("a defect")
    }
    a.set(7, "of a, later")
    a.set(8, "of a, later")
    a.instance.flush()
    expect(() => room.deliver()).toThrow("a defect")
    expect([b.get(7), b.get(8)]).toEqual(["of b", "of a"])
    b.instance.recover()
    expect(b.get(8)).toBeUndefined()
    expect(b.instance.isCoherent).toBe(false)
    room.run(20)
    expect(b.get(7)).toBeUndefined()
    expect(b.instance.isCoherent).toBe(true)
  })
})

describe("what is missing", () => {
  it("at the tail is found by a heartbeat and pulled", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    a.set(1)
    a.instance.flush()
    room.deliver(lost("inv"))
    expect(b.told).toEqual([])
    room.run(120)
    expect(b.told).toEqual(["1:1"])
    expect(b.instance.isCoherent).toBe(true)
  })

  it("is asked for after some milliseconds, not when it comes late", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    a.set(1)
    a.instance.flush()
    a.set(2)
    a.instance.flush()
    room.wire.reverse()
    room.deliver()
    room.run(20)
    expect(b.told).toEqual(["1:2", "1:1"])
    expect(b.instance.stats.pullsOut).toBe(0)
  })

  it("in several gaps is asked for at once, in rounds of a bounded number of records", () => {
    const [room, a, b] = Room.of(2, { logSize: 64, pullRecordsMax: 3 }) as [Room, Guest, Guest]
    for (let hash = 1; hash <= 9; hash++) {
      a.set(hash)
      a.instance.flush()
      room.deliver(() => hash % 2 === 1 && hash < 9)
    }
    const asked: [number, number][] = []
    room.run(30, (frame) => {
      if (frame.type === "pull") asked.push([frame.first, frame.last])
      return false
    })
    expect(asked).toEqual([
      [1, 1],
      [3, 3],
      [5, 5],
      [7, 7]
    ])
    expect(new Set(b.told).size).toBe(9)
    expect(b.told.length).toBe(9)
  })

  it("is asked of others where the origin does not answer", () => {
    const [room, a, b, c] = Room.of(3) as [Room, Guest, Guest, Guest]
    room.cut(a, b)
    a.set(1)
    room.run(1)
    expect(c.told).toEqual(["1:1"])
    expect(b.told).toEqual([])
    room.run(1_000)
    expect(b.told).toContain("1:1")
    expect(b.member(a)).toMatchObject({ contiguous: 1, isSuspect: true })
    expect(c.instance.stats.replayedOut).toBe(1)
  })

  it("for longer than the gap limit means not coherent, and coherent again once it is here", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    a.set(1)
    room.run(200, (frame) => frame.type === "inv")
    expect(b.instance.status()).toMatchObject({ isCoherent: false, degradedWhy: ["gap", "healing"], copyMsMax: 500 })
    expect(b.member(a)?.missingForMs).toBeGreaterThan(100)
    room.run(60)
    expect(b.instance.status()).toMatchObject({
      isCoherent: true,
      degradedWhy: [],
      copyMsMax: Number.POSITIVE_INFINITY
    })
  })

  it("and forgotten by its living origin drops the buckets that have moved, and no other", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    b.entries.set(3, { version: 1, writer: 1, value: "copy" })
    b.entries.set(14, { version: 1, writer: 1, value: "copy" })
    room.cut(a, b)
    for (let count = 0; count < 20; count++) a.set(3)
    room.run(1)
    room.mend()
    let isAsked = false
    room.run(200, (frame) => {
      if (frame.type === "buckets" && !isAsked) {
        isAsked = true
        a.set(4) // it goes on writing while the answer travels
        a.instance.flush()
      }
      return false
    })
    expect([b.get(3), b.get(14)]).toEqual([undefined, "copy"])
    expect(b.told.filter((what) => what.startsWith("buckets"))).toEqual(["buckets of 1"])
    expect(b.member(a)).toMatchObject({ contiguous: 21, advertised: 21 })
    expect(b.instance.isCoherent).toBe(true)
  })

  it("and forgotten leaves own writes that are higher, and takes those that are not", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    room.cut(a, b)
    room.cut(b, a)
    b.set(3, "lower")
    b.set(19, "of the same bucket")
    b.instance.lamport = 500
    b.set(35, "higher")
    for (let count = 0; count < 20; count++) a.set(count % 2 === 0 ? 3 : 35, "of a")
    room.run(1)
    room.mend()
    room.run(250)
    expect([b.get(3), b.get(19), b.get(35)]).toEqual([undefined, "of the same bucket", "higher"])
    expect(a.get(35)).toBeUndefined()
    expect(b.instance.isCoherent).toBe(true)
  })

  it("and forgotten takes own writes below what the origin has forgotten of its own", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    room.cut(a, b)
    room.cut(b, a)
    b.set(3, "perhaps overwritten")
    for (let count = 0; count < 20; count++) a.set(3, "of a")
    a.known.delete(3)
    a.floor = 20
    room.run(1)
    room.mend()
    room.run(250)
    expect(b.get(3)).toBeUndefined()
  })

  it("and forgotten has others asked about own writes where the origin dies as it tells what has moved", () => {
    const [room, a, b, c] = Room.of(3) as [Room, Guest, Guest, Guest]
    room.cut(a, b)
    room.cut(b, a)
    b.set(3, "overwritten, as c knows")
    a.instance.lamport = 40
    a.set(3, "of a")
    for (let count = 0; count < 20; count++) a.set(35, "of the same bucket")
    room.run(1)
    room.mend()
    room.run(300, ({ type }) => {
      if (type === "buckets") room.kill(a)
      return false
    })
    expect(b.told).toContain("buckets of 1")
    expect([b.get(3), c.get(3)]).toEqual([undefined, undefined])
    expect(b.instance.status()).toMatchObject({ isCoherent: true, degradedWhy: [] })
  })

  it("of a dead origin is served by whoever has it", () => {
    const [room, a, b, c] = Room.of(3) as [Room, Guest, Guest, Guest]
    a.set(1)
    a.set(2)
    a.instance.flush()
    room.deliver((frame, to) => frame.type === "inv" && to === b.origin)
    room.kill(a)
    room.run(200) // b has heard nothing of it but by c's vector
    expect(b.told).toEqual(["1:1", "1:2"])
    expect([b, c].map((each) => each.told.includes("epoch"))).toEqual([false, false])
  })

  it("of a dead origin is asked of him who serves until all is here", () => {
    const [room, a, b, , d] = Room.of(4, { pullRecordsMax: 2 }) as [Room, Guest, Guest, Guest, Guest]
    for (let hash = 1; hash <= 8; hash++) a.set(hash)
    a.instance.flush()
    room.deliver((_, to) => to !== d.origin)
    room.kill(a)
    room.run(200)
    expect(b.member(a)).toMatchObject({ contiguous: 8, advertised: 8 })
    expect(b.instance.stats.pullsOut).toBe(5) // the third has nothing, the fourth serves four times
  })

  it("of a dead origin is asked for once more of who did not have it, and may have got it since", () => {
    const [room, a, b, c] = Room.of(3) as [Room, Guest, Guest, Guest]
    a.set(1)
    a.instance.flush()
    const late = room.wire.find(({ to }) => to === c.origin) as { bytes: Uint8Array }
    room.run(105, lost("inv"))
    expect(c.instance.stats.pullsIn).toBeGreaterThan(0) // c has told b that it does not have it
    room.kill(a)
    c.instance.onFrame(late.bytes, a.origin)
    room.run(300)
    expect([b.told, c.told]).toEqual([["1:1"], ["1:1"]])
    expect(b.instance.isCoherent).toBe(true)
  })

  it("of a dead origin and at nobody moves the epoch, once, and compares own entries with all", () => {
    const [room, a, b, c] = Room.of(3) as [Room, Guest, Guest, Guest]
    b.entries.set(8, { version: 1, writer: 3, value: "copy" })
    b.set(9, "own")
    room.run(1)
    a.set(1)
    room.run(105, lost("inv"))
    room.kill(a)
    room.run(1_000)
    for (const each of [b, c]) expect(each.told.filter((what) => what === "epoch")).toEqual(["epoch"])
    expect([b.get(8), b.get(9)]).toEqual([undefined, "own"])
    expect(b.instance.stats.queriesOut).toBe(1)
    expect(b.member(a)).toMatchObject({ contiguous: 1, advertised: 1, state: "gone" })
    expect(b.instance.isCoherent).toBe(true)
  })

  it("of a dead origin is given up below what somebody has, and pulled from there", () => {
    const [room, a, b] = Room.of(3, { logSize: 64, pullRecordsMax: 2 }) as [Room, Guest, Guest, Guest]
    room.cut(a, b)
    for (let hash = 1; hash <= 20; hash++) a.set(hash) // c keeps 16, of a and of b
    b.set(9, "own")
    a.wide(Op.tag, 70)
    room.run(105)
    room.kill(a)
    room.run(400)
    expect(b.told.filter((what) => what === "epoch")).toHaveLength(1)
    expect(b.told.filter((what) => what.startsWith("1:"))[0]).toBe("1:7")
    expect(b.told).toContain("1:70")
    expect(b.get(9)).toBeUndefined()
    expect(b.member(a)).toMatchObject({ contiguous: 21, advertised: 21, state: "gone" })
    expect(b.instance.isCoherent).toBe(true)
  })

  it("of an origin that comes back is not given up together with that of others who do not", () => {
    for (let awayMs = 120; awayMs < 180; awayMs += 4) {
      const [room, a, b, c, d] = Room.of(4) as [Room, Guest, Guest, Guest, Guest]
      b.set(9, "own")
      room.run(5)
      a.wide(Op.tag, 70)
      for (let hash = 10; hash < 20; hash++) a.set(hash) // its log has forgotten the tag
      d.set(30)
      room.run(105, lost("inv", "buckets"))
      for (const each of [b, c, d]) {
        room.cut(a, each)
        room.cut(each, a)
      }
      room.run(400, lost("inv"))
      for (const each of [b, c, d]) each.instance.forget(a.origin)
      room.run(100, lost("inv"))
      room.kill(d)
      room.run(awayMs - 100, lost("inv"))
      room.mend()
      for (const each of [b, c]) room.link(a, each)
      room.run(60, lost("buckets"))
      room.run(1_000)
      expect([awayMs, b.get(9), b.instance.isCoherent]).toEqual([awayMs, undefined, true])
    }
  })

  it("and forgotten by an origin that was away for long is asked for as soon as it is back", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    for (let hash = 10; hash < 20; hash++) a.set(hash)
    room.run(105, lost("inv", "buckets"))
    room.cut(a, b)
    room.run(60_000)
    room.mend()
    room.run(300)
    expect(b.instance.isCoherent).toBe(true)
  })

  it("of a dead origin is not given up while somebody who may have it is not heard of", () => {
    const [room, a, b, c] = Room.of(3) as [Room, Guest, Guest, Guest]
    a.set(1)
    a.instance.flush()
    room.deliver((frame, to) => frame.type === "inv" && to === b.origin)
    room.cut(c, b)
    room.run(105, lost("pull"))
    room.kill(a)
    room.run(2_000)
    expect(b.told).not.toContain("epoch")
    expect(b.instance.status().degradedWhy).toContain("suspect")
    room.mend()
    room.run(300)
    expect(b.told.at(-1)).toBe("1:1")
    expect(b.instance.isCoherent).toBe(true)
  })
})

describe("joining", () => {
  it("takes what an established member has heard as the baseline, and stores no copies before", () => {
    const [room, a] = Room.of(2) as [Room, Guest]
    for (let hash = 1; hash <= 6; hash++) a.set(hash)
    room.run(1)
    const late = room.add(3)
    expect(late.instance.copyMsMax).toBe(0)
    room.link(a, late)
    late.instance.settled()
    room.run(20)
    expect(late.instance.status()).toMatchObject({ isJoined: true })
    expect(late.member(a)).toMatchObject({ contiguous: 6, advertised: 6 })
    expect(late.told.filter((what) => what.includes(":"))).toEqual([])
  })

  it("is over at once where nobody is there, and without a baseline after a while where only joiners are", () => {
    const room = new Room()
    const alone = room.add(1, { isAlone: true })
    alone.instance.tick()
    expect(alone.instance.isJoined).toBe(true)

    const others = new Room()
    const [one, other] = [others.add(1), others.add(2)]
    others.link(one, other)
    others.run(1_000, lost("hello"))
    expect(one.instance.isJoined).toBe(false) // the transport has not said that it has looked
    one.instance.settled()
    others.run(400, lost("hello"))
    expect(one.instance.isJoined).toBe(true)
  })

  it("loses own writes that were overwritten before the baseline", () => {
    const [room, a] = Room.of(2) as [Room, Guest]
    a.instance.lamport = 10
    a.set(7, "higher")
    room.run(1)
    const late = room.add(3)
    late.set(7, "lower")
    late.set(8, "only here")
    room.link(a, late)
    late.instance.settled()
    room.run(50)
    expect([late.get(7), late.get(8)]).toEqual([undefined, "only here"])
    expect(a.get(7)).toBe("higher")
  })

  it("loses own writes to tags, prefixes and clears that may be later, and learns of all of them", () => {
    for (const op of [Op.tag, Op.prefix, Op.clear]) {
      const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
      const late = room.add(3)
      late.set(7, "of the first moment")
      a.wide(op, 70)
      room.run(1)
      for (const each of [a, b]) room.link(each, late)
      late.instance.settled()
      room.run(50)
      expect(late.get(7)).toBeUndefined()
      expect(late.told).toContain("1:70")
      expect(late.instance.isCoherent).toBe(true)
    }
  })

  it("loses them also where the records are many: it asks what has moved at once, and not for each", () => {
    for (const [tags, told] of [
      [[70, 71], "buckets of 1"],
      [[70, 71, 72], "buckets of 1, all wide"] // one more than is known: any of them may be about anything
    ] as const) {
      const [room, a, b] = Room.of(2, { logSize: 64 }) as [Room, Guest, Guest]
      const late = room.add(3)
      late.set(7, "of the first moment")
      for (const tag of tags) a.wide(Op.tag, tag)
      for (let hash = 20; hash <= 40; hash++) a.set(hash)
      room.run(1)
      for (const each of [a, b]) room.link(each, late)
      late.instance.settled()
      room.run(50)
      expect(late.get(7)).toBeUndefined()
      expect(late.told).toContain(told)
      expect(late.instance.stats.pullsOut).toBe(0)
      expect(late.member(a)).toMatchObject({ contiguous: 21 + tags.length, advertised: 21 + tags.length })
      expect(late.instance.isCoherent).toBe(true)
    }
  })

  it("loses them to a tag of one who is dead by then, which another one has heard of", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    const late = room.add(3)
    late.set(7, "of the first moment")
    a.wide(Op.tag, 70)
    room.run(1)
    room.kill(a)
    room.link(b, late)
    late.instance.settled()
    room.run(2)
    expect(late.instance.status()).toMatchObject({ isJoined: true, isCoherent: false, degradedWhy: ["healing"] })
    room.run(50)
    expect(late.get(7)).toBeUndefined()
    expect(late.instance.isCoherent).toBe(true)
    expect(late.told).not.toContain("epoch")
  })

  it("keeps what it writes after it was greeted, and does not learn what is older", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    a.wide(Op.tag, 70)
    room.run(1)
    const late = room.add(3)
    for (const each of [a, b]) room.link(each, late)
    room.deliver()
    expect(late.instance.isJoined).toBe(false)
    late.set(7, "later")
    late.instance.settled()
    room.run(50)
    expect(late.instance.status()).toMatchObject({ isJoined: true, isCoherent: true })
    expect(late.get(7)).toBe("later")
    expect(late.told).not.toContain("1:70")
  })

  it("of two that have both been alone makes each learn all that the other wrote", () => {
    const room = new Room()
    const [a, b] = [room.add(1, { isAlone: true }), room.add(2, { isAlone: true })]
    for (const each of [a, b]) for (const hash of [1, 2]) each.set(hash, `of ${each.origin}`)
    room.run(10)
    room.link(a, b)
    room.run(50)
    expect(a.told).toEqual(["2:1", "2:2"])
    expect(b.told).toEqual(["1:1", "1:2"])
    expect([a.get(1), b.get(1)]).toEqual([undefined, "of 2"])
  })
})

describe("heartbeats", () => {
  /** The times at which each has sent one, from now on. */
  const beats = (room: Room, forMs: number): Map<number, number[]> => {
    const times = new Map<number, number[]>()
    for (const untilMs = room.nowMs + forMs; room.nowMs < untilMs; ) {
      room.run(1, (frame) => {
        if (frame.type !== "heartbeat") return false
        const own = times.get(frame.author) ?? []
        times.set(frame.author, own)
        if (own.at(-1) !== room.nowMs) own.push(room.nowMs)
        return false
      })
    }
    return times
  }

  it("of a cell come together, whenever its members have begun, and no more often than of one alone", () => {
    const room = new Room()
    const guests = [1, 2, 3].map((origin) => {
      const guest = room.add(origin)
      for (const other of room.all.values()) if (other !== guest) room.link(other, guest)
      guest.instance.settled()
      room.run(37)
      return guest
    })
    room.run(400)
    const times = beats(room, 1_000)
    expect(times.size).toBe(guests.length)
    const [first] = times.values() as Iterable<number[]> as [number[]]
    expect(first.length).toBe(10)
    for (const own of times.values()) {
      expect(own.map((atMs, n) => Math.abs(atMs - (first[n] as number)) <= 1)).toEqual(first.map(() => true))
    }
  })

  it("of others do not make an instance's own come early where they are far", () => {
    const [room, , b] = farApart()
    const nextMs = b.instance.tick() // when its own is due
    room.deliver()
    room.nowMs = nextMs - 20
    const beat = entryOf(1, { lamport: 0 })
    b.instance.onFrame(encode({ type: "heartbeat", ...header, author: 1, entries: [beat] }), 1)
    b.instance.tick()
    expect(room.under("heartbeat")).toEqual([])
    room.nowMs = nextMs
    b.instance.tick()
    expect(room.under("heartbeat").map(({ author }) => author)).toContain(2)
  })
})

describe("not heard of", () => {
  it("in time, a member makes an instance degraded: copies are capped, and those from before go", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    b.entries.set(5, { version: 1, writer: 1, value: "copy" })
    room.cut(a, b)
    room.run(350)
    expect(b.instance.status()).toMatchObject({ isCoherent: false, copyMsMax: 500 })
    expect(b.instance.status().degradedWhy).toContain("suspect")
    expect(a.instance.isCoherent).toBe(true) // one way only: it hears b
    expect(b.get(5)).toBe("copy")
    room.run(500)
    expect(b.get(5)).toBeUndefined()
    expect(b.told.at(-1)).toMatch(/^forgets before/)
    room.mend()
    room.run(250)
    expect(b.instance.status()).toMatchObject({ isCoherent: true, copyMsMax: Number.POSITIVE_INFINITY })
  })

  it("is who was silent while the process stood still, also where it has written many before it looks at the time", () => {
    const [room, a, b] = Room.of(2, { batchRecordsMax: 2 }) as [Room, Guest, Guest]
    room.run(95)
    a.instance.flush()
    a.instance.tick()
    const late = room.wire.splice(0)
    room.nowMs += 2_000
    for (let hash = 0; hash < 6; hash++) b.set(hash)
    for (const { bytes } of late) b.instance.onFrame(bytes, a.origin)
    expect(b.instance.status()).toMatchObject({ isCoherent: false })
  })

  it("lets copies go at once with bypass, and never with serve", () => {
    for (const [degraded, copyMsMax, left] of [
      ["bypass", 0, undefined],
      ["serve", Number.POSITIVE_INFINITY, "copy"]
    ] as const) {
      const [room, a, b] = Room.of(2, { degraded }) as [Room, Guest, Guest]
      b.entries.set(5, { version: 1, writer: 1, value: "copy" })
      room.cut(a, b)
      room.run(2_000)
      expect(b.instance.status()).toMatchObject({ isCoherent: false, copyMsMax })
      expect(b.get(5)).toBe(left)
    }
  })

  it("and back, a member is healed only when all that it wrote meanwhile is here", () => {
    const [room, a, b] = Room.of(2, { logSize: 64 }) as [Room, Guest, Guest]
    room.cut(a, b)
    room.run(400)
    for (let hash = 1; hash <= 3; hash++) a.set(hash)
    room.run(1)
    room.mend()
    room.run(120, (frame) => frame.type === "inv" && frame.isReplay)
    expect(b.instance.status().degradedWhy).toContain("healing")
    room.run(100)
    expect(b.told.filter((what) => what.includes(":"))).toEqual(["1:1", "1:2", "1:3"])
    expect(b.instance.isCoherent).toBe(true)
  })

  it("and linked again, a member is suspect until it has said how much it has written", () => {
    const [room, a, b] = farApart()
    room.cut(a, b)
    a.set(1)
    room.run(2_000)
    expect(b.instance.degradedWhy).toBe("suspect")
    b.instance.onLinkDown(a.origin)
    b.instance.onLinkUp({ origin: a.origin, region: 0 })
    b.instance.onLinkDown(a.origin) // nothing has come
    expect(b.instance.degradedWhy).toBe("suspect")
    room.mend()
    b.instance.onLinkUp({ origin: a.origin, region: 0 })
    room.run(100)
    expect(b.instance.isCoherent).toBe(true)
    expect(b.told).toContain("1:1")
  })

  it("but by what waited while the process stood still, a member has to greet, also where its link is lost by then", () => {
    const [room, a, b] = farApart()
    expect(a.instance.isCoherent).toBe(true)
    const own = entryOf(b.origin, { region: 1 })
    room.nowMs += 3_000
    a.instance.onFrame(encode({ type: "heartbeat", ...header, region: 1, author: b.origin, entries: [own] }), b.origin)
    a.instance.onLinkDown(b.origin)
    expect(a.instance.status()).toMatchObject({ isCoherent: false, degradedWhy: ["healing"] })
    room.link(a, b)
    room.run(5)
    expect(a.instance.isCoherent).toBe(true)
  })

  it("and for less than is allowed between regions, what waited meanwhile counts for nothing until it has greeted", () => {
    const [room, a, b] = farApart()
    const own = entryOf(b.origin, { region: 1 })
    const late = encode({ type: "heartbeat", ...header, region: 1, author: b.origin, entries: [own] })
    const heardMsAgo = () => a.member(b)?.heardMsAgo as number
    room.nowMs += 400
    a.instance.onFrame(late, b.origin)
    expect([a.instance.isCoherent, heardMsAgo() >= 400]).toEqual([true, true])
    room.run(110)
    expect(heardMsAgo()).toBeLessThan(110)
    room.nowMs += 400
    room.cut(b, a)
    a.instance.onFrame(late, b.origin)
    room.run(tiny.suspectMs + 2 * tiny.heartbeatMs + tiny.regionSlackMs - 398)
    expect(a.instance.status().degradedWhy).toContain("suspect")
  })

  it("and for less than is allowed between regions, who is far away lives, also where an old word says that he has ended", () => {
    for (const stillMs of [250, 310, 600]) {
      const room = new Room({ membersMax: 8, deadKept: 8 })
      const near = [1, 2, 3].map((origin) => room.add(origin))
      const far = room.add(5, { region: 1 })
      room.linkAll(near)
      for (const each of near) room.link(each, far)
      for (const each of [...near, far]) each.instance.settled()
      room.run(400)
      const leaf = leafOf(near)
      const relays = near.filter((each) => each !== leaf)
      room.unlink(leaf, far)
      room.run(500)
      for (const each of near) each.entries.set(7, { version: 1, writer: far.origin, value: "copy" })
      relays[0]?.instance.forget(far.origin) // by mistake: it is back there with its next heartbeat
      room.standStill(leaf, stillMs)
      expect(relays[0]?.member(far)?.state).toBe("live")
      for (const relay of relays) {
        room.cut(relay, far)
        room.cut(far, relay)
      }
      far.set(7, "new")
      room.run(20_000)
      expect(near.map((each) => [each.instance.isCoherent, each.get(7)])).toEqual(near.map(() => [false, undefined]))
      expect(leaf.member(far)?.state).toBe("live")
    }
  })

  it("and for less than is allowed between regions, it takes the answers that have waited", () => {
    const [room, a, b] = farApart()
    room.run(5)
    b.set(5, "of b")
    room.run(5)
    const acknowledged: Acknowledged[] = []
    a.instance.acknowledge(a.set(7), "live", (result) => acknowledged.push(result))
    const got = a.fetch(5)
    a.instance.tick()
    room.nowMs += 10
    a.instance.tick()
    room.standStill(a, 301)
    expect([acknowledged, got.value]).toEqual([[{ acked: 1, missing: [] }], "of b"])
  })

  it("by anybody, an instance is not coherent, though it knows of none: its broker is away, or has just come back", () => {
    const room = new Room()
    const guest = room.add(1, { isAlone: true })
    room.run(400)
    expect(guest.instance.isCoherent).toBe(true)
    guest.entries.set(5, { version: 1, writer: 2, value: "copy" })
    guest.instance.onCarrier(false)
    expect(guest.instance.status()).toMatchObject({ isCoherent: false, copyMsMax: 500, degradedWhy: ["cutOff"] })
    room.run(600)
    expect(guest.get(5)).toBeUndefined()
    guest.instance.onCarrier(true)
    room.run(tiny.joinMs - 1)
    expect(guest.instance.status().degradedWhy).toEqual(["cutOff"])
    room.run(2)
    expect(guest.instance.isCoherent).toBe(true)
    guest.instance.onCarrier(true) // said again, it changes nothing
    expect(guest.instance.isCoherent).toBe(true)
  })

  it("since it began, an instance has been degraded for as long as it lives", () => {
    const room = new Room()
    const guest = room.add(1)
    guest.instance.onCarrier(false)
    room.run(700)
    guest.instance.settled()
    room.run(400)
    expect(guest.instance.status()).toMatchObject({ isJoined: true, degradedWhy: ["cutOff"], degradedForMs: 1_100 })
  })

  it("by anybody, an instance stays degraded also when it is told to forget the others", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    a.instance.onCarrier(false)
    room.cut(a, b)
    room.cut(b, a)
    room.run(400)
    expect(a.instance.status().degradedWhy).toEqual(["cutOff", "suspect"])
    expect(a.instance.forget(b.origin)).toBe(true)
    room.run(400)
    expect(a.instance.status().degradedWhy).toEqual(["cutOff"])
  })

  it("is suspect who is only spoken of, until it is heard itself", () => {
    const room = new Room()
    const [a, b, c] = [room.add(1, { isAlone: true }), room.add(2), room.add(3)]
    room.link(a, b)
    room.link(a, c)
    b.instance.settled()
    c.instance.settled()
    room.run(400)
    expect(b.member(c)).toMatchObject({ state: "live", isSuspect: true })
    expect(b.instance.isCoherent).toBe(false)
    room.link(b, c)
    room.run(250)
    expect(b.member(c)).toMatchObject({ isSuspect: false })
    expect(b.instance.isCoherent).toBe(true)
  })

  it("for as long as a relay says, a member is taken to be, also where its digest is the first that is heard of it", () => {
    const [room, , b] = Room.of(2) as [Room, Guest, Guest]
    const far = entryOf(9, { region: 1, last: 3, lamport: 5, ageMs: 200 })
    b.instance.onFrame(encode({ type: "heartbeat", ...header, author: 1, entries: [far] }), 1)
    const heard = () => b.instance.status().members.find(({ origin }) => origin === 9)
    expect(heard()).toMatchObject({ isSuspect: false, heardMsAgo: 200, advertised: 3 })
    const { suspectMs, heartbeatMs, regionSlackMs } = b.instance.parameters
    room.run(suspectMs + 2 * heartbeatMs + regionSlackMs - 200)
    expect(heard()).toMatchObject({ isSuspect: false })
    room.run(1)
    expect(heard()).toMatchObject({ isSuspect: true })
  })

  it("for as long as that also where it was linked for a moment, and has said nothing", () => {
    const [, , b] = Room.of(2) as [Room, Guest, Guest]
    b.instance.onLinkUp({ origin: 9, region: 1 })
    b.instance.onLinkDown(9)
    const far = entryOf(9, { region: 1, last: 3, lamport: 5, ageMs: 200 })
    b.instance.onFrame(encode({ type: "heartbeat", ...header, author: 1, entries: [far] }), 1)
    expect(b.instance.status().members.find(({ origin }) => origin === 9)).toMatchObject({ heardMsAgo: 200 })
  })

  it("for the member time-out, where there is one, means forgotten", () => {
    const [room, a, b] = Room.of(2, { memberTimeoutMs: 1_000 }) as [Room, Guest, Guest]
    room.kill(a, false)
    room.run(1_500)
    expect(b.member(a)).toMatchObject({ state: "forgotten" })
    expect(b.instance.isCoherent).toBe(true)
  })
})

describe("an end", () => {
  it("by LEAVE takes an unsent tail along, and a late heartbeat brings nobody back", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    room.run(99)
    a.instance.tick()
    const [late] = room.wire.splice(0) as unknown as [{ bytes: Uint8Array }]
    a.set(1)
    a.instance.leave()
    room.deliver()
    expect(b.told).toEqual(["1:1"])
    expect(b.member(a)).toMatchObject({ state: "left", contiguous: 1 })
    if (late !== undefined) b.instance.onFrame(late.bytes, a.origin)
    room.run(20)
    expect(b.member(a)).toMatchObject({ state: "left" })
    expect(b.instance.isCoherent).toBe(true)
  })

  it("by LEAVE whose tail was lost is asked for it while its link stands", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    a.set(1)
    a.instance.leave()
    room.deliver(lost("inv"))
    room.run(20)
    expect(b.told).toEqual(["1:1"])
  })

  it("by refusal leaves its incarnation dead, and the next one is another member", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    a.set(1)
    room.run(1)
    room.kill(a)
    const next = room.add(8)
    room.link(b, next)
    next.instance.settled()
    room.run(300)
    expect(b.member(a)).toMatchObject({ state: "gone", contiguous: 1 })
    expect(b.member(next)).toMatchObject({ state: "live" })
    expect(next.member(a)).toMatchObject({ state: "gone", contiguous: 1 })
    expect([b, next].map(({ instance }) => instance.isCoherent)).toEqual([true, true])
  })

  it("by FORGET is told to those who do not hear it either, and is undone by a HELLO", () => {
    const [room, a, b, c] = Room.of(3, { logSize: 64 }) as [Room, Guest, Guest, Guest]
    for (const other of [b, c]) {
      room.cut(a, other)
      room.cut(other, a)
    }
    b.set(7, "lower")
    room.run(400)
    a.instance.lamport = 50
    a.set(7, "higher")
    expect(b.instance.forget(a.origin)).toBe(true)
    expect(b.instance.forget(a.origin)).toBe(false)
    room.run(150)
    expect(c.member(a)).toMatchObject({ state: "gone" })
    expect([b, c].map(({ instance }) => instance.isCoherent)).toEqual([true, true])
    room.mend()
    room.run(300)
    expect(b.member(a)).toMatchObject({ state: "live", contiguous: 1 })
    expect(b.get(7)).toBeUndefined()
    expect([a, b, c].map(({ instance }) => instance.isCoherent)).toEqual([true, true, true])
  })

  it("that others tell of is not believed of one that has just come back, until it is silent for too long", () => {
    const [room, a, b, c] = Room.of(3) as [Room, Guest, Guest, Guest]
    room.kill(c, false)
    for (const each of [a, b]) each.instance.forget(c.origin)
    const comesBack = () => {
      a.instance.onLinkUp({ origin: c.origin, region: 0 })
      a.instance.onLinkDown(c.origin)
      const ended = { origin: c.origin, region: 0, highest: 0, hasEnded: true }
      a.instance.onFrame(encode({ type: "vector", ...header, lamport: 1, entries: [ended] }), b.origin)
      expect(a.member(c)).toMatchObject({ state: "live", isSuspect: true })
    }
    const silenceMs = tiny.suspectMs + 2 * tiny.heartbeatMs // it is in no cell yet
    comesBack()
    room.run(silenceMs - 5)
    const digest = entryOf(c.origin, { ageMs: 1 })
    a.instance.onFrame(encode({ type: "heartbeat", ...header, entries: [digest] }), b.origin)
    room.run(100)
    expect(a.member(c)).toMatchObject({ state: "live", isSuspect: false })
    a.instance.forget(c.origin)
    comesBack()
    room.run(silenceMs - 5)
    expect(a.member(c)).toMatchObject({ state: "live", isSuspect: true })
    room.run(10)
    expect(a.member(c)).toMatchObject({ state: "gone" })
  })

  it("is remembered of a bounded number, and of more their numbers alone", () => {
    const [room, a] = Room.of(1) as [Room, Guest]
    for (let origin = 10; origin < 15; origin++) {
      const guest = room.add(origin)
      room.link(a, guest)
      guest.instance.settled()
      room.run(60)
      room.kill(guest)
    }
    const dead = a.instance.status().members.map(({ origin }) => origin)
    expect(dead).toEqual([13, 14])
    a.instance.onFrame(encode({ ...inv(1, [record(1, 1)]), author: 10 } as Frame), 10)
    expect(a.instance.stats.late).toBeGreaterThan(0)
    expect(a.told).not.toContain("10:1")
  })

  it("leaves room: a member too many makes the instance say that it is crowded", () => {
    const [room, a] = Room.of(1) as [Room, Guest]
    const guests = [10, 11, 12, 13, 14].map((origin) => room.add(origin))
    for (const guest of guests) {
      room.link(a, guest)
      guest.instance.settled()
    }
    room.run(150)
    expect(a.instance.memberCount).toBe(4)
    expect(a.instance.status().degradedWhy).toContain("crowded")
    expect(a.instance.stats.membersRefused).toBeGreaterThan(0)
    room.kill(guests[0] as Guest)
    room.run(900)
    expect(a.instance.memberCount).toBe(4)
  })
})

describe("acknowledged", () => {
  const wait = (guest: Guest, sequence: number, mode: "one" | "live"): Acknowledged[] => {
    const results: Acknowledged[] = []
    guest.instance.acknowledge(sequence, mode, (result) => results.push(result))
    return results
  }

  it("by one is a write as soon as one has it, by all the living when all have", () => {
    const [room, a, b, c] = Room.of(3) as [Room, Guest, Guest, Guest]
    const sequence = a.set(1)
    const [one, live] = [wait(a, sequence, "one"), wait(a, sequence, "live")]
    a.instance.flush()
    expect([one, live]).toEqual([[], []])
    room.deliver((frame, to) => frame.type === "inv" && to === c.origin)
    expect([one, live]).toEqual([[{ acked: 1, missing: [] }], []])
    room.run(250)
    expect(live).toEqual([{ acked: 2, missing: [] }])
    expect([b.get(1), c.get(1)]).toEqual([undefined, undefined])
  })

  it("at once is a write of whoever is alone", () => {
    const [, a] = Room.of(1) as [Room, Guest]
    expect(wait(a, a.set(1), "live")).toEqual([{ acked: 0, missing: [] }])
  })

  it("is a write that left before, and whose answer was lost, by asking again", () => {
    const [room, a] = Room.of(2) as [Room, Guest]
    const sequence = a.set(1)
    room.run(1)
    const result = wait(a, sequence, "live")
    room.deliver(lost("ack"))
    expect(result).toEqual([])
    room.run(120)
    expect(result).toEqual([{ acked: 1, missing: [] }])
  })

  it("without those who become suspect, who are named, and without those who end, who are not", () => {
    const [room, a, b, c] = Room.of(3, { ackTimeoutMs: 5_000 }) as [Room, Guest, Guest, Guest]
    for (const other of [b, c]) {
      room.cut(a, other)
      room.cut(other, a)
    }
    const result = wait(a, a.set(1), "live")
    room.run(100)
    room.kill(c)
    expect(result).toEqual([])
    room.run(300)
    expect(result).toEqual([{ acked: 0, missing: [b.origin] }])
  })

  it("in vain is a write that nobody has applied in time", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    const result = wait(a, a.set(1), "one")
    room.run(2_100, lost("inv"))
    expect(result).toEqual([{ acked: 0, missing: [b.origin] }])
    expect(a.instance.stats.acksTimedOut).toBe(1)
  })

  it("by nobody who still has to compare own writes", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    room.cut(a, b)
    room.cut(b, a)
    b.set(19, "of the same bucket")
    for (let count = 0; count < 20; count++) a.set(3, "of a")
    room.run(1)
    const result = wait(a, a.set(3, "last"), "live")
    room.mend()
    room.run(150, lost("stamps"))
    expect(result).toEqual([])
    room.run(150)
    expect(result).toEqual([{ acked: 1, missing: [] }])
    expect(b.get(19)).toBe("of the same bucket")
  })
})

describe("a fetch", () => {
  it("gets the value from the author, several keys in one frame", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    for (const hash of [1, 2, 3]) a.set(hash, `value ${hash}`)
    room.run(1)
    const fetched = [1, 2, 3].map((hash) => b.fetch(hash))
    b.instance.tick()
    expect(room.under("fetch").map(({ keys }) => keys)).toEqual([["1", "2", "3"]])
    room.deliver()
    expect(fetched.map(({ value }) => value)).toEqual(["value 1", "value 2", "value 3"])
  })

  it("asks nobody where the key was removed, or where nobody is", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    a.instance.append(Op.key, 1, ++a.instance.lamport, 0x40)
    room.run(1)
    expect(b.fetch(1)).toMatchObject({ isDone: true })
    expect(b.instance.stats.fetchesOut).toBe(0)
    const [, alone] = Room.of(1) as [Room, Guest]
    expect(alone.fetch(1)).toMatchObject({ isDone: true })
  })

  it("asks all others where no author is known, and then whom one of these names", () => {
    const [room, a, b, c] = Room.of(3) as [Room, Guest, Guest, Guest]
    a.set(1, "of a")
    room.run(1)
    b.known.clear()
    const found = b.fetch(1)
    room.run(2)
    expect(found.value).toBe("of a")
    expect(c.instance.stats.fetchesIn).toBe(1)
  })

  it("asks the others where the author has ended or is not heard of, and gets their copies", () => {
    for (const isKnown of [true, false]) {
      const [room, a, b, c] = Room.of(3) as [Room, Guest, Guest, Guest]
      a.set(1, "of a")
      room.run(1)
      c.fetch(1)
      room.run(2)
      room.kill(a, isKnown)
      room.run(350)
      const found = b.fetch(1)
      room.run(2)
      expect(found.value).toBe("of a")
    }
  })

  it("is answered only by who has seen what the asker has, as soon as that is so", () => {
    const [room, a, b, c] = Room.of(3, { fetchHoldMs: 20 }) as [Room, Guest, Guest, Guest]
    a.set(1, "old")
    room.run(1)
    c.fetch(1)
    room.run(2)
    room.cut(a, c)
    a.set(1, "new")
    room.run(1)
    b.known.clear() // it only knows that a has written
    room.kill(a, false)
    const found = b.fetch(1)
    b.instance.tick()
    room.deliver()
    expect(c.instance.stats.fetchesParked).toBe(1)
    expect(found.isDone).toBe(false)
    room.run(60) // c pulls what the question told it of, from b
    expect(c.get(1)).toBeUndefined()
    expect(found).toMatchObject({ isDone: true, value: undefined })
  })

  it("is answered `behind` by who does not get so far in time, and asked again", () => {
    const [room, a, b, c] = Room.of(3) as [Room, Guest, Guest, Guest]
    a.set(1, "of a")
    room.run(1)
    c.set(2)
    c.instance.flush()
    room.deliver((frame, to) => frame.type === "inv" && to === a.origin)
    const found = b.fetch(1)
    room.run(40, (frame, to) => frame.type === "inv" && to === a.origin)
    expect(a.instance.stats.fetchesBehind).toBeGreaterThan(0)
    expect(found.isDone).toBe(false)
    room.run(60)
    expect(found.value).toBe("of a")
  })

  it("ends without a value when nobody answers in time, and not at all when it was stopped", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    a.set(1)
    room.run(1)
    const [waiting, stopped] = [b.fetch(1), b.fetch(1)]
    stopped.stop()
    room.run(1_000, lost("value"))
    expect([waiting.isDone, stopped.isDone]).toEqual([true, false])
    expect(b.instance.stats.fetchesTimedOut).toBe(1)
  })

  it("is answered `busy` while joining, and asked again", () => {
    const [room, a, b] = Room.of(2) as [Room, Guest, Guest]
    const late = room.add(3)
    late.set(1, "of a joiner")
    room.link(a, late)
    room.link(b, late)
    late.instance.flush()
    room.deliver(lost("hello"))
    b.instance.onFrame(encode({ ...inv(1, [record(1, 1)]), author: 3 } as Frame), 3)
    const found = b.fetch(1)
    room.run(5, lost("hello"))
    expect(late.instance.isJoined).toBe(false)
    late.instance.settled()
    room.run(200)
    expect(found.isDone).toBe(true)
    expect(late.instance.isJoined).toBe(true)
  })

  it("of more than fits in an answer is answered in parts, and too large a value not at all", () => {
    const [room, a, b] = Room.of(2, { valueBytesMax: 10 }) as [Room, Guest, Guest]
    a.set(1, "12345678")
    a.set(2, "12345678")
    a.set(3, "12345678901")
    room.run(1)
    const fetched = [1, 2, 3].map((hash) => b.fetch(hash))
    room.run(5)
    expect(fetched.map(({ value }) => value)).toEqual(["12345678", "12345678", undefined])
    expect(fetched.every(({ isDone }) => isDone)).toBe(true)
    expect(b.instance.stats.fetchesOut).toBe(2)
  })
})

describe("between regions", () => {
  /** Two regions of three, whose relays are linked as the instances want. */
  const regions = (parameters: Partial<Guest["instance"]["parameters"]> = {}): [Room, Guest[], Guest[]] => {
    const room = new Room({ membersMax: 16, logSize: 64, receivedSize: 64, ...parameters })
    const near = [1, 2, 3].map((origin) => room.add(origin, { region: 0 }))
    const far = [11, 12, 13].map((origin) => room.add(origin, { region: 1 }))
    const all = [...near, ...far]
    for (const [at, one] of all.entries()) for (const other of all.slice(at + 1)) room.link(one, other)
    for (const each of all) each.instance.settled()
    room.run(400)
    trim(room, all)
    room.run(800)
    return [room, near, far]
  }

  const trim = (room: Room, all: readonly Guest[]): void => {
    for (const [at, one] of all.entries()) {
      for (const other of all.slice(at + 1)) {
        if (!one.instance.wantsLink(other) && !other.instance.wantsLink(one)) room.unlink(one, other)
      }
    }
  }

  it("only relays are linked, and all are coherent by their digests", () => {
    const [room, near, far] = regions()
    const all = [...near, ...far]
    expect(all.filter(({ instance }) => instance.status().isRelay).length).toBe(4)
    const across = near.flatMap((each) => room.peersOf(each.origin).filter((other) => other > 10))
    expect(across.length).toBe(4)
    room.run(2_000)
    expect(all.map(({ instance }) => instance.isCoherent)).toEqual(all.map(() => true))
  })

  it("a write reaches each member once, by as many frames as there are members", () => {
    const [room, near, far] = regions()
    for (const writer of [...near, ...far]) {
      const hash = 100 + writer.origin
      writer.set(hash)
      let frames = 0
      room.run(20, (frame) => {
        if (frame.type === "inv" && frame.author === writer.origin) frames++
        return false
      })
      const others = [...near, ...far].filter((each) => each !== writer)
      for (const other of others) expect(other.told.filter((what) => what.endsWith(`:${hash}`)).length).toBe(1)
      expect(frames).toBe(5)
    }
  })

  it("records of one author that follow each other cross in one frame", () => {
    const [room, near] = regions()
    const writer = leafOf(near)
    const crossing: number[] = []
    for (const hash of [1, 2, 3]) {
      writer.set(hash)
      writer.instance.flush()
      room.deliver()
    }
    room.run(10, (frame, to) => {
      if (frame.type === "inv" && frame.hops === 1 && to > 10) crossing.push(frame.records.length)
      return false
    })
    expect(crossing).toEqual([3])
  })

  it("the death of a relay loses nothing, and what it has not passed on is pulled by way of the other one", () => {
    const [room, near, far] = regions()
    const primary = near.find(({ instance }) => instance.status().isPrimary) as Guest
    const writer = leafOf(near)
    writer.set(7)
    writer.instance.flush()
    room.deliver()
    room.kill(primary)
    room.run(700)
    trim(room, [...room.all.values()])
    for (const each of far) expect(each.told.filter((what) => what === `${writer.origin}:7`).length).toBe(1)
    room.run(1_000)
    expect(far.map(({ instance }) => instance.isCoherent)).toEqual([true, true, true])
    writer.set(8)
    room.run(20)
    for (const each of far) expect(each.told).toContain(`${writer.origin}:8`)
  })

  it("what is pulled comes a round after the other, though by way of relays", () => {
    const [room, near, far] = regions({ pullRecordsMax: 2, pullRetryMs: 1_000 })
    const [writer, reader] = [leafOf(near), leafOf(far)]
    for (let hash = 1; hash <= 8; hash++) writer.set(hash)
    room.run(20, (frame, to) => frame.type === "inv" && to === reader.origin)
    room.run(500)
    expect(reader.member(writer)).toMatchObject({ contiguous: 8 })
    expect(reader.instance.stats.pullsOut).toBe(4)
  })

  it("nobody is told that a member is back before it has said how much it has written meanwhile", () => {
    const [room, near, far] = regions()
    const writer = leafOf(near)
    const others = near.filter((each) => each !== writer)
    for (const other of others) room.unlink(writer, other)
    room.run(2_000)
    expect(far.map(({ instance }) => instance.isCoherent)).toEqual([false, false, false])
    writer.set(7)
    for (const other of others) room.link(writer, other)
    room.run(150, (frame) => frame.author === writer.origin) // the links stand, its greetings are under way
    expect(far.map(({ instance }) => instance.isCoherent)).toEqual([false, false, false])
    room.run(800)
    for (const each of far) {
      expect(each.told).toContain(`${writer.origin}:7`)
      expect(each.instance.isCoherent).toBe(true)
    }
  })

  it("who was taken for dead by mistake is a member again where a relay hears it, and not for a late digest", () => {
    const [room, near, far] = regions()
    const [one, other] = [leafOf(near), leafOf(far)]
    const { suspectMs, heartbeatMs, regionSlackMs } = one.instance.parameters
    const silenceMs = suspectMs + 2 * heartbeatMs + regionSlackMs
    one.instance.forget(other.origin)
    room.run(silenceMs - 10)
    expect(one.member(other)).toMatchObject({ state: "forgotten" })
    room.run(500)
    expect(one.member(other)).toMatchObject({ state: "live", isSuspect: false })
    expect([...near, ...far].map(({ instance }) => instance.isCoherent)).toEqual([true, true, true, true, true, true])
    room.kill(other)
    room.run(3_000)
    expect(one.member(other)).toMatchObject({ state: "gone" })
  })

  it("and not by a digest that waited while the process stood still", () => {
    const [room, a, b, c] = Room.of(3) as [Room, Guest, Guest, Guest]
    room.kill(c)
    const entries = [entryOf(b.origin), entryOf(c.origin, { ageMs: 90 })]
    const late = encode({ type: "heartbeat", ...header, author: b.origin, entries })
    room.nowMs += 2_000
    a.instance.onFrame(late, b.origin)
    expect([b, c].map((each) => a.member(each)?.state)).toEqual(["live", "gone"])
    room.run(5)
    a.instance.onFrame(late, b.origin) // it has greeted since
    expect(a.member(c)?.state).toBe("live")
  })

  it("links are thought of again when one of another region is suspect, is heard again, and ends", () => {
    const [room, near, far] = regions()
    const [one, other] = [leafOf(near), leafOf(far)]
    const reconsidered = () => {
      const { reconsiders } = one
      one.reconsiders = 0
      return reconsiders
    }
    reconsidered()
    for (const each of far) if (each !== other) room.cut(other, each)
    room.run(2_000)
    expect([one.member(other)?.isSuspect, reconsidered()]).toEqual([true, 1])
    room.mend()
    room.run(1_000)
    expect([one.member(other)?.isSuspect, reconsidered()]).toEqual([false, 1])
    one.instance.forget(other.origin)
    expect(reconsidered()).toBe(1)
  })

  it("values are fetched, acknowledgements given and good-byes heard across", () => {
    const [room, near, far] = regions()
    const [writer, reader] = [leafOf(near), leafOf(far)]
    const sequence = writer.set(7, "far away")
    const results: Acknowledged[] = []
    writer.instance.acknowledge(sequence, "live", (result) => results.push(result))
    room.run(20)
    expect(results).toEqual([{ acked: 5, missing: [] }])
    const found = reader.fetch(7)
    room.run(5)
    expect(found.value).toBe("far away")
    writer.instance.leave()
    room.run(2)
    expect(reader.member(writer)).toMatchObject({ state: "left" })
  })

  it("a frame for somebody who cannot be reached is dropped and counted", () => {
    const [, near] = regions()
    const [a] = near as [Guest]
    const before = a.instance.stats.unroutable
    const pull: Frame = { type: "pull", ...header, to: 99, of: 2, first: 1, last: 1 }
    a.instance.onFrame(encode(pull), 2)
    expect(a.instance.stats.unroutable).toBe(before + 1)
  })
})

describe("a frame", () => {
  it("that is not for it is counted and dropped", () => {
    const [, a] = Room.of(2) as [Room, Guest]
    const { stats } = a.instance
    const count = (bytes: Uint8Array) => {
      const before = { ...stats }
      a.instance.onFrame(bytes, 2)
      return Object.keys(before).filter((name) => stats[name as "late"] !== before[name as "late"])
    }
    const good = inv(1, [record(5, 5)])
    expect(count(Uint8Array.of(1, 2, 3))).toEqual(["framesIn", "malformed"])
    expect(count(encode({ ...good, namespace: 8 } as Frame))).toEqual(["framesIn", "foreign"])
    expect(count(encode({ ...good, author: 1 } as Frame))).toEqual(["framesIn", "echoed"])
    expect(count(encode(inv(1, [record(5, 2 ** 47 + 1)])))).toEqual(["framesIn", "absurd"])
    const groups = { split: 2 ** 32 - 1, region: 0, last: 0, oldest: 1, lamport: 0 }
    const greeting = { isJoining: false, isAnswer: true, vector: [] }
    const beat = { type: "heartbeat", ...header, entries: [{ ...groups, origin: 2, ageMs: 0 }] } as const
    expect(count(encode(beat))).toEqual(["framesIn", "absurd"])
    expect(count(encode({ type: "hello", ...header, ...groups, ...greeting }))).toEqual(["framesIn", "absurd"])
    expect(count(encode({ type: "probe", ...header, payload: new Uint8Array(3) }))).toEqual(["framesIn", "unknown"])
    expect(count(encode({ type: "gone", ...header, of: 77, oldest: 3 }))).toEqual(["framesIn", "late"])
    expect(count(encode({ type: "ack", ...header, of: 77, upTo: 3 }))).toEqual(["framesIn", "late"])
    expect(count(encode({ type: "value", ...header, id: 5, answers: [] }))).toEqual(["framesIn", "late"])
    expect(count(encode({ type: "stamps", ...header, id: 5, answers: [], floor: 0 }))).toEqual(["framesIn", "late"])
    expect(count(encode({ type: "bucketsAsk", ...header, of: 77, since: 0 }))).toEqual(["framesIn", "late"])
    expect(a.told).toEqual([])
    expect(count(encode(good))).toContain("recordsApplied")
  })
})
