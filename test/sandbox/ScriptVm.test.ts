import { describe, expect, it } from "vitest"
import {
  AnswerError,
  type HostCall,
  LuaVm,
  MachineMemory,
  ScriptStep,
  ScriptVm,
  type WorldState
} from "../../src/sandbox/index.ts"
import { Snapshot } from "../../src/sandbox/internal/snapshot.ts"
import { finish, makeScript, runScript, scriptLimits } from "./scriptSupport.ts"
import { define, limits as triggerLimits } from "./support.ts"

const { done, error, timeout, memory, killed, computing, waiting } = ScriptStep

describe("a run", () => {
  it("executes the chunk first in a new world, once, and then the function with its arguments", () => {
    const lines: Array<string> = []
    const vm = makeScript("print('top') n = 0 function main(a, b) n = n + 1 return { n, a, b } end", {
      print: (line) => void lines.push(line)
    })
    expect(vm.world.isNew).toBe(true)
    expect(finish(vm, "main", ["x", { y: [1, 2] }]).result).toEqual([1, "x", { y: [1, 2] }])
    expect(vm.world.isNew).toBe(false)
    expect(finish(vm, "main", [1.5, null]).result).toEqual([2, 1.5])
    expect(lines).toEqual(["top"])
  })

  it("executes the chunk again where it failed the first time", () => {
    const vm = makeScript(
      "tries = (tries or 0) + 1 if tries < 2 then error('not yet') end function main() return tries end"
    )
    expect(finish(vm)).toMatchObject({ step: error, result: "not yet" })
    expect(finish(vm)).toMatchObject({ step: done, result: 2 })
  })

  it("answers the first value, and nil as null", () => {
    const vm = makeScript("function two() return 1, 2 end function none() end function f() return print end")
    expect(finish(vm, "two").result).toBe(1)
    expect(finish(vm, "none").result).toBeNull()
    expect(finish(vm, "f").result).toMatchObject({ reason: "function" })
  })

  it("says which functions there are when the one asked for is not there, also where it is one of Lua's", () => {
    const vm = makeScript("function main() end function check() end x = 1")
    for (const name of ["x", "print", "nope"]) {
      expect(finish(vm, name)).toMatchObject({
        step: error,
        result: `there is no function '${name}' in the script; it defines: check, main`
      })
    }
    expect(finish(makeScript("x = 1")).result).toBe(
      "there is no function 'main' in the script; it defines: no function"
    )
  })

  it("refuses an argument that cannot cross, and more of them than it takes", () => {
    const vm = makeScript("function main() end")
    const odd = { f: (() => 1) as never }
    expect(finish(vm, "main", [1, odd])).toMatchObject({ step: error, result: "argument 2.f is a function" })
    expect(finish(vm, "main", new Array(65).fill(1)).result).toMatch(/at most 64 arguments/)
    expect(finish(vm)).toMatchObject({ step: done })
  })

  it("is refused while another one is suspended, as is going on with none", () => {
    const vm = makeScript("function main() host.wait() end")
    expect(() => vm.resume()).toThrow("no run is suspended")
    expect(vm.start("main", [], scriptLimits)).toBe(waiting)
    expect(() => vm.start("main", [], scriptLimits)).toThrow("a run is suspended")
    expect(vm.resume()).toBe(done)
  })

  it("has the generator of its world, which a seed starts anew", () => {
    const vm = makeScript("function main() return math.random(1, 1000000) end")
    vm.seed(7)
    const first = [finish(vm).result, finish(vm).result]
    vm.seed(7)
    expect([finish(vm).result, finish(vm).result]).toEqual(first)
    expect(first[0]).not.toBe(first[1])
  })
})

