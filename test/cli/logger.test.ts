/** Log records as flat JSON lines. */
import { Cause, Effect, Logger } from "effect"
import { describe, expect, it } from "vitest"
import { jsonLine } from "../../src/cli/logger.ts"

/** What the records of an effect are written as. */
const linesOf = (effect: Effect.Effect<unknown>): string[] => {
  const lines: string[] = []
  const logger = Logger.make((record: Logger.Logger.Options<unknown>) => void lines.push(jsonLine(record)))
  Effect.runSync(Effect.provide(effect, Logger.replace(Logger.defaultLogger, logger)))
  return lines
}

const recordOf = (effect: Effect.Effect<unknown>): Record<string, unknown> => {
  const lines = linesOf(effect)
  expect(lines).toHaveLength(1)
  expect(lines[0]).not.toContain("\n")
  return JSON.parse(lines[0] as string)
}

describe("a log record", () => {
  it("is one flat object: when, how bad, what, and its annotations", () => {
    const record = recordOf(Effect.annotateLogs(Effect.logWarning("webhook given up"), { webhook: "id-1", attempt: 5 }))
    expect(record).toEqual({
      ts: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      level: "WARN",
      msg: "webhook given up",
      webhook: "id-1",
      attempt: 5
    })
    expect(Object.keys(record).slice(0, 3)).toEqual(["ts", "level", "msg"])
  })

  it("keeps its own fields from annotations of the same name", () => {
    const fields = { ts: "never", level: "none", msg: "other", error: "no" }
    expect(recordOf(Effect.annotateLogs(Effect.logInfo("said"), fields))).toMatchObject({
      level: "INFO",
      msg: "said",
      ts_: "never",
      level_: "none",
      msg_: "other",
      error_: "no"
    })
  })

  it("joins several messages, and tells values that are no text as JSON", () => {
    expect(recordOf(Effect.logInfo("a", { b: 1 }, 2))).toMatchObject({ msg: 'a {"b":1} 2' })
    expect(recordOf(Effect.logInfo("line one\nline two"))).toMatchObject({ msg: "line one\nline two" })
  })

  it("says what failed", () => {
    const record = recordOf(Effect.logError("process crashed", Cause.die(new Error("boom"))))
    expect(record).toMatchObject({
      level: "ERROR",
      msg: "process crashed",
      error: expect.stringContaining("Error: boom")
    })
  })

  it("survives values that JSON cannot tell", () => {
    const circular: Record<string, unknown> = { name: "me" }
    circular.self = circular
    const twice = { a: 1 }
    const annotations = { circular, big: 2n, error: new TypeError("bad"), pair: [twice, twice] }
    expect(recordOf(Effect.annotateLogs(Effect.logInfo("x"), annotations))).toMatchObject({
      msg: "x",
      circular: { name: "me", self: "[itself]" },
      big: "2",
      error_: "TypeError: bad",
      pair: [{ a: 1 }, { a: 1 }]
    })
  })

  it("tells spans in milliseconds", () => {
    expect(recordOf(Effect.withLogSpan(Effect.logInfo("x"), "load"))).toMatchObject({ load_ms: expect.any(Number) })
  })
})
