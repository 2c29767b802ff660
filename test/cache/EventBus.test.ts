import { describe, expect, it } from "vitest"
import { EventBus, type Subscriber } from "../../src/cache/EventBus.ts"

const recorder = (name: string, into: string[]): Subscriber => ({
  onMessage: (channel, payload, pattern) => into.push(`${name} ${channel} ${payload} ${pattern}`)
})

describe("EventBus", () => {
  it("hands a message to the channel's subscribers in order, then to the patterns that match", () => {
    const bus = new EventBus()
    const seen: string[] = []
    const [a, b] = [recorder("a", seen), recorder("b", seen)]
    bus.psubscribe("n*", a)
    bus.subscribe("news", b)
    bus.subscribe("news", a)
    bus.psubscribe("other*", b)
    expect(bus.publish("news", "x")).toBe(3)
    expect(seen).toEqual(["b news x null", "a news x null", "a news x n*"])
    expect(bus.stats).toEqual({ published: 1, delivered: 3, failed: 0 })
  })

  it("answers 0 where nobody listens, and counts the message all the same", () => {
    const bus = new EventBus()
    expect(bus.publish("nobody", "x")).toBe(0)
    expect(bus.stats).toEqual({ published: 1, delivered: 0, failed: 0 })
    expect(bus.hasSubscribers("nobody")).toBe(false)
  })

  it("hands the message to the others when a receiver throws, counts it and tells of it", () => {
    const told: unknown[] = []
    const bus = new EventBus((error, channel) => told.push(error, channel))
    const seen: string[] = []
    const broken: Subscriber = {
      onMessage: () => {
        throw new Error("broken")
      }
    }
    bus.subscribe("c", broken)
    bus.subscribe("c", recorder("a", seen))
    bus.psubscribe("c*", broken)
    bus.psubscribe("c?*", recorder("none", seen))
    bus.psubscribe("*", recorder("b", seen))
    expect(bus.publish("c", "1")).toBe(4)
    expect(seen).toEqual(["a c 1 null", "b c 1 *"])
    expect(bus.stats).toEqual({ published: 1, delivered: 4, failed: 2 })
    expect(told).toEqual([new Error("broken"), "c", new Error("broken"), "c"])
    expect(new EventBus().publish("c", "1")).toBe(0)
  })

  it("goes on without anybody to tell", () => {
    const bus = new EventBus()
    bus.subscribe("c", {
      onMessage: () => {
        throw new Error("broken")
      }
    })
    expect([bus.publish("c", "1"), bus.stats.failed]).toEqual([1, 1])
  })

  it("subscribes once, and says whether anything changed", () => {
    const bus = new EventBus()
    const seen: string[] = []
    const a = recorder("a", seen)
    expect([bus.subscribe("c", a), bus.subscribe("c", a)]).toEqual([true, false])
    expect([bus.psubscribe("c*", a), bus.psubscribe("c*", a)]).toEqual([true, false])
    expect(bus.publish("c", "1")).toBe(2)
    expect([bus.unsubscribe("c", a), bus.unsubscribe("c", a)]).toEqual([true, false])
    expect([bus.punsubscribe("c*", a), bus.punsubscribe("c*", a)]).toEqual([true, false])
    expect(bus.publish("c", "2")).toBe(0)
    expect(seen).toHaveLength(2)
  })

  it("lists the channels that somebody listens to, and forgets them with their last subscriber", () => {
    const bus = new EventBus()
    const a = recorder("a", [])
    for (const channel of ["x:1", "x:2", "y"]) bus.subscribe(channel, a)
    bus.psubscribe("z*", a)
    expect(bus.channels()).toEqual(["x:1", "x:2", "y"])
    expect(bus.channels("x:*")).toEqual(["x:1", "x:2"])
    expect([bus.subscriberCount("y"), bus.subscriberCount("z")]).toEqual([1, 0])
    expect([bus.hasSubscribers("y"), bus.hasSubscribers("z1"), bus.hasSubscribers("q")]).toEqual([true, true, false])
    expect(bus.patternCount).toBe(1)
    for (const channel of ["x:1", "x:2", "y"]) bus.unsubscribe(channel, a)
    bus.punsubscribe("z*", a)
    expect([bus.channels(), bus.patternCount]).toEqual([[], 0])
  })

  it("matches patterns as Redis does: an empty channel is matched by an empty pattern alone", () => {
    const bus = new EventBus()
    const seen: string[] = []
    for (const pattern of ["*", "", "?", "n[eo]ws", "n\\*", "n*s"]) bus.psubscribe(pattern, recorder("r", seen))
    expect([bus.publish("", "1"), bus.publish("news", "2"), bus.publish("n*", "3")]).toEqual([1, 3, 2])
    expect(seen).toEqual([
      "r  1 ",
      ...["r news 2 *", "r news 2 n[eo]ws", "r news 2 n*s"],
      ...["r n* 3 *", "r n* 3 n\\*"]
    ])
    expect([bus.hasSubscribers(""), bus.hasSubscribers("x"), bus.channels("")]).toEqual([true, true, []])
  })

  it("matches a pattern that is made to be slow within steps that grow with the channel alone", () => {
    const bus = new EventBus()
    const seen: string[] = []
    bus.psubscribe(`${"*?a".repeat(300)}b`, recorder("r", seen))
    bus.psubscribe(`${"*a".repeat(500)}b*`, recorder("r", seen))
    for (let n = 0; n < 500; n++) expect(bus.publish("a".repeat(1_024), "x")).toBe(0)
    expect(bus.publish(`${"a".repeat(1_023)}b`, "x")).toBe(2)
  })

  it("forgets a pattern with its last subscriber, and matches it anew with the next", () => {
    const bus = new EventBus()
    const seen: string[] = []
    const [a, b] = [recorder("a", seen), recorder("b", seen)]
    for (const each of [a, b]) bus.psubscribe("c*", each)
    bus.punsubscribe("c*", a)
    bus.publish("c1", "1")
    bus.punsubscribe("c*", b)
    expect([bus.publish("c2", "2"), bus.hasSubscribers("c2"), bus.patternCount]).toEqual([0, false, 0])
    bus.psubscribe("c*", a)
    bus.publish("c3", "3")
    expect(seen).toEqual(["b c1 1 c*", "a c3 3 c*"])
  })

  it("ends a delivery although receivers join and leave while it lasts", () => {
    const bus = new EventBus()
    const seen: string[] = []
    const late = recorder("late", seen)
    const second = recorder("second", seen)
    const first: Subscriber = {
      onMessage: () => {
        seen.push("first")
        bus.unsubscribe("c", first)
        bus.subscribe("c", first)
        bus.subscribe("c", late)
      }
    }
    bus.subscribe("c", first)
    bus.subscribe("c", second)
    bus.publish("c", "1")
    expect(seen.filter((who) => who === "first")).toHaveLength(1)
    seen.length = 0
    bus.publish("c", "2")
    expect(seen).toContain("late c 2 null")
  })
})