describe("a slice", () => {
  it("ends in the middle of a loop, and the run goes on where it was", () => {
    const vm = makeScript("function main() local n = 0 for i = 1, 100000 do n = n + i end return n end")
    const { result, steps } = finish(vm)
    expect(result).toBe(5_000_050_000)
    expect(steps).toBe(Math.floor(vm.fuelSpent / scriptLimits.sliceFuel) + 1)
    expect(steps).toBeGreaterThan(1)
  })

  it("ends in each coroutine of a chain, and none of them notices", () => {
    const source = `
      local function burn(n) for i = 1, n do end return n end
      function main()
        local seen = {}
        local inner = coroutine.create(function(x)
          seen[#seen + 1] = burn(40000) + x
          local y = coroutine.yield("one")
          seen[#seen + 1] = burn(40000) + y
          return "two"
        end)
        local outer = coroutine.wrap(function()
          local ok, a = coroutine.resume(inner, 1)
          seen[#seen + 1] = tostring(ok) .. a .. coroutine.status(inner)
          coroutine.yield(burn(40000))
          ok, a = coroutine.resume(inner, 2)
          seen[#seen + 1] = tostring(ok) .. a .. coroutine.status(inner)
          for v in coroutine.wrap(function() for i = 1, 3 do burn(20000) coroutine.yield(i) end end) do
            seen[#seen + 1] = v
          end
          return burn(40000)
        end)
        return { outer(), outer(), seen }
      end`
    const whole = finish(makeScript(source), "main", [], { sliceFuel: 10_000_000 })
    expect(whole).toMatchObject({
      steps: 1,
      result: [40000, 40000, [40001, "trueonesuspended", 40002, "truetwodead", 1, 2, 3]]
    })
    for (const sliceFuel of [100, 1000, 30_000]) {
      const sliced = finish(makeScript(source), "main", [], { sliceFuel, fuelMax: 1e9 })
      expect(sliced.result).toEqual(whole.result)
      expect(sliced.steps).toBeGreaterThan(5)
    }
  })

  it("lets errors through a chain that has been suspended", () => {
    const source = `
      local function burn() for i = 1, 50000 do end end
      function main()
        local co = coroutine.wrap(function()
          local closed <close> = setmetatable({}, { __close = function() burn() state = "closed" end })
          burn() error({ code = 5 })
        end)
        local ok, e = pcall(co)
        local ok2, e2 = pcall(coroutine.wrap(function() burn() error("text") end))
        local ok3, e3 = coroutine.resume(coroutine.create(function() burn() local x = nil + 1 end))
        return { ok, e.code, state, ok2, e2, ok3, e3 }
      end`
    const expected = [
      false,
      5,
      "closed",
      false,
      "script:9: text",
      false,
      "script:10: attempt to perform arithmetic on a nil value"
    ]
    expect(finish(makeScript(source), "main", [], { sliceFuel: 5_000_000 }).result).toEqual(expected)
    const sliced = finish(makeScript(source), "main", [], { sliceFuel: 1000 })
    expect(sliced.result).toEqual(expected)
    expect(sliced.steps).toBeGreaterThan(50)
  })

  it("by the clock ends when its time is over", () => {
    let nowMs = 0
    const vm = makeScript("function main() for i = 1, 200000 do end end", {
      clock: { epochMs: () => 0, elapsedMs: () => (nowMs += 0.1) }
    })
    // Each look at the clock finds 0.1 ms more; the first one of a step counts as 65 µs.
    const { steps, step } = finish(vm, "main", [], { sliceMs: 1 })
    expect(step).toBe(done)
    expect(steps).toBe(Math.ceil(vm.fuelSpent / (11 * 16_384)))
  })

  it("by the clock counts no more than work for the time that the process stood still", () => {
    let nowMs = 0
    const vm = makeScript(
      "function main() local t = {} for i = 1, 300 do t[i] = 301 - i end table.sort(t) return 1 end",
      {
        clock: { epochMs: () => 0, elapsedMs: () => (nowMs += 1000) }
      }
    )
    expect(finish(vm, "main", [], { sliceMs: 1 })).toMatchObject({ step: done, result: 1 })
  })

  it("that is over where Lua cannot be suspended ends in an error that says so", () => {
    const sources = {
      "a metamethod": "return table.concat(setmetatable({}, { __len = function() while true do end end }))",
      "a __close method":
        "local co = coroutine.create(function() local x <close> = setmetatable({}, { __close = function() while true do end end }) coroutine.yield() end) coroutine.resume(co) coroutine.close(co)"
    }
    for (const [name, source] of Object.entries(sources)) {
      const vm = makeScript(`function main() ${source} end`)
      const { step, result } = finish(vm)
      expect([name, step]).toEqual([name, timeout])
      expect(result).toMatch(/^held the thread in one call of a library function, in a metamethod that/)
      expect(vm.failure.line).toBe(1)
      expect(vm.fuelSpent).toBeLessThan(scriptLimits.fuelMax)
    }
  })

  it("that is over in a message handler, which runs without a hook, is killed", () => {
    const vm = makeScript("function main() return xpcall(error, function() while true do end end) end")
    expect(finish(vm).step).toBe(killed)
    expect(vm.failure.line).toBe(1)
  })

  it("that no error can end is killed, and the machine needs another world", () => {
    const vm = makeScript("function main() return ('a'):rep(1000):find('.-.-.-.-b') end")
    const { step, result } = finish(vm)
    expect(step).toBe(killed)
    expect(result).toMatch(/^killed: no error could stop it/)
    expect(vm.isBroken).toBe(true)
    expect(() => vm.start("main", [], scriptLimits)).toThrow("needs another world")
  })
})

