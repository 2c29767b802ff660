/**
 * The attacks on triggers, as scripts: by fuel alone, in slices. None holds a step longer than the limit, none goes on
 * past its fuel, none leaves anything behind for the next world of the same machine.
 */
import { readdirSync, readFileSync } from "node:fs"
import { describe, expect, it } from "vitest"
import { Refusal, ScriptStep, ScriptVm, type WorldState } from "../../src/sandbox/index.ts"
import { Snapshot } from "../../src/sandbox/internal/snapshot.ts"
import { attackedHost, hostFingerprint } from "./attackVm.ts"

const folder = new URL("attacks/", import.meta.url)
const scripts = readdirSync(folder)
  .sort()
  .map((file) => ({ name: file.replace(".lua", ""), source: readFileSync(new URL(file, folder), "latin1") }))

const breaches = /^(absent|bytecode|environment|global|host|library|load|metatable|private|protected)-/

const limits = { fuelMax: 8_000_000, bytesMax: 1 << 20, sliceMs: 0, sliceFuel: 250_000 }

/** A slice, what a script may hold the thread for, the error, and one look more: ScriptVm.ts. */
const stepFuelMax = limits.sliceFuel + 3_000_000 + 10_000

const runEnd = ["done", "error", "timeout", "memory", "killed"] as const

/** `main` is one more global of the script's own. */
const withoutMain = (source: string): string =>
  source.replace(/^--.*\n/, "").replace("k ~= 'event'", "k ~= 'main' and $&")

const makeTarget = () => {
  const vm = new ScriptVm({
    clock: { epochMs: () => 1_700_000_000_000, elapsedMs: () => 0 },
    hostTables: { cache: { ...attackedHost, wait: (call) => void call.wait() } }
  })
  const blank = new Snapshot(vm.memory, vm.lua)
  const fresh: WorldState = { ...vm.world }
  const renew = () => {
    blank.restore(vm.memory, vm.lua)
    vm.adopt({ ...fresh })
  }
  const attack = (source: string) => {
    renew()
    const error = vm.compile("attack", `event = { key = "k" }\nfunction main()\n${withoutMain(source)}\nend`)
    if (error !== undefined) return { end: "compile", error: error.message, result: null, fuel: 0, steps: 0 }
    let before = 0
    let steps = 1
    let step = vm.start("main", [], limits)
    const check = () => {
      expect(vm.fuelSpent - before).toBeLessThanOrEqual(stepFuelMax)
      before = vm.fuelSpent
    }
    check()
    while (step >= ScriptStep.computing) {
      step = vm.resume("answer")
      steps++
      check()
    }
    const { failure, fuelSpent, result } = vm
    const outcome = {
      end: runEnd[step as number] as string,
      error: step === ScriptStep.done ? "" : failure.message,
      result: step === ScriptStep.done ? result : null,
      fuel: fuelSpent,
      steps
    }
    if (!vm.isBroken) {
      // The world goes on: the next run in it is its own.
      expect([vm.start("missing", [], limits), vm.failure.message]).toEqual([
        ScriptStep.error,
        expect.stringContaining("no function 'missing'")
      ])
    }
    return outcome
  }
  return { attack }
}

describe("an attack by a script", () => {
  const target = makeTarget()
  const twin = makeTarget()
  const host = hostFingerprint()

  it.each(scripts)("$name ends within its fuel, no step longer than the limit", ({ name, source }) => {
    const outcome = target.attack(source)
    if (outcome.end === "compile") return
    expect(runEnd).toContain(outcome.end)
    expect(outcome.fuel).toBeLessThanOrEqual(limits.fuelMax + stepFuelMax)
    expect(outcome.error).not.toMatch(/prelude|out of bounds|unreachable/)
    if (breaches.test(name) && !(outcome.result instanceof Refusal)) expect(outcome.result || null).toBeNull()
    expect(hostFingerprint()).toBe(host)
    expect(twin.attack(source)).toEqual(outcome)
  })
})
