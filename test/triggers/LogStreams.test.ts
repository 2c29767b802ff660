import { describe, expect, it } from "vitest"
import type { TriggerLine } from "../../src/triggers/Effects.ts"
import { type LogStreamLimits, LogStreams } from "../../src/triggers/LogStreams.ts"

const line = (changes: Partial<TriggerLine> = {}): TriggerLine => ({
  stream: null,
  message: "said",
  fields: null,
  atMs: 5,
  trigger: "t",
  event: "ON_WRITE",
  key: "k",
  cascade: "boot-1",
  ...changes
})

/** Streams with `count` lines in each of `names`, whose messages are their numbers. */
const filled = (limits: Partial<LogStreamLimits>, names: readonly string[], count: number) => {
  const streams = new LogStreams(limits)
  for (let number = 1; number <= count; number++) {
    for (const stream of names) streams.append(line({ stream, message: `${number}` }))
  }
  return streams
}

const messages = (lines: ReturnType<LogStreams["read"]>) => lines.map(({ message }) => message)

describe("a line", () => {
  it("is kept with where it came from, and numbered within its stream", () => {
    const streams = new LogStreams()
    expect(streams.append(line({ stream: "orders", message: null, fields: { id: 7, ok: true } }))).toBe(1)
    expect(streams.append(line({ stream: "orders", message: null, fields: {} }))).toBe(2)
    expect(streams.append(line({ stream: "others" }))).toBe(1)
    expect(streams.read("orders")[0]).toEqual({
      number: 1,
      atMs: 5,
      stream: "orders",
      message: null,
      fields: '{"id":7,"ok":true}',
      trigger: "t",
      event: "ON_WRITE",
      key: "k",
      cascade: "boot-1"
    })
  })

  it("without a stream goes to default", () => {
    const streams = new LogStreams()
    streams.append(line({ cascade: undefined }))
    expect(streams.read("default")).toMatchObject([{ stream: "default", message: "said", fields: null, cascade: null }])
  })

  it("that is too long is cut, counted, and a message from then on", () => {
    const streams = new LogStreams({ lineBytesMax: 20 })
    streams.append(line({ message: "0123456789" }))
    streams.append(line({ message: "0123456789a" }))
    streams.append(line({ message: null, fields: { a: "0123456789" } }))
    expect(streams.read("default").map(({ message, fields }) => [message, fields])).toEqual([
      ["0123456789", null],
      ["0123456789… (11 characters)", null],
      ['{"a":"0123… (18 characters)', null]
    ])
    expect(streams.counters.linesCut).toBe(2)
  })

  it("keeps the beginning of a long key and of a long stream name", () => {
    const streams = new LogStreams()
    streams.append(line({ stream: "s".repeat(1_000), key: "k".repeat(1_000) }))
    expect(streams.list()).toMatchObject([{ stream: "s".repeat(128) }])
    expect(streams.read("s".repeat(128))[0]?.key).toBe("k".repeat(256))
  })
})

describe("a reader", () => {
  const streams = filled({ linesMax: 5 }, ["s"], 12)

  it("gets the last lines, oldest first", () => {
    expect(messages(streams.read("s"))).toEqual(["8", "9", "10", "11", "12"])
    expect(messages(streams.read("s", { count: 2 }))).toEqual(["11", "12"])
    expect(messages(streams.read("s", { count: 0 }))).toEqual([])
  })

  it("goes on behind the number that it saw last", () => {
    expect(messages(streams.read("s", { after: 9, count: 2 }))).toEqual(["10", "11"])
    expect(messages(streams.read("s", { after: 11 }))).toEqual(["12"])
    expect(messages(streams.read("s", { after: 12 }))).toEqual([])
    expect(messages(streams.read("s", { after: 99 }))).toEqual([])
  })

  it("that was too slow gets the oldest line there is, whose number shows the gap", () => {
    expect(streams.read("s", { after: 3, count: 2 }).map(({ number }) => number)).toEqual([8, 9])
  })

  it("of a stream that does not exist gets nothing", () => {
    expect(streams.read("other")).toEqual([])
  })
})

describe("the bounds", () => {
  it("drop the oldest lines of a stream, and show how many", () => {
    const streams = filled({ linesMax: 3 }, ["b", "a"], 5)
    expect(streams.list()).toMatchObject([
      { stream: "a", lines: 3, first: 3, last: 5, dropped: 2, lastAtMs: 5 },
      { stream: "b", lines: 3, first: 3, last: 5, dropped: 2 }
    ])
    expect(streams.counters).toMatchObject({ lines: 10, linesDropped: 4 })
  })

  it("hold for the bytes of a stream whatever its lines' lengths are", () => {
    const bytesMax = 2_000
    const streams = new LogStreams({ bytesMax })
    for (let i = 0; i < 200; i++) {
      streams.append(line({ message: "m".repeat((i * 37) % 400) }))
      const [stream] = streams.list()
      expect(stream?.bytes).toBeLessThanOrEqual(bytesMax)
      const lines = streams.read("default", { count: 1_000 })
      expect(lines.map(({ number }) => number)).toEqual(
        Array.from({ length: stream?.lines ?? 0 }, (_, at) => (stream?.first ?? 0) + at)
      )
      expect(lines.at(-1)?.number).toBe(i + 1)
    }
  })

  it("send lines of one stream too many to default, which says where they wanted to go", () => {
    const streams = filled({ streamsMax: 3 }, ["a", "b", "c", "d"], 1)
    expect(streams.list().map(({ stream }) => stream)).toEqual(["a", "b", "default"])
    expect(streams.read("default").map(({ stream }) => stream)).toEqual(["c", "d"])
    expect(streams.counters).toMatchObject({ linesRedirected: 2, streamsDropped: 0 })
  })

  it("give up the stream that has been silent longest, once it has been silent for long", () => {
    const streams = new LogStreams({ streamsMax: 3, idleMsMin: 1_000 })
    streams.append(line({ stream: "a", atMs: 0 }))
    streams.append(line({ stream: "b", atMs: 1 }))
    streams.append(line({ stream: "a", atMs: 2 }))
    streams.append(line({ stream: "c", atMs: 1_000 }))
    streams.append(line({ stream: "c", atMs: 1_001 }))
    expect(streams.list().map(({ stream, lines }) => [stream, lines])).toEqual([
      ["a", 2],
      ["c", 1],
      ["default", 1]
    ])
    expect(streams.counters).toMatchObject({ linesRedirected: 1, streamsDropped: 1 })
  })

  it("keep a place for default, however many streams there are", () => {
    const streams = filled({ streamsMax: 2 }, ["a", "b", "c"], 3)
    expect(streams.list().map(({ stream, lines }) => [stream, lines])).toEqual([
      ["a", 3],
      ["default", 6]
    ])
  })
})
