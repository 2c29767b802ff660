/** A machine that is handed on: nothing of what ran in it is left, to the byte. */
import { describe, expect, it } from "vitest"
import { defaultRunLimits, LuaVm, RunStatus, type VmOptions } from "../../src/sandbox/index.ts"
import type { Machine } from "../../src/sandbox/internal/machine.ts"

/**
 * All that Lua can read: static data and heap. What is left of the C stack, and of the arena by which the host speaks to the
 * machine, is overwritten before anybody reads there. The generator of math.random goes on.
 */
const stateOf = (vm: LuaVm): Buffer => {
  const { machine, cells } = vm as unknown as { machine: Machine; cells: Int32Array }
  const { lua, memory, generator } = machine
  const bytes = Buffer.from(memory.bytes)
  bytes.fill(0, lua.emscripten_stack_get_end(), lua.emscripten_stack_get_base()).fill(0, cells.byteOffset)
  return bytes.fill(0, generator, generator + 32)
}

const run = (vm: LuaVm, source: string): RunStatus => {
  const defined = vm.define("t", source)
  if (!defined.ok) throw new Error(defined.error.message)
  return vm.run(defined.program, { ...defaultRunLimits, timeoutMicros: 1_000, bytesMax: 1 << 20, fuelMax: 1e7 })
}

describe("a machine that is reset", () => {
  const options: VmOptions = { fields: ["key", "value"], hostTables: { cache: { get: (call) => call.returnNil() } } }

  it("is as one that was just made, whatever has run in it", () => {
    const fresh = new LuaVm(options)
    for (const source of [
      "secret = 'a secret of a tenant' return secret",
      "kept = {} for i = 1, 2000 do kept[i] = ('secret'):rep(10) .. i end",
      "string.rep('secret', 1e9)",
      "error('secret')",
      "while true do end",
      "xpcall(error, function() while true do end end)"
    ]) {
      const vm = new LuaVm(options)
      run(vm, source)
      vm.reset()
      expect([source, stateOf(vm).equals(stateOf(fresh))]).toEqual([source, true])
    }
    const other = new LuaVm(options)
    run(other, "secret = 1")
    expect(stateOf(other).equals(stateOf(fresh))).toBe(false)
  })

  it("takes programs and runs them, from the first number on", () => {
    const vm = new LuaVm(options)
    for (let i = 0; i < 100; i++) {
      for (let n = 1; n <= 3; n++) {
        const defined = vm.define(`p${n}`, `n = (n or 0) + 1 return n * ${n}`)
        expect(defined).toMatchObject({ ok: true, program: n })
      }
      for (let n = 1; n <= 3; n++) {
        expect([vm.evaluate(n, defaultRunLimits), vm.lastResult]).toEqual([RunStatus.ok, n])
        expect([vm.evaluate(n, defaultRunLimits), vm.lastResult]).toEqual([RunStatus.ok, 2 * n])
      }
      vm.reset()
    }
    expect(vm.isWorn).toBe(false)
  })

  it("gives back what it held of the shared memory beyond its own, and no more", () => {
    const vm = new LuaVm(options)
    const held = vm.shared.held
    for (let n = 0; n < 100; n++) vm.define(`p${n}`, `return ${n}`)
    vm.rewind()
    expect(vm.shared.held).toBeGreaterThan(held)
    const reached = vm.shared.held
    vm.reset()
    expect(vm.shared.held).toBeLessThan(reached)
    vm.release()
    expect(vm.shared.held).toBe(0)
  })
})
