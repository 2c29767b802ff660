/** A machine under attack: a victim's program beside the attacker's, and what must hold of both afterwards. */
import { expect } from "vitest"
import { type HostFunction, type LuaValue, LuaVm, Refusal, RunStatus } from "../../src/sandbox/index.ts"

const names = ["ok", "error", "timeout", "memory", "killed"] as const

export interface Outcome {
  /** How the run ended; `compile` when the source is no Lua. */
  readonly status: (typeof names)[number] | "compile"
  readonly error: string
  readonly line: number
  readonly result: LuaValue | Refusal
  readonly fuel: number
  readonly bytes: number
}

/** By fuel alone, so that each attack ends the same way each time. 200,000 units are about half a millisecond. */
const limits = { timeoutMicros: 100, bytesMax: 64 << 10, fuelMax: 200_000 }

const victim = `
local parts = {}
for word in ("b a"):gmatch("%a") do parts[#parts + 1] = word end
table.sort(parts)
secret = math.max(1, 2)
local globals = 0
for _ in pairs(_G) do globals = globals + 1 end
local co = coroutine.wrap(function(x) return x end)
return string.format("%s %s %s %d %d", table.concat(parts, ","), co(event.key), cache.get("x"), utf8.len("ab"), globals)`

/** Everything that a script could have hung itself on to in the process. */
export const hostFingerprint = (): string =>
  [Object, Array, Function, String, Number, Map, Uint8Array, Promise, Error]
    .map(({ prototype }) => Reflect.ownKeys(prototype).map(String).join())
    .concat(Reflect.ownKeys(globalThis).map(String).join())
    .join("|")

/** What attacks may call: each kind of answer that a host function has. */
export const attackedHost: Readonly<Record<string, HostFunction>> = {
  get: (call) => call.returnString(`<${call.string(1) ?? ""}>`),
  put: (call) => call.returnBoolean(!(call.value(1) instanceof Refusal)),
  fail: (call) => call.fail("refused"),
  big: (call) => call.returnString("x".repeat(10_000)),
  table: (call) => call.returnValue(largeTable),
  work: (call) => void call.charge(call.number(1) ?? 0)
}

const largeTable = Array.from({ length: 200 }, (_, i) => `element ${i}`.padEnd(60, "."))

export const makeAttackVm = () => {
  const vm = new LuaVm({
    fields: ["key", "value"],
    clock: { epochMs: () => 1_700_000_000_000, elapsedMs: () => 0 },
    hostTables: { cache: attackedHost }
  })
  const defined = vm.define("victim", victim)
  if (!defined.ok) throw new Error(defined.error.message)
  vm.rewind()
  const level = vm.bytesUsed
  const host = hostFingerprint()

  const attack = (source: string): Outcome => {
    vm.frame.reset()
    vm.frame.string(0, "k")
    const attacker = vm.define("attack", source)
    if (!attacker.ok) {
      return {
        status: "compile",
        error: attacker.error.message,
        line: attacker.error.line,
        result: null,
        fuel: 0,
        bytes: 0
      }
    }
    const status = vm.evaluate(attacker.program, limits)
    const outcome = {
      status: names[status] as Outcome["status"],
      error: status === RunStatus.ok ? "" : vm.lastError.message,
      line: status === RunStatus.ok ? 0 : vm.lastError.line,
      result: vm.lastResult,
      fuel: vm.lastFuel,
      bytes: vm.lastBytes
    }
    // The next event works, in the machine that was attacked.
    expect(vm.evaluate(defined.program, limits)).toBe(RunStatus.ok)
    expect(vm.lastResult).toBe("a,b k <x> 2 4")
    vm.remove(attacker.program)
    return outcome
  }

  return {
    attack,
    /** Nothing is left of any attack. */
    check() {
      vm.rewind()
      expect(vm.bytesUsed).toBeLessThanOrEqual(level + 64) // an array by program may have grown by one
      expect(vm.isWorn).toBe(false)
      expect(hostFingerprint()).toBe(host)
    }
  }
}
