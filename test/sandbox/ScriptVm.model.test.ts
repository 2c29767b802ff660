/** Random hostile programs as scripts: one that is suspended at every turn ends as one that never is, and none hangs. */
import { expect, it } from "vitest"
import { type HostFunction, Refusal, ScriptStep, ScriptVm, type WorldState } from "../../src/sandbox/index.ts"
import { Snapshot } from "../../src/sandbox/internal/snapshot.ts"
import { forAllSeeds, propertyTimeoutMs, scheduleCount } from "../support/Random.ts"
import { hostFingerprint } from "./attackVm.ts"
import { hostileProgram } from "./HostileLua.ts"
import { stillClock } from "./support.ts"

const echo: HostFunction = (call) => {
  const value = call.value(1)
  if (value instanceof Refusal) call.fail(value.message)
  else call.returnValue(value)
}

const cache: Record<string, HostFunction> = {
  get: (call) => call.returnString(`<${call.string(1) ?? ""}>`),
  set: (call) => call.returnBoolean(true),
  delete: () => {},
  emit: (call) => void call.value(1),
  log: (call) => call.returnInteger(call.count),
  fail: (call) => call.fail(call.string(1) ?? "refused"),
  echo,
  big: (call) => call.returnString("x".repeat(30_000)),
  work(call) {
    if (call.charge(call.number(1) ?? 0)) call.returnNumber(0.5)
  }
}

const limits = { fuelMax: 6_000_000, bytesMax: 1 << 20, sliceMs: 0, sliceFuel: 6_000_000 }

it(
  "a random hostile script ends, and as it ends when it is suspended at every turn",
  async () => {
    const vm = new ScriptVm({ hostTables: { cache }, clock: stillClock })
    const blank = new Snapshot(vm.memory, vm.lua)
    const fresh: WorldState = { ...vm.world }
    const host = hostFingerprint()
    const endings = new Set<ScriptStep>()
    let suspended = 0
    let compared = 0
    const run = (source: string, sliceFuel: number, fuelMax: number) => {
      blank.restore(vm.memory, vm.lua)
      vm.adopt({ ...fresh })
      if (vm.compile("hostile", `local event = { key = "k", value = "v" }\nfunction main()\n${source}\nend`))
        return undefined
      let step = vm.start("main", [], { ...limits, sliceFuel, fuelMax })
      while (step >= ScriptStep.computing) {
        step = vm.resume()
        suspended++
      }
      endings.add(step)
      const outcome = step === ScriptStep.done ? vm.result : vm.failure.message
      return { step, fuel: vm.fuelSpent, outcome: outcome instanceof Refusal ? outcome.message : outcome }
    }
    await forAllSeeds(300, (random) => {
      const source = hostileProgram(random)
      const whole = run(source, limits.sliceFuel, limits.fuelMax)
      if (whole === undefined) return
      expect(whole.step).toBeLessThan(ScriptStep.computing)
      expect(whole.fuel).toBeLessThan(limits.fuelMax + 4_000_000)
      expect(hostFingerprint()).toBe(host)
      const isPlain = whole.step === ScriptStep.done || whole.step === ScriptStep.error
      if (!isPlain || whole.fuel > 300_000 || /collectgarbage|clock/.test(source)) return
      const sliced = run(source, 20, 1e9)
      expect({ source, ...sliced, fuel: 0 }).toEqual({ source, ...whole, fuel: 0 })
      compared++
    })
    if (scheduleCount(300) < 300) return
    expect([...endings].sort()).toEqual([0, 1, 2, 3, 4])
    expect(compared).toBeGreaterThan(50)
    expect(suspended).toBeGreaterThan(1000)
  },
  propertyTimeoutMs
)