describe("a limit", () => {
  it("of fuel ends the run, whatever it catches", () => {
    const vm = makeScript(`
      function main() while true do pcall(function() while true do end end) end end
      function wrapped() while true do pcall(coroutine.wrap(function() while true do end end)) end end
      function fine() return 1 end`)
    for (const entry of ["main", "wrapped"]) {
      const { step, result } = finish(vm, entry, [], { fuelMax: 1_000_000 })
      expect([step, result]).toEqual([timeout, "stopped after 1000000 units of fuel"])
      expect(vm.fuelSpent).toBeGreaterThanOrEqual(1_000_000)
      expect(vm.fuelSpent).toBeLessThan(1_100_000)
      expect(finish(vm, "fine")).toMatchObject({ step: done, result: 1, steps: 1 })
    }
  })

  it("of memory ends the run, and what it has left does not end the next one", () => {
    const vm = makeScript(`
      function main() local t = {} while true do t[#t + 1] = { #t } end end
      function fill() local t = {} for i = 1, 20000 do t[i] = { i } end return #t end`)
    for (let round = 0; round < 3; round++) {
      expect(finish(vm)).toMatchObject({ step: memory, result: "not enough memory (more than 4194304 bytes)" })
      expect(finish(vm, "fill")).toMatchObject({ step: done, result: 20000 })
    }
  })

  it("of memory counts what lives, and garbage only for a while", () => {
    const source =
      "function main() for i = 1, 100000 do local t = { i, tostring(i) } end return collectgarbage('count') end"
    const vm = makeScript(source)
    expect(finish(vm, "main", [], { bytesMax: 512 << 10 })).toMatchObject({ step: done })
    expect(vm.result).toBeLessThan(512)
  })

  it("of memory holds for its arguments and its chunk, and where the world is above it already", () => {
    const vm = makeScript("function main(s) x = (x or '') .. s return #x end")
    expect(finish(vm, "main", ["a".repeat(300_000)], { bytesMax: 200_000 }).step).toBe(memory)
    expect(finish(vm, "main", ["a".repeat(300_000)]).result).toBe(300_000)
    expect(finish(vm, "main", ["a".repeat(3_000)], { bytesMax: 100_000 }).step).toBe(memory)
    expect(finish(vm, "main", ["a"])).toMatchObject({ step: done, result: 300_001 })
  })

  it("of fuel is charged for work of the host, which is refused past it", () => {
    const worked: Array<boolean> = []
    const vm = makeScript("function main(n) for i = 1, 100 do host.work(n) end end", {
      hostTables: { host: { work: (call) => void worked.push(call.charge(call.number(1) ?? 0)) } }
    })
    expect(finish(vm, "main", [300_000], { fuelMax: 1_000_000 }).step).toBe(timeout)
    expect(worked).toEqual([true, true, true, false])
    expect(vm.fuelSpent).toBeLessThan(1_000_000)
  })
})

