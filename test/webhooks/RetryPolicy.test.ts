import { describe, expect, it } from "vitest"
import { judge, mishap, type Outcome, type RetrySettings } from "../../src/webhooks/RetryPolicy.ts"

const settings: RetrySettings = { attemptsMax: 5, baseMs: 1_000, growth: 4, maxMs: 30_000 }
const nowMs = 1_700_000_000_000
const answer = (status: number, retryAfter?: string): Outcome => ({ type: "answer", status, retryAfter })
const waitOf = (outcome: Outcome, attempt = 1, chance = 0) => {
  const verdict = judge(outcome, attempt, nowMs, chance, settings)
  return verdict.type === "retry" ? verdict.atMs - nowMs : verdict
}

describe("after an attempt", () => {
  it.each([200, 201, 202, 204, 299])("status %i is a delivery", (status) => {
    expect(judge(answer(status), 5, nowMs, 0, settings)).toEqual({ type: "delivered" })
  })

  it.each([301, 302, 307, 308, 408, 429, 500, 502, 503, 504, 599])("status %i is tried again", (status) => {
    expect(judge(answer(status), 1, nowMs, 0, settings)).toMatchObject({ type: "retry", detail: `status ${status}` })
  })

  it.each([400, 401, 403, 404, 410, 413, 422])("status %i is given up at once", (status) => {
    const verdict = judge(answer(status, "1"), 1, nowMs, 0, settings)
    expect(verdict).toEqual({ type: "dead", cause: "answer", ...mishap(`status ${status}`) })
  })

  it("a failure to reach the receiver is tried again, and given up after the last attempt", () => {
    const words = { detail: "connect ECONNREFUSED 10.0.0.1", shown: "ECONNREFUSED" }
    const failure: Outcome = { type: "failure", ...words }
    expect(judge(failure, 4, nowMs, 0, settings)).toMatchObject({ type: "retry", ...words })
    const verdict = judge(failure, 5, nowMs, 0, settings)
    expect(verdict).toEqual({ type: "dead", cause: "attempts", ...words })
  })

  it("an address that the policy refuses is given up at once", () => {
    const words = { detail: "a.example leads to 10.0.0.1", shown: "refused" }
    const verdict = judge({ type: "refused", ...words }, 1, nowMs, 0, settings)
    expect(verdict).toEqual({ type: "dead", cause: "egress", ...words })
  })
})

describe("the wait before the next attempt", () => {
  it("grows by its factor up to the most, and chance takes away up to a half", () => {
    expect([1, 2, 3, 4].map((attempt) => waitOf(answer(500), attempt, 0))).toEqual([500, 2_000, 8_000, 15_000])
    expect([1, 2, 3, 4].map((attempt) => waitOf(answer(500), attempt, 0.5))).toEqual([750, 3_000, 12_000, 22_500])
    expect(waitOf(answer(500), 1, 1 - Number.EPSILON)).toBe(1_000)
  })

  it.each([
    ["12", 12_000],
    ["0", 500],
    ["999999999", 30_000],
    [new Date(nowMs + 7_000).toUTCString(), 7_000],
    [new Date(nowMs - 7_000).toUTCString(), 500],
    ["soon", 500],
    ["-1", 500]
  ])("is as long as Retry-After asks, within bounds: %s", (header, waitMs) => {
    expect(waitOf(answer(429, header))).toBe(waitMs)
    expect(waitOf(answer(503, header))).toBe(waitMs)
  })
})
