import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { defaultRespLimits, RespParser, splitArgs } from "../../src/server/RespParser.ts"
import { encode } from "./RawClient.ts"

interface Outcome {
  readonly commands: string[][]
  readonly error: string | undefined
}

const parse = (portions: readonly string[], limits = defaultRespLimits): Outcome => {
  const parser = new RespParser(limits)
  const commands: string[][] = []
  for (const portion of portions) {
    parser.feed(Buffer.from(portion, "latin1"))
    while (parser.next()) commands.push(parser.args)
  }
  return { commands, error: parser.error }
}

/** Cuts the text at the given places, which are taken modulo its length. */
const cutAt = (text: string, places: readonly number[]): string[] => {
  const sorted = [...new Set(places.map((place) => place % (text.length + 1)))].sort((a, b) => a - b)
  return [0, ...sorted].map((from, i) => text.slice(from, sorted[i] ?? text.length))
}

describe("RespParser", () => {
  it("takes a pipeline apart, keeping every byte", () => {
    const commands = [["SET", "k\0\r\n\xff", ""], ["GET", "a".repeat(100_000)], ["PING"]]
    expect(parse([commands.map(encode).join("")])).toEqual({ commands, error: undefined })
  })

  it("takes inline commands, and arrays beside them", () => {
    expect(parse([`PING\r\n  SET  a "b c"\n\r\n${encode(["GET", "a"])}QUIT\n`]).commands).toEqual([
      ["PING"],
      ["SET", "a", "b c"],
      ["GET", "a"],
      ["QUIT"]
    ])
  })

  it("passes over empty and null arrays", () => {
    expect(parse(["*0\r\n*-1\r\n*-5\r\n*1\r\n$4\r\nPING\r\n"])).toEqual({ commands: [["PING"]], error: undefined })
  })

  it("does not look at the two bytes after an argument, as Redis does not", () => {
    expect(parse(["*2\r\n$3\r\nGETxx$1\r\naxx*1\r\n$4\r\nPING\r\n"]).commands).toEqual([["GET", "a"], ["PING"]])
  })

  it.each([
    ["*x\r\n", "invalid multibulk length"],
    ["*1048577\r\n", "invalid multibulk length"],
    ["*01\r\n", "invalid multibulk length"],
    ["*1\r\n:1\r\n", "expected '$', got ':'"],
    ["*1\r\n$-1\r\n", "invalid bulk length"],
    ["*1\r\n$1025\r\n", "invalid bulk length"],
    ["*3\r\n$1024\r\n", undefined],
    [`*3\r\n${`$1024\r\n${"x".repeat(1024)}\r\n`.repeat(3)}`, "command is longer than 2048 bytes"],
    [`*1\r\n$${"1".repeat(65_536)}`, "too big bulk count string"],
    [`*${"1".repeat(65_536)}`, "too big mbulk count string"],
    ["a".repeat(65_537), "too big inline request"],
    ['"a\r\n', "unbalanced quotes in request"]
  ])("%j ends with %s, however it is portioned", (stream, reason) => {
    const limits = { bulkBytesMax: 1024, commandBytesMax: 2048 }
    const error = reason === undefined ? undefined : `Protocol error: ${reason}`
    const valid = encode(["PING"])
    const expected = { commands: [["PING"]], error }
    expect(parse([valid + stream], limits)).toEqual(expected)
    expect(parse([valid, ...(stream.length < 100 ? stream : [stream.slice(0, 9), stream.slice(9)])], limits)).toEqual(
      expected
    )
  })

  it("tells what it keeps for a command that is not whole, and keeps nothing behind the last one", () => {
    const parser = new RespParser()
    const feed = (text: string) => {
      parser.feed(Buffer.from(text, "latin1"))
      while (parser.next());
      return parser.heldBytes
    }
    expect(feed(encode(["SET", "a", "1"]))).toBe(0)
    expect(feed(`*2\r\n$4\r\nECHO\r\n$100000\r\n${"x".repeat(1_000)}`)).toBe(4 + 16 + 1_000)
    expect(feed("x".repeat(50_000))).toBeGreaterThanOrEqual(51_000)
    expect(parser.hasRest).toBe(true)
    expect(feed(`${"x".repeat(49_000)}\r\n`)).toBe(0)
    expect(parser.hasRest).toBe(false)
    expect(feed(`*1000000\r\n${"$0\r\n\r\n".repeat(1_000)}`)).toBe(16_000)
    expect(feed("!\r\n")).toBe(0)
    expect(parser.error).toBe("Protocol error: expected '$', got '!'")
  })

  it("takes only short commands from a guest, and any again when it is none any more", () => {
    const parser = new RespParser()
    const feed = (text: string) => {
      parser.feed(Buffer.from(text, "latin1"))
      return parser.next() ? parser.args.length : parser.error
    }
    parser.isGuest = true
    expect(feed(encode(Array.from({ length: 10 }, () => "x".repeat(16_384))))).toBe(10)
    parser.isGuest = false
    expect(feed(encode(Array.from({ length: 11 }, () => "x".repeat(16_385))))).toBe(11)
    parser.isGuest = true
    expect(feed("*11\r\n")).toBe("Protocol error: unauthenticated multibulk length")
  })

  it("takes nothing more once the stream has broken off", () => {
    expect(parse(["*x\r\n", encode(["PING"])]).commands).toEqual([])
  })

  it("finds the same commands however a stream is portioned", () => {
    const bytes = fc.string({ unit: fc.nat(255).map((code) => String.fromCharCode(code)), maxLength: 40 })
    const command = fc.array(bytes, { minLength: 1, maxLength: 5 }).map(encode)
    const inline = fc.constantFrom("PING\r\n", "GET a\n", "\r\n", ' ECHO "a\\x00b" \r\n', "*0\r\n")
    const broken = fc.constantFrom("", "", "*x\r\n", "*1\r\n$a\r\n", "*1\r\n#1\r\n", '"x\r\n')
    const stream = fc.tuple(fc.array(fc.oneof(command, inline), { maxLength: 8 }), broken)
    fc.assert(
      fc.property(stream, fc.array(fc.nat(10_000), { maxLength: 30 }), ([parts, end], places) => {
        const text = parts.join("") + end
        expect(parse(cutAt(text, places))).toEqual(parse([text]))
        expect(parse([...text])).toEqual(parse([text]))
      }),
      { numRuns: 500 }
    )
  })

  it("never throws on garbage, and comes to the same end however it is portioned", () => {
    const piece = fc.oneof(
      fc.constantFrom(
        "*",
        "$",
        "\r\n",
        "\r",
        "\n",
        "1",
        "2",
        "-1",
        "3",
        '"',
        "'",
        "\\",
        " ",
        "\0",
        "PING",
        "*2\r\n",
        "$1\r\n",
        "$0\r\n"
      ),
      fc.nat(255).map((code) => String.fromCharCode(code))
    )
    const garbage = fc.array(piece, { maxLength: 60 }).map((pieces) => pieces.join(""))
    fc.assert(
      fc.property(garbage, fc.array(fc.nat(10_000), { maxLength: 10 }), (text, places) => {
        expect(parse(cutAt(text, places))).toEqual(parse([text]))
      }),
      { numRuns: 5_000 }
    )
  })
})

describe("splitArgs", () => {
  it.each([
    ["", []],
    ["  a\tb\v c ", ["a", "b", "c"]],
    ["\"a b\" 'c d'", ["a b", "c d"]],
    ['"\\n\\r\\t\\b\\a\\x41\\xZZ\\q\\""', ['\n\r\t\b\x07AxZZq"']],
    ["'a\\'b\\n'", ["a'b\\n"]],
    ['a"b c"', ["ab c"]],
    ['""', [""]],
    ['"a"b', undefined],
    ["'a'b", undefined],
    ['"a', undefined],
    ["'a", undefined]
  ])("%j gives %j", (line, expected) => {
    expect(splitArgs(line)).toEqual(expected)
  })
})