describe("work that no run can pay for", () => {
  it("is not on the bill, however often it is asked for, nor when the run is killed for that", () => {
    const vm = makeScript(
      `function main()
        local ask = function() host.work(1e9) end
        for i = 1, 3 do pcall(xpcall, ask, function() for j = 1, 3 do ask() end end) end
      end`,
      { hostTables: { host: { work: (call) => void call.charge(call.number(1) ?? 0) } } }
    )
    const fuelMax = 200_000
    expect([ScriptStep.timeout, ScriptStep.killed]).toContain(finish(vm, "main", [], { fuelMax }).step)
    expect(vm.fuelSpent).toBeLessThan(fuelMax + 4_000_000) // what it takes to stop a run
  })
})

describe("work that is long at once", () => {
  /** Each look at the clock finds that a slow machine has had other things to do. */
  const slowClock = () => {
    let ms = 0
    return {
      epochMs: () => 0,
      elapsedMs: () => {
        ms += 10
        return ms
      }
    }
  }
  const byClock = { sliceMs: 1, fuelMax: 1e9, bytesMax: 8 << 20 }

  it("of a recursion without end says that it is the stack, by the clock and by fuel", () => {
    const source = "function f(n) return n + f(n + 1) end function main() return f(1) end"
    const full = "function main() local t = {} for i = 1, 1e7 do t[i] = {} end end"
    for (const limits of [byClock, {}]) {
      const deep = finish(makeScript(source, { clock: slowClock() }), "main", [], limits)
      expect([timeout, memory, ScriptStep.killed]).toContain(deep.step)
      expect(deep.result).toMatch(/stack overflow: more than 10000 calls within each other$/)
      expect(finish(makeScript(full, { clock: slowClock() }), "main", [], limits).result).not.toContain(
        "stack overflow"
      )
    }
  })

  it("is done in pieces where Lua's own function would hold the thread for its size", () => {
    const source = `
      function rep() return #(("x"):rep(1 << 20)) + #(("ab"):rep((1 << 19) + 3, ",")) end
      function cases() local s = ("x"):rep(1 << 20) return #s:upper():lower():reverse() end
      function escape() local s = ("<b>"):rep(100000) return #(s:gsub("[<>]", { ["<"] = "&lt;", [">"] = "&gt;" })) end
      function move() local t = {} for i = 1, 50000 do t[i] = i end return #table.move(t, 1, 50000, 2) end`
    for (const [entry, result] of [
      ["rep", 2621448],
      ["cases", 1 << 20],
      ["escape", 900_000],
      ["move", 50_001]
    ] as const) {
      const limits = { fuelMax: 1e9, bytesMax: 8 << 20, sliceFuel: 20_000 }
      const finished = finish(makeScript(source), entry, [], limits)
      expect(finished).toMatchObject({ step: done, result })
      expect(finished.steps).toBeGreaterThan(3)
      expect(finish(makeScript(source, { clock: slowClock() }), entry, [], byClock)).toMatchObject({
        step: done,
        result
      })
    }
  })

  it("of one call of the host is not cut short, whatever else the machine is busy with", () => {
    let calls = 0
    const vm = makeScript("function main() for i = 1, 5 do host.work() end return 'done' end", {
      clock: slowClock(),
      hostTables: {
        host: {
          work: (call) => {
            for (let i = 0; i < 40; i++) if (!call.charge(25_000)) return // 4 ms
            calls++
          }
        }
      }
    })
    expect(finish(vm, "main", [], byClock)).toMatchObject({ step: done, result: "done" })
    expect(calls).toBe(5)
  })

  it("of call after call of the host, where the script cannot be suspended, ends the run", () => {
    let calls = 0
    const vm = makeScript(
      `function main()
        local t, meta = {}, { __lt = function() host.work() return true end }
        for i = 1, 200 do t[i] = setmetatable({}, meta) end
        table.sort(t)
      end`,
      {
        clock: slowClock(),
        hostTables: {
          host: {
            work: (call) => {
              if (call.charge(250_000)) calls++
            }
          }
        }
      }
    )
    expect(finish(vm, "main", [], byClock).step).toBe(timeout)
    expect(vm.failure.message).toMatch(/^held the thread/)
    expect(calls).toBeLessThan(12)
  })
})

