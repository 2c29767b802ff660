import { expect, it } from "vitest"
import { RespReader } from "../../src/cli/RespReader.ts"
import { wordsOf } from "../../src/cli/ShellLine.ts"
import { rawReply, showReply } from "../../src/cli/showReply.ts"

const replyOf = (bytes: string) => {
  const [reply] = new RespReader().push(Buffer.from(bytes.replaceAll("|", "\r\n"), "latin1"))
  if (reply === undefined) throw new Error("no reply")
  return reply
}

const utf8 = (text: string) => Buffer.from(text).toString("latin1")

it.each([
  ["+OK|", "OK"],
  ["-ERR no|", "(error) ERR no"],
  [":7|", "(integer) 7"],
  ["$-1|", "(nil)"],
  ["$3|a b|", '"a b"'],
  [`$4|${utf8("é ü")}|`.replace("4", "5"), '"é ü"'],
  [`$6|${utf8("\u202ea\n")}|`.replace("6", "5"), '"\\xe2\\x80\\xaea\\n"'],
  ['$5|\xff"\\\t\x01|', '"\\xff\\"\\\\\\t\\x01"'],
  [",0.5|", "(double) 0.5"],
  ["#t|", "(true)"],
  ["(99|", "99"],
  ["=7|txt:a\nb|", "a\nb"],
  ["*0|", "(empty array)"],
  ["~0|", "(empty set)"],
  ["%0|", "(empty hash)"],
  ["*2|$1|a|:1|", '1) "a"\n2) (integer) 1'],
  ["*2|*2|+a|+b|+c|", "1) 1) a\n   2) b\n2) c"],
  ["~1|+a|", "1~ a"],
  ["%2|$1|a|*2|+x|+y|$1|b|_|", '1# "a" => 1) x\n   2) y\n2# "b" => (nil)'],
  [`*10|${"+a|".repeat(10)}`, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((at) => `${String(at).padStart(2)}) a`).join("\n")],
  [">3|$7|message|$1|c|$1|p|", '1) "message"\n2) "c"\n3) "p"']
])("shows %j", (bytes, shown) => {
  expect(showReply(replyOf(bytes))).toBe(shown)
})

it.each([
  ["+OK|", "OK"],
  ["$-1|", ""],
  ["$3|a b|", "a b"],
  ["*2|$1|a|*2|:1|#f|", "a\n1\nfalse"],
  ["%1|$1|a|,0.5|", "a\n0.5"],
  ["*0|", ""]
])("shows %j raw", (bytes, shown) => {
  expect(rawReply(replyOf(bytes))).toBe(shown)
})

it("shows bytes such that the shell reads the same bytes again", () => {
  const bytes = String.fromCharCode(...Array.from({ length: 256 }, (_, byte) => byte))
  for (const text of [bytes, utf8("é \u200b\u2028 \ue000\u0378 ok"), ""]) {
    const shown = showReply({ kind: "bulk", text })
    expect(wordsOf(shown)).toEqual([text])
  }
})
