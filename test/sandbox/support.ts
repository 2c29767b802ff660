/** What the tests of this room share: a machine by fuel alone, with a clock that stands still, and ways to run a source. */
import { type Definition, LuaVm, type Program, RunStatus, type VmOptions } from "../../src/sandbox/index.ts"

export const fields = ["key", "value", "old_value", "metadata"]

export const slots = { key: 0, value: 1, old_value: 2, metadata: 3 } as const

/** 100,000 units of fuel, no clock. */
export const limits = { timeoutMicros: 100, bytesMax: 64 << 10, fuelMax: 100_000 }

export const stillClock = { epochMs: () => 1_700_000_000_000, elapsedMs: () => 12_500 }

export const makeVm = (options: Partial<VmOptions> = {}): LuaVm => new LuaVm({ fields, clock: stillClock, ...options })

/** Defines it, or throws what the compiler says. */
export const define = (vm: LuaVm, source: string, name = "test"): Program => {
  const definition: Definition = vm.define(name, source)
  if (!definition.ok)
    throw new Error(`${definition.error.line}:${definition.error.column}: ${definition.error.message}`)
  return definition.program
}

/** What the source answers; throws what it raises. */
export const evaluate = (vm: LuaVm, source: string): unknown => {
  const program = define(vm, source)
  const status = vm.evaluate(program, limits)
  const result = vm.lastResult
  vm.remove(program)
  if (status !== RunStatus.ok) throw new Error(`${vm.lastError.line}: ${vm.lastError.message}`)
  return result
}