describe("a wait", () => {
  it("suspends the script until it has its answer", () => {
    const vm = makeScript("function main() local t = {} for i = 1, 3 do t[i] = host.wait(i) end return t end")
    const { result, waits } = finish(vm, "main", [], {}, (wait) => ({ wait }))
    expect(result).toEqual([{ wait: 0 }, { wait: 1 }, { wait: 2 }])
    expect(waits).toBe(3)
  })

  it("suspends a chain of coroutines, a pcall, an iterator, a comparator, a replacement", () => {
    const source = `
      function main()
        local log = {}
        log[1] = coroutine.wrap(function() return select(2, pcall(coroutine.wrap(function() return host.wait() end))) end)()
        for v in function(_, last) local v = host.wait() if v < 3 then return v end end do log[#log + 1] = v end
        local t = { 3, 1, 2 }
        table.sort(t, function(a, b) host.wait() return a < b end)
        log[#log + 1] = table.concat(t, ",")
        log[#log + 1] = ("ab"):gsub(".", function(c) return c .. host.wait() end)
        log[#log + 1] = tostring(setmetatable({}, { __tostring = function() return "t" .. host.wait() end }))
        log[#log + 1] = setmetatable({}, { __index = function(_, k) return k .. host.wait() end }).key
        log[#log + 1] = load(function() return host.wait() > 100 and "" or nil end) ~= nil
        return log
      end`
    const { step, result, waits } = finish(makeScript(source), "main", [], {}, (wait) => wait)
    expect([step, result, waits]).toEqual([done, [0, 1, 2, "1,2,3", "a6b7", "t8", "key9", true], 11])
  })

  it("ends in an error at the line that called, when that is the answer", () => {
    const source = "function main()\n  local ok, e = pcall(function()\n return host.wait()\n end)\n host.wait() end"
    const vm = makeScript(source)
    const answers = ["first", "second"]
    const { step } = finish(vm, "main", [], {}, (wait) => new AnswerError(answers[wait] as string))
    expect(step).toBe(error)
    expect(vm.failure).toMatchObject({ message: "second", line: 5 })
  })

  it("is an error where Lua cannot be suspended, and the host is told not to begin", () => {
    const begun: Array<boolean> = []
    const vm = makeScript("function main() return table.concat(setmetatable({}, { __len = host.wait })) end", {
      hostTables: { host: { wait: (call) => void begun.push(call.wait()) } }
    })
    expect(finish(vm).result).toMatch(/^nothing can wait in a metamethod/)
    expect(begun).toEqual([false])
  })

  it("takes no fuel and no slice while it lasts, and its answer counts against the memory", () => {
    const vm = makeScript("function main() return #host.wait() end")
    expect(finish(vm, "main", [], {}, () => "x".repeat(100_000)).result).toBe(100_000)
    expect(finish(vm, "main", [], { bytesMax: 100_000 }, () => "x".repeat(100_000)).step).toBe(memory)
    expect(finish(vm, "main", [], {}, () => ({ f: (() => 1) as never })).result).toBe("result.f is a function")
  })

  it("is a defect in a machine for triggers", () => {
    const vm = new LuaVm({ fields: [], hostTables: { host: { wait: (call) => void call.wait() } } })
    const program = define(vm, "host.wait()")
    expect(() => vm.run(program, triggerLimits)).toThrow("does not run scripts")
  })
})

