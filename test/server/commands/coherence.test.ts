/** COHERENCE DOCTOR and TRACE over RESP, with a service that the test holds. */
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { RespClient } from "../../../src/cli/RespClient.ts"
import type { Diagnosis } from "../../../src/coherence/index.ts"
import type { CoherencePort } from "../../../src/server/commands/CoherencePort.ts"
import { startServer, type TestServer } from "../TestServer.ts"

const diagnosis: Diagnosis = {
  ...{ samples: 7, loaded: 1, asked: 2, silent: ["00000000000003"], stale: 1, verdict: "1 of 7 samples are stale" },
  windows: [0, 100, 1_000, 10_000].map((afterMs, at) => ({
    ...{ afterMs, lower: 4 - at, perBillion: 1, perBillionMax: 2 + at }
  })),
  ...{ samplesEver: 70, staleEver: 3 },
  traces: [{ key: "user:42", forMs: 10_000, isStale: true, lines: ["here it has version 5"] }]
}

let asked: Array<number | undefined>
let answer: Diagnosis | "busy"
let server: TestServer
let client: RespClient

beforeEach(async () => {
  asked = []
  answer = diagnosis
  const coherence: CoherencePort = {
    status: () => {
      throw new Error("nobody asks")
    },
    trace: (key) => [`${key} is not here`],
    forget: () => false,
    look() {},
    acknowledged: async () => ({ acked: 0, missing: [] }),
    examine: async (samples) => {
      asked.push(samples)
      return answer
    }
  }
  server = await startServer({ coherence })
  client = await RespClient.connect({ host: "127.0.0.1", port: server.port })
})
afterEach(async () => {
  client.close()
  await server.stop()
})

describe("COHERENCE DOCTOR", () => {
  it("answers what was found, as fields", async () => {
    const reply = (await client.send("COHERENCE", "DOCTOR")) as unknown[]
    const fields = Object.fromEntries(
      Array.from({ length: reply.length / 2 }, (_, at) => [String(reply[2 * at]), reply[2 * at + 1]])
    )
    expect(fields).toEqual({
      ...{ samples: 7, loaded: 1, asked: 2, stale: 1, verdict: "1 of 7 samples are stale" },
      ...{ samplesEver: 70, staleEver: 3, silent: ["00000000000003"] },
      ...{ lowerAfter0ms: 4, lowerAfter100ms: 3, lowerAfter1000ms: 2, lowerAfter10000ms: 1 },
      ...{ perBillionMax0ms: 2, perBillionMax100ms: 3, perBillionMax1000ms: 4, perBillionMax10000ms: 5 },
      traces: ["user:42: stale for at least 10000 ms", "user:42: here it has version 5"]
    })
  })

  it("takes a number of samples, and refuses what is none", async () => {
    await client.send("COHERENCE", "DOCTOR", "SAMPLES", "25")
    await client.send("COHERENCE", "DOCTOR")
    expect(asked).toEqual([25, 1_000])
    for (const words of [["SAMPLES"], ["SAMPLES", "0"], ["SAMPLES", "x"], ["SAMPLES", "100001"], ["ENTRIES", "5"]]) {
      await expect(client.send("COHERENCE", "DOCTOR", ...words)).rejects.toThrow(
        "coherence: it is COHERENCE DOCTOR [SAMPLES <1 to 100000>]"
      )
    }
    expect(asked).toHaveLength(2)
  })

  it("says so while there is an examination", async () => {
    answer = "busy"
    await expect(client.send("COHERENCE", "DOCTOR")).rejects.toThrow("an examination is under way")
  })

  it("is not there without other instances to share with", async () => {
    const alone = await startServer()
    const other = await RespClient.connect({ host: "127.0.0.1", port: alone.port })
    await expect(other.send("COHERENCE", "DOCTOR")).rejects.toThrow("start it with --namespace")
    other.close()
    await alone.stop()
  })
})
