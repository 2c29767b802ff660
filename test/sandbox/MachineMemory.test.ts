import { describe, expect, it } from "vitest"
import { MachineMemory, RunStatus, VmPool, VmWorker } from "../../src/sandbox/index.ts"
import { define, limits, makeVm } from "./support.ts"

const wide = { ...limits, bytesMax: 2 << 20, fuelMax: 10_000_000 }

/** Takes so many bytes and some more: 36 for each table, and its place. */
const hoard = (bytes: number) => `local t = {} for i = 1, ${bytes / 48} do t[i] = {} end`

describe("machines that share their memory", () => {
  it("hold what each has from its start, what its heap has reached, and give it back when they go", () => {
    const shared = new MachineMemory()
    const one = makeVm({ shared })
    const each = shared.held
    expect(each).toBeGreaterThan(200 << 10)
    const two = makeVm({ shared })
    expect(shared.held).toBe(2 * each)
    expect(two.run(define(two, hoard(500 << 10)), wide)).toBe(RunStatus.ok)
    const grown = shared.held
    expect(grown - 2 * each).toBeGreaterThan(500 << 10)
    two.rewind()
    expect(shared.held).toBeGreaterThanOrEqual(grown) // the pages are not the process's again
    two.release()
    expect(shared.held).toBe(each)
    one.release()
    expect(shared.held).toBe(0)
  })

  it("count a run that failed like one that did not", () => {
    const shared = new MachineMemory()
    const vm = makeVm({ shared })
    const before = shared.held
    expect(vm.run(define(vm, hoard(900 << 10)), { ...wide, bytesMax: 600 << 10 })).toBe(RunStatus.memory)
    expect(shared.held - before).toBeGreaterThan(400 << 10)
  })

  it("go on when it is spent, each on a ration, and say so to whoever wants more", () => {
    const shared = new MachineMemory(1)
    const vm = makeVm({ shared })
    expect(shared.isSpent).toBe(true)
    expect(vm.run(define(vm, hoard(32 << 10)), wide)).toBe(RunStatus.ok)
    expect(vm.run(define(vm, hoard(32 << 10)), limits)).toBe(RunStatus.ok)
    expect(vm.run(define(vm, hoard(500 << 10)), wide)).toBe(RunStatus.memory)
    expect(vm.lastError.message).toMatch(
      /^not enough memory \(more than \d+ bytes: all machines together hold the 1 that they may; remove a trigger\)$/
    )
    expect(shared.rationed).toBe(2)
  })

  it("may use again what they have reached before it was spent", () => {
    const shared = new MachineMemory(1 << 20)
    const vm = makeVm({ shared })
    const program = define(vm, hoard(800 << 10))
    expect(vm.run(program, wide)).toBe(RunStatus.ok)
    expect(shared.isSpent).toBe(true)
    vm.rewind()
    const held = shared.held
    expect(vm.run(define(vm, hoard(600 << 10)), wide)).toBe(RunStatus.ok)
    expect(shared.held - held).toBeLessThan(128 << 10)
  })

  it("throw scratch globals away when it is spent, instead of keeping them", () => {
    const kept = (shared: MachineMemory) => {
      const vm = makeVm({ shared })
      const program = define(vm, `kept = (kept or 0) + 1 ${hoard(34 << 10)}`)
      for (let i = 0; i < 20; i++) vm.run(program, limits)
      return vm.rewinds
    }
    expect(kept(new MachineMemory())).toBeLessThan(5)
    expect(kept(new MachineMemory(1))).toBeGreaterThanOrEqual(10)
  })

  it("are replaced without being counted twice", () => {
    const shared = new MachineMemory()
    const worker = new VmWorker("w", new VmPool({ make: () => makeVm({ shared }), spares: 0 }))
    const vm = worker.vm
    if (vm === null) throw new Error("no machine")
    const each = shared.held
    const program = define(vm, hoard(3 << 20))
    vm.run(program, { ...wide, bytesMax: 4 << 20, fuelMax: 100_000_000 })
    vm.rewind()
    expect(vm.isWorn).toBe(true)
    worker.adopt(() => {})
    expect(worker.vm).not.toBe(vm)
    expect(shared.held).toBe(each)
  })
})