describe("a failure", () => {
  it("names the line and the way to it, and not what lies behind", () => {
    const vm = makeScript(`
local function inner(x) return x.y end
function check(x)
  local r = inner(x)
  return r
end
function main() local r = check(nil) return r end`)
    finish(vm)
    expect(vm.failure).toEqual({
      isRefusal: false,
      message: "attempt to index a nil value (local 'x')",
      line: 2,
      traceback:
        "stack traceback:\n\tscript:2: in upvalue 'inner'\n\tscript:4: in function 'check'\n\tscript:7: in function <script:7>"
    })
  })

  it("of a value that is no text is told without asking it", () => {
    const vm = makeScript(
      "function main() error(setmetatable({}, { __tostring = function() while true do end end })) end"
    )
    expect(finish(vm)).toMatchObject({ step: error, result: "(error object is a table value)", steps: 1 })
    expect(vm.failure.line).toBe(1)
  })

  it("of a deep stack has a short traceback", () => {
    const vm = makeScript(
      "local function deep(n) if n == 0 then error('bottom') end return 1 + deep(n - 1) end function main() return deep(5000) end"
    )
    expect(finish(vm).result).toBe("bottom")
    expect(vm.failure.traceback.length).toBeLessThan(4096)
    expect(vm.failure.traceback).toMatch(/\n\t\.\.\.$/)
  })

  it("closes what the run left open, with the fuel of the run", () => {
    const vm = makeScript(`
      function main() local x <close> = setmetatable({}, { __close = function() closed = true end }) error("x") end
      function hangs() local x <close> = setmetatable({}, { __close = function() while true do end end }) error("x") end
      function get() return closed end`)
    expect(finish(vm).step).toBe(error)
    expect(finish(vm, "get").result).toBe(true)
    expect(finish(vm, "hangs").step).toBe(error)
    expect(finish(vm, "get")).toMatchObject({ step: done, result: true })
  })

  it("of a host function goes through, and the machine needs another world", () => {
    const vm = makeScript("function main() host.bad() end", {
      hostTables: {
        host: {
          bad: () => {
            throw new Error("a defect")
          }
        }
      }
    })
    expect(() => finish(vm)).toThrow("a defect")
    expect(vm.isBroken).toBe(true)
  })

  it("that waits at a tail call is at the nearest line that is left", () => {
    const waits = {
      source: "local h = ... return function() local a = h.wait() return a end",
      host: { wait: (call: HostCall) => call.wait() }
    }
    const vm = makeScript(
      "local function f() return host.ask() end\nfunction main()\n  local r = f()\n  return r\nend",
      {
        hostTables: { host: { ask: waits } }
      }
    )
    expect(vm.start("main", [], scriptLimits)).toBe(ScriptStep.waiting)
    expect(vm.world.line).toBe(3)
  })
})

describe("globals", () => {
  const source = "function main() return { api.url, api.tags[2], #api.tags, f and f('a', { 1 }) or 'none' } end"

  it("are values, frozen in depth, and functions that call the host", () => {
    const calls: Array<unknown> = []
    const vm = makeScript(
      `${source}
      function change() local ok, e = pcall(function() api.tags[1] = 2 end) return { ok, e, rawget(api, "url") } end
      function walk() local n = {} for k, v in pairs(api) do n[#n + 1] = k end table.sort(n) return n end
      function fails() f() end`,
      {
        invoke: (call) => {
          calls.push([call.string(1), call.count, call.value(3)])
          if (call.count === 1) call.fail("no arguments")
          else call.returnInteger(42)
        }
      }
    )
    const globals = { values: { api: { url: "u", tags: ["a", "b"] } }, functions: ["f"] }
    expect(finish(vm, "main", [], {}, undefined, globals).result).toEqual(["u", "b", 2, 42])
    expect(calls).toEqual([["f", 3, [1]]])
    // They stay for the runs that follow.
    expect(finish(vm, "change").result).toMatchObject([false, /frozen table \(field '1'\)/])
    expect(finish(vm, "walk").result).toEqual(["tags", "url"])
    finish(vm, "fails")
    expect(vm.failure).toMatchObject({ message: "no arguments", line: 4 })
  })

  it("are replaced by those of a later run, and what they hid is there again", () => {
    const vm = makeScript("function main() return { type(f), x or 'none', type(print) } end")
    const run = (globals?: object) => finish(vm, "main", [], {}, undefined, globals).result
    expect(run({ functions: ["f"], values: { x: 1, print: 2 } })).toEqual(["function", 1, "number"])
    expect(run()).toEqual(["function", 1, "number"])
    expect(run({ values: { x: 2 } })).toEqual(["nil", 2, "function"])
    expect(run({})).toEqual(["nil", "none", "function"])
  })
})

