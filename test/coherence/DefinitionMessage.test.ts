/** What registers of definitions say to each other: every message comes back as it was, and nothing else is one. */
import { describe, expect, it } from "vitest"
import {
  bodyBytesMax,
  bucketCount,
  type DefinitionMessage,
  decodeMessage,
  encodeMessage
} from "../../src/coherence/DefinitionMessage.ts"
import { forAllSeeds } from "../support/Random.ts"

const definition = { kind: "script", owner: "t", name: "n", version: 7, author: 2 ** 53 - 1, since: 3, body: "\xff\0é" }
const sums = Array.from({ length: bucketCount }, (_, i) => 2 ** 32 - 1 - i)
const messages: readonly DefinitionMessage[] = [
  { type: "digest", wantsAnswer: true, sums },
  { type: "stamps", bucket: 63, isWhole: false, stamps: [[1, 2, 3]] },
  { type: "ask", hashes: [2 ** 53 - 1, 0] },
  { type: "definitions", definitions: [definition, { ...definition, body: null }], unknown: [5], isAnswer: true }
]

const decoded = (json: unknown) => decodeMessage(Buffer.from(JSON.stringify(json)))

describe("a message between registers", () => {
  it("comes back as it was, of each type", () => {
    for (const message of messages) expect(decodeMessage(encodeMessage(message))).toEqual(message)
  })

  it("of a newer instance is read as far as it is known", () => {
    expect(decoded({ ...messages[2], further: 1 })).toEqual(messages[2])
    expect(decoded({ type: "later", hashes: [] })).toBeUndefined()
  })

  it.each([
    ["no object", 7],
    ["null", null],
    ["too few sums", { type: "digest", wantsAnswer: true, sums: sums.slice(1) }],
    ["a bucket that there is not", { ...messages[1], bucket: bucketCount }],
    ["a stamp of two numbers", { ...messages[1], stamps: [[1, 2]] }],
    ["a hash that is no whole number", { type: "ask", hashes: [0.5] }],
    ["a negative hash", { type: "ask", hashes: [-1] }],
    ["more hashes than anybody asks for", { type: "ask", hashes: new Array(100_001).fill(1) }],
    ["a version that would be the last word", definitionsWith({ version: 2 ** 47 + 1 })],
    ["a body that is no text", definitionsWith({ body: 1 })],
    ["too long a body", definitionsWith({ body: "x".repeat(bodyBytesMax + 1) })],
    ["too long a name", definitionsWith({ name: "x".repeat(129) })]
  ])("with %s is none", (_, json) => {
    expect(decoded(json)).toBeUndefined()
  })

  it("is never thrown about, whatever the bytes", async () => {
    const whole = messages.map(encodeMessage)
    await forAllSeeds(2_000, (random) => {
      const bytes = Uint8Array.from(random.pick(whole))
      for (let i = random.between(1, 4); i > 0; i--) bytes[random.below(bytes.length)] = random.below(256)
      const message = decodeMessage(bytes.subarray(0, random.oneIn(3) ? random.below(bytes.length) : bytes.length))
      if (message !== undefined) expect(decodeMessage(encodeMessage(message))).toEqual(message)
    })
  })
})

function definitionsWith(change: object): unknown {
  return { type: "definitions", definitions: [{ ...definition, ...change }], unknown: [], isAnswer: false }
}
