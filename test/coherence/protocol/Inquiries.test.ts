/** What others know of keys, asked of several at once. */
import { describe, expect, it } from "vitest"
import type { Inquired } from "../../../src/coherence/protocol/Inquiries.ts"
import { type Guest, Room } from "./Room.ts"

const of = (count: number) => Room.of(count) as unknown as [Room, Guest, Guest, Guest]

const ask = (guest: Guest, hashes: readonly number[], authors: readonly number[] = []) => {
  const said: Inquired[] = []
  guest.instance.query(hashes, authors, (answer) => said.push(answer))
  return said
}

describe("an inquiry", () => {
  it("answers what each member knows of each hash, and changes nothing", () => {
    const [room, a, b, c] = of(3)
    a.set(5, "old")
    room.run(10)
    b.set(5, "new")
    room.run(10)
    b.entries.set(5, { version: 99, writer: 2, value: "newest" })
    b.known.set(5, { version: 99, author: 2, isGone: false })
    a.entries.set(5, { version: 1, writer: 1, value: "planted" })
    const said = ask(a, [5, 6])
    expect(said).toEqual([])
    room.run(5)
    expect(said).toHaveLength(1)
    expect(said[0]?.silent).toEqual([])
    expect([...(said[0]?.answers ?? [])].map(([member, known]) => [member, [...known]])).toEqual([
      [2, [[5, { version: 99, author: 2, isGone: false }]]],
      [3, [[5, { version: 2, author: 2, isGone: false }]]]
    ])
    expect(a.get(5)).toBe("planted")
    expect(c.instance.stats.queriesOut).toBe(0)
    expect(a.instance.isCoherent).toBe(true)
  })

  it("ends without those who do not answer in time, and takes their late answers for none", () => {
    const [room, a, b, c] = of(3)
    b.set(5)
    room.run(10)
    const said = ask(a, [5])
    room.run(1_000, (frame) => frame.type === "stamps" && frame.author === c.origin)
    expect(said).toMatchObject([{ silent: [3] }])
    expect([...(said[0]?.answers.keys() ?? [])]).toEqual([2])
    const again = ask(a, [5])
    room.run(300)
    expect(again).toMatchObject([{ silent: [] }])
    expect([said.length, again.length, a.instance.stats.late]).toEqual([1, 1, 0])
  })

  it("does not wait for a member that ends", () => {
    const [room, a, b, c] = of(3)
    const said = ask(a, [5])
    room.deliver((frame) => frame.type === "query" && frame.to === c.origin)
    expect(said).toEqual([])
    room.kill(c)
    expect(said).toMatchObject([{ silent: [] }])
    expect([...(said[0]?.answers.keys() ?? [])]).toEqual([b.origin])
  })

  it("ends at once where nobody is there, nothing is asked, or it is more than fits into a frame", () => {
    const room = new Room()
    const alone = room.add(1, { isAlone: true })
    room.run(400)
    expect(ask(alone, [5])).toMatchObject([{ silent: [] }])
    const [, a] = of(2)
    expect(ask(a, [])).toHaveLength(1)
    expect(ask(a, [1, 2, 3, 4, 5, 6])).toHaveLength(0)
    expect(ask(a, [1, 2, 3, 4, 5, 6, 7])).toHaveLength(1)
  })

  it("is one of four at most", () => {
    const [room, a] = of(2)
    const said = [1, 2, 3, 4, 5].map((hash) => ask(a, [hash]))
    expect(said.map(({ length }) => length)).toEqual([0, 0, 0, 0, 1])
    room.run(5)
    expect(said.map(({ length }) => length)).toEqual([1, 1, 1, 1, 1])
    expect(ask(a, [6])).toHaveLength(0)
  })

  it("leaves the comparing of own entries alone", () => {
    const [room, a, b] = of(2)
    const before = b.told.length
    ask(a, [5])
    room.run(5)
    expect(b.told.length).toBe(before)
    expect(a.instance.status().degradedWhy).toEqual([])
  })
})