describe("a world", () => {
  it("can be taken out while suspended, and goes on in another machine", () => {
    const source = `
      local co = coroutine.wrap(function() local n = 0 while true do n = n + host.wait() coroutine.yield(n) end end)
      function main() local s = {} for i = 1, 3 do for j = 1, 3000 do end s[i] = co() end return s end`
    const machines = [makeScript(source), makeScript("x = 1")] as const
    let at = 0
    let step = machines[0].start("main", [], { ...scriptLimits, sliceFuel: 1000 })
    let moves = 0
    while (step >= computing) {
      const from = machines[at % 2] as ScriptVm
      const to = machines[++at % 2] as ScriptVm
      new Snapshot(from.memory, from.lua).restore(to.memory, to.lua)
      to.adopt(from.world)
      step = step === waiting ? to.resume(10) : to.resume()
      moves++
    }
    expect((machines[at % 2] as ScriptVm).result).toEqual([10, 20, 30])
    expect(moves).toBeGreaterThan(5)
  })

  it("put into a machine where a script was killed runs there as anywhere", () => {
    const vm = makeScript(
      "n = 0 function main() n = n + 1 return n end function hang() return ('a'):rep(1000):find('.-.-.-.-b') end"
    )
    finish(vm)
    const image = new Snapshot(vm.memory, vm.lua)
    const world: WorldState = { ...vm.world }
    for (let round = 0; round < 3; round++) {
      expect(finish(vm, "hang").step).toBe(killed)
      image.restore(vm.memory, vm.lua)
      vm.adopt({ ...world })
      expect(finish(vm).result).toBe(2)
    }
  })

  it("does not grow by runs that leave nothing", () => {
    const vm = makeScript("function main(a) local t = { a, a .. 'x' } return t end function bad() error('x') end")
    finish(vm, "main", ["some"])
    for (let i = 0; i < 2000; i++) {
      finish(vm, "main", ["some argument"])
      if (i % 10 === 0) finish(vm, "bad")
    }
    expect(vm.world.used).toBeLessThan(256 << 10)
  })
})

describe("a machine", () => {
  it("says where a source is no Lua", () => {
    const vm = new ScriptVm({ hostTables: {} })
    expect(vm.compile("s", "function main()\n  x = = 1 end")).toEqual({
      message: "unexpected symbol near '='",
      line: 2,
      column: 7
    })
  })

  it("counts what it holds until it is released", () => {
    const shared = new MachineMemory()
    const vm = makeScript("function main() return #('x'):rep(2000000) end", { shared })
    const small = shared.held
    expect(small).toBeGreaterThan(200_000)
    finish(vm)
    expect(shared.held - small).toBeGreaterThan(1_900_000)
    vm.release()
    expect(shared.held).toBe(0)
  })

  it("refuses a limit that no script fits into", () => {
    expect(() => new ScriptVm({ hostTables: {}, bytesMax: 1000 })).toThrow("a machine holds between")
  })
})

it("a script's own coroutine is the main one, as in Lua", () => {
  expect(
    runScript(`function main()
      local co, isMain = coroutine.running()
      local inner, yieldable = coroutine.wrap(function() return select(2, coroutine.running()), coroutine.isyieldable() end)()
      return { type(co), isMain, coroutine.isyieldable(), coroutine.status(co), inner, yieldable,
        select(2, pcall(coroutine.yield)), select(2, coroutine.resume(co)), select(2, pcall(coroutine.close, co)) }
    end`)
  ).toEqual([
    "thread",
    true,
    false,
    "running",
    false,
    true,
    "attempt to yield from outside a coroutine",
    "cannot resume non-suspended coroutine",
    "cannot close a running coroutine"
  ])
})
