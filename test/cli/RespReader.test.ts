import { describe, expect, it } from "vitest"
import { NoResp, type ReadReply, RespReader } from "../../src/cli/RespReader.ts"

const every = [
  "+OK\r\n",
  "-ERR no\r\n",
  ":-7\r\n",
  "$5\r\na\r\nb\xff\r\n",
  "$-1\r\n",
  "$0\r\n\r\n",
  "*-1\r\n",
  "*0\r\n",
  "*2\r\n*1\r\n:1\r\n$1\r\nx\r\n",
  "_\r\n",
  "#t\r\n",
  "#f\r\n",
  ",1.5\r\n",
  "(123456789012345678901234567890\r\n",
  "=8\r\ntxt:some\r\n",
  "!5\r\nERR x\r\n",
  "%1\r\n$1\r\nk\r\n%0\r\n",
  "~2\r\n:1\r\n:2\r\n",
  ">2\r\n$7\r\nmessage\r\n:1\r\n",
  "|1\r\n+ttl\r\n:5\r\n:8\r\n"
].join("")

const replies: readonly ReadReply[] = [
  { kind: "simple", text: "OK" },
  { kind: "error", text: "ERR no" },
  { kind: "integer", text: "-7" },
  { kind: "bulk", text: "a\r\nb\xff" },
  { kind: "nil" },
  { kind: "bulk", text: "" },
  { kind: "nil" },
  { kind: "array", items: [] },
  {
    kind: "array",
    items: [
      { kind: "array", items: [{ kind: "integer", text: "1" }] },
      { kind: "bulk", text: "x" }
    ]
  },
  { kind: "nil" },
  { kind: "boolean", value: true },
  { kind: "boolean", value: false },
  { kind: "double", text: "1.5" },
  { kind: "big", text: "123456789012345678901234567890" },
  { kind: "verbatim", text: "some" },
  { kind: "error", text: "ERR x" },
  {
    kind: "map",
    pairs: [
      [
        { kind: "bulk", text: "k" },
        { kind: "map", pairs: [] }
      ]
    ]
  },
  {
    kind: "set",
    items: [
      { kind: "integer", text: "1" },
      { kind: "integer", text: "2" }
    ]
  },
  {
    kind: "push",
    items: [
      { kind: "bulk", text: "message" },
      { kind: "integer", text: "1" }
    ]
  },
  { kind: "integer", text: "8" }
]

describe("a reader of replies", () => {
  it("reads every type of RESP2 and RESP3", () => {
    expect(new RespReader().push(Buffer.from(every, "latin1"))).toEqual(replies)
  })

  it.each([1, 2, 3, 7, 50])("reads the same when it comes in pieces of %i bytes", (size) => {
    const reader = new RespReader()
    const read: ReadReply[] = []
    for (let at = 0; at < every.length; at += size) {
      read.push(...reader.push(Buffer.from(every.slice(at, at + size), "latin1")))
    }
    expect(read).toEqual(replies)
  })

  it("gives each reply as soon as it is whole", () => {
    const reader = new RespReader()
    expect(reader.push(Buffer.from("+OK\r\n*2\r\n:1\r\n"))).toEqual([{ kind: "simple", text: "OK" }])
    expect(reader.push(Buffer.from(":2\r"))).toEqual([])
    expect(reader.push(Buffer.from("\n"))).toHaveLength(1)
  })

  it.each(["HTTP/1.1 400 Bad Request\r\n", "x".repeat(70_000)])("refuses what is no RESP", (text) => {
    expect(() => new RespReader().push(Buffer.from(text))).toThrow(NoResp)
  })
})
