/** Everything in attacks/: each script says on its first line how it has to end, by fuel alone and so each time. */
import { readdirSync, readFileSync } from "node:fs"
import { describe, expect, it } from "vitest"
import { Refusal } from "../../src/sandbox/index.ts"
import { makeAttackVm, type Outcome } from "./attackVm.ts"

const folder = new URL("attacks/", import.meta.url)
const scripts = readdirSync(folder)
  .sort()
  .map((file) => ({ name: file.replace(".lua", ""), source: readFileSync(new URL(file, folder), "latin1") }))

/** Families that answer something true where they got hold of what they must not have. */
const breaches = /^(absent|bytecode|environment|event|global|host|library|load|metatable|private|protected)-/

const measured = ({ status, error, line, fuel, bytes }: Outcome) => ({ status, error, line, fuel, bytes })

describe("an attack", () => {
  const target = makeAttackVm()
  const twin = makeAttackVm()

  it.each(scripts)("$name ends, and leaves the next event and the machine as they were", ({ name, source }) => {
    const outcome = target.attack(source)
    expect(outcome.status).toBe(/^-- ends: (\w+)\n/.exec(source)?.[1])
    if (breaches.test(name) && !(outcome.result instanceof Refusal)) expect(outcome.result || null).toBeNull()
    expect(outcome.error).not.toMatch(/prelude|out of bounds|unreachable/)
    target.check()
    // A machine without any history sees the same, to the unit and the byte.
    expect(measured(twin.attack(source))).toEqual(measured(outcome))
  })

  it("are at least 120", () => {
    expect(scripts.length).toBeGreaterThanOrEqual(120)
  })
})
