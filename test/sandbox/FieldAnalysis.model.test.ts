/** What the analysis leaves out must never be missed: a source does the same with the fields it found and with all. */
import fc from "fast-check"
import { expect, it } from "vitest"
import { RunStatus } from "../../src/sandbox/index.ts"
import { scheduleCount } from "../support/Random.ts"
import { define, limits, makeVm, slots } from "./support.ts"

const fragments = [
  "see(event.key)",
  "see(event.value, event.old_value)",
  "see(event['key'] .. event.value)",
  "local e = event",
  "see(e and e.value)",
  "see(e.key)",
  "local event = { key = 'mine' }",
  "do local event = { value = 'inner' } see(event.value) end",
  "local function f(event) return event.value end see(f({ value = 'given' }))",
  "event.key = 'set'",
  "event.extra = (event.extra or 0) + 1 see(event.extra)",
  "e = { key = 'global' }",
  "local t = { event = 1, key = event.key } see(t.event, t.key)",
  "for k in pairs(event) do see(k == 'key') end",
  "see(#event.value)",
  "-- event.old_value",
  "--[[ event ]]",
  "see('event.old_value', [[event]])",
  "see(event.missing)",
  "local k = 'val' .. 'ue' see(event[k])",
  "see(select('#', 1, 2))",
  "local a, b = event.key, event.value see(a, b)",
  "see(event.metadata and event.metadata.n)",
  "goto done see(event.old_value) ::done::"
]

it("sees all that it reads, whatever way it is written", () => {
  const seen: Array<string> = []
  const vm = makeVm({
    hostTables: {
      host: {
        see(call) {
          for (let i = 1; i <= call.count; i++) seen.push(`${call.kind(i)} ${call.string(i)}`)
        }
      }
    }
  })
  const run = (source: string): ReadonlyArray<string> => {
    const program = define(vm, source)
    vm.frame.reset()
    vm.frame.string(slots.key, "k")
    vm.frame.string(slots.value, "v")
    vm.frame.string(slots.old_value, "o")
    vm.frame.value(slots.metadata, { n: 7 })
    seen.length = 0
    const status = vm.run(program, limits)
    const outcome = [...seen, status === RunStatus.ok ? "ok" : vm.lastError.message]
    vm.remove(program)
    return outcome
  }
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...fragments), { minLength: 1, maxLength: 6 }), (parts) => {
      const source = parts.map((part) => (part.startsWith("goto") ? `do ${part} end` : part)).join("\n")
      const plain = `local see = host.see\n${source}`
      expect(run(plain)).toEqual(run(`${plain}\ndo return ... end`)) // which makes it dynamic
    }),
    { numRuns: scheduleCount(1_000) }
  )
})
