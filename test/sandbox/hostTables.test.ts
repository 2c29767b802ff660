/** What stands in host tables beside functions of the host: functions written in Lua, null, the empty array. */
import { describe, expect, it } from "vitest"
import type { HostFunction, HostTable, LuaValue } from "../../src/sandbox/index.ts"
import { evaluate, makeVm } from "./support.ts"

const vmWith = (host: HostTable) => makeVm({ hostTables: { host } })

describe("a function of a host table that is written in Lua", () => {
  const sum = {
    source: `
      local host = ...
      local error = error
      return function(last)
        local problem = host.check(last)
        if problem then error(problem, 2) end
        local total = 0
        for i = 1, last do total = total + host.weight(i) end
        return total
      end
    `,
    host: {
      check: ((call) =>
        call.number(1) === undefined ? call.returnString("no number") : call.returnNil()) as HostFunction,
      weight: ((call) => call.returnInteger(2 * (call.number(1) ?? 0))) as HostFunction
    }
  }

  it("calls the host's functions, which no program sees", () => {
    const vm = vmWith({ sum, f: (call) => call.returnNil() })
    expect(evaluate(vm, "return { host.sum(4), host.check == nil, host.weight == nil, type(host.sum) }")).toEqual([
      20,
      true,
      true,
      "function"
    ])
  })

  it("raises its errors at the line that called it, and finds none of its environment's globals", () => {
    const vm = vmWith({
      sum,
      names: { source: "return function() return print, _G, string, host end", host: {} }
    })
    expect(() => evaluate(vm, "\n\nhost.sum()")).toThrow("3: no number")
    expect(evaluate(vm, 'return select("#", host.names()) == 4 and host.names() == nil')).toBe(true)
  })

  it("is frozen in its table like any other, and survives a rewind", () => {
    const vm = vmWith({ sum })
    expect(() => evaluate(vm, "host.sum = nil")).toThrow("frozen")
    vm.rewind()
    expect(evaluate(vm, "return host.sum(1)")).toBe(2)
  })
})

describe("null and the empty array in a host table", () => {
  const seen: Array<unknown> = []
  const table: HostTable = {
    null: null,
    empty: [],
    take: (call) => void seen.push(call.value(1)),
    keep: (call) => call.returnValue(call.value(1) as LuaValue, true),
    drop: (call) => call.returnValue(call.value(1) as LuaValue)
  }

  it("are values that nothing else equals, and that cannot be changed", () => {
    const vm = vmWith(table)
    expect(
      evaluate(
        vm,
        `local n, e = host.null, host.empty
         return { n == host.null, n ~= nil, n ~= e, type(n), (pcall(function() n.x = 1 end)), (pcall(function() return n.x end)) }`
      )
    ).toEqual([true, true, true, "userdata", false, false])
  })

  it("arrive at the host as null and as an empty array", () => {
    seen.length = 0
    evaluate(
      vmWith(table),
      "host.take(host.null) host.take({ host.null, host.empty, {} }) host.take({ a = host.null })"
    )
    expect(seen).toEqual([null, [null, [], Object.create(null)], Object.assign(Object.create(null), { a: null })])
  })

  it("go back as null where the host keeps it, else as nothing; by itself null is nil", () => {
    expect(
      evaluate(
        vmWith(table),
        `local kept = host.keep({ host.null, { a = host.null, b = 1 }, host.empty })
         local dropped = host.drop({ a = host.null, b = 1 })
         return { kept[1] == host.null, kept[2].a == host.null, type(kept[3]), dropped.a == nil, dropped.b,
           host.keep(host.null) == nil, host.drop(host.null) == nil }`
      )
    ).toEqual([true, true, "table", true, 1, true, true])
  })

  it("are no keys", () => {
    seen.length = 0
    evaluate(vmWith(table), "host.take({ [host.null] = 1 })")
    expect(seen).toMatchObject([{ reason: "key" }])
  })
})

describe("a call that answers one of its arguments", () => {
  it("hands back that very one, of any kind, and nil where there is none", () => {
    const vm = vmWith({ second: (call) => call.returnArgument(2), ninth: (call) => call.returnArgument(9) })
    expect(
      evaluate(
        vm,
        `local t = {}
         return { host.second(1, t) == t, host.second(1, print) == print, host.second(1, 2.0), host.second(1) == nil,
           select("#", host.second(1)), host.ninth(1) == nil }`
      )
    ).toEqual([true, true, 2, true, 1, true].map((value) => (value === 2 ? Object(2) : value)))
  })
})
