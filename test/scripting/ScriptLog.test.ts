import { describe, expect, it } from "vitest"
import { ScriptLog, ScriptLogBytes } from "../../src/scripting/ScriptLog.ts"
import { forAllSeeds, propertyTimeoutMs } from "../support/Random.ts"

const textsOf = (log: ScriptLog, query?: { after?: number; count?: number }) => log.read(query).map(({ text }) => text)

describe("a script log", () => {
  it("numbers its lines from 1 and answers the last ones, or those behind a number", () => {
    const log = new ScriptLog(new ScriptLogBytes())
    for (const text of ["a", "b", "c", "d"]) log.append("s", "print", text, 5, 1_000)
    expect(log.read()[0]).toEqual({ number: 1, atMs: 5, script: "s", kind: "print", text: "a" })
    expect(textsOf(log, { count: 2 })).toEqual(["c", "d"])
    expect(textsOf(log, { after: 1, count: 2 })).toEqual(["b", "c"])
    expect(textsOf(log, { after: 4 })).toEqual([])
    expect(textsOf(log, { after: -5 })).toEqual(["a", "b", "c", "d"])
    expect(textsOf(log, { count: 0 })).toEqual([])
  })

  it("drops its oldest lines past its number of lines, and shows the gap", () => {
    const log = new ScriptLog(new ScriptLogBytes())
    for (let i = 1; i <= 10; i++) log.append("s", "print", `line ${i}`, 0, 3)
    expect(log.read({ after: 2 }).map(({ number }) => number)).toEqual([8, 9, 10])
    expect(log.dropped).toBe(7)
  })

  it("keeps none where none may be kept, and goes on counting", () => {
    const log = new ScriptLog(new ScriptLogBytes())
    log.append("s", "print", "a", 0, 10)
    expect(log.append("s", "print", "b", 0, 0).number).toBe(2)
    expect(log.read()).toEqual([])
    expect(log.dropped).toBe(2)
  })

  it("cuts what is too long, and says how long it was", () => {
    const log = new ScriptLog(new ScriptLogBytes())
    const { text } = log.append("s", "print", "x".repeat(100_000), 0, 10)
    expect(text).toHaveLength(8_192 + "… (100000 characters)".length)
    expect(text).toMatch(/x… \(100000 characters\)$/)
  })

  it("loses its own lines, never another's, when all logs together hold what they may, and keeps a share", () => {
    const shared = new ScriptLogBytes(100_000)
    const [quiet, loud, late] = [new ScriptLog(shared), new ScriptLog(shared), new ScriptLog(shared)]
    quiet.append("s", "print", "here", 0, 1_000)
    for (let i = 0; i < 1_000; i++) loud.append("s", "print", "x".repeat(100), 0, 1_000)
    expect(textsOf(quiet)).toEqual(["here"])
    expect(shared.held).toBeLessThanOrEqual(100_000)
    const alone = loud.dropped
    expect(alone).toBeGreaterThan(500)
    for (let i = 0; i < 100; i++) late.append("s", "print", "y".repeat(100), 0, 1_000)
    expect(late.read().length).toBe(27) // 8 KiB of lines of 301 bytes
    expect(loud.dropped).toBe(alone)
    for (const log of [loud, quiet, late]) log.close()
    expect(shared.held).toBe(0)
    expect(textsOf(loud)).toEqual([])
  })

  it(
    "holds what a plain list would hold",
    () =>
      forAllSeeds(300, (random) => {
        const shared = new ScriptLogBytes()
        const log = new ScriptLog(shared)
        const model: string[] = []
        const linesMax = random.between(1, 40)
        for (let i = 1; i <= 200; i++) {
          const text = "x".repeat(random.below(50))
          log.append("s", "print", text, 0, linesMax)
          model.push(text)
          const first = Math.max(0, model.length - linesMax)
          if (!random.oneIn(5)) continue
          const after = random.below(i + 3)
          const count = random.between(0, 60)
          expect(textsOf(log, { after, count })).toEqual(model.slice(Math.max(first, after)).slice(0, count))
          expect(textsOf(log, { count })).toEqual(count === 0 ? [] : model.slice(first).slice(-count))
        }
        log.close()
        expect(shared.held).toBe(0)
      }),
    propertyTimeoutMs
  )
})
