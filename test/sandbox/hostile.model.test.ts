/** Random hostile programs, by fuel alone: none hangs, none traps the process, and none leaves anything behind. */
import { expect, it } from "vitest"
import { type HostFunction, LuaVm, Refusal, type RunLimits, RunStatus } from "../../src/sandbox/index.ts"
import { arenaStart } from "../../src/sandbox/internal/layout.ts"
import { forAllSeeds, propertyTimeoutMs, Random, scheduleCount } from "../support/Random.ts"
import { hostFingerprint } from "./attackVm.ts"
import { hostileProgram } from "./HostileLua.ts"

const statusNames = ["ok", "error", "timeout", "memory", "killed"] as const

type Ending = (typeof statusNames)[number] | "compile"

/** Reads all of its arguments in every way there is, as a careless host would. */
const readAll: HostFunction = (call) => {
  for (let i = 0; i <= call.count + 1; i++) {
    call.kind(i)
    if (i === 0) continue
    call.string(i)
    call.number(i)
    call.boolean(i)
    expectPlain(call.value(i))
  }
}

const deep = Array.from({ length: 12 }).reduce<object>((inner) => ({ inner, list: [1, [2, "x"]] }), {})

const cache: Record<string, HostFunction> = {
  get(call) {
    readAll(call)
    call.returnString(`<${call.string(1) ?? ""}>`)
  },
  set(call) {
    readAll(call)
    call.returnBoolean(true)
  },
  delete: readAll,
  emit: readAll,
  log(call) {
    readAll(call)
    call.returnInteger(2 ** 53)
  },
  fail: (call) => call.fail(call.string(1) ?? "refused"),
  /** Answers what it was given: nothing may come through as more than data. */
  echo(call) {
    const value = call.value(1)
    if (value instanceof Refusal) call.fail(value.message)
    else call.returnValue(value)
  },
  big: (call) => call.returnString("x".repeat(30_000)),
  deep: (call) => call.returnValue(deep as never),
  work(call) {
    if (call.charge(call.number(1) ?? 0)) call.returnNumber(0.5)
  }
}

const expectPlain = (value: unknown): void => {
  if (typeof value === "function" || typeof value === "symbol") throw new Error(`a ${typeof value} came out of Lua`)
}

const probe = `
local count, words = 0, {}
for name in pairs(_G) do count = count + 1 end
for word in ("d a"):gmatch("%a") do words[#words + 1] = word end
table.sort(words)
local co = coroutine.wrap(function(x) coroutine.yield(x) end)
local t = setmetatable({}, { __index = function(_, k) return k end })
return string.format("%d %s %s %s %s %d", count, table.concat(words), co(event.key), t.y, cache.get("x"), load("return 1")())`

/** A machine that takes one program after the other, with a bystander's program in it. */
class Target {
  readonly vm = new LuaVm({
    fields: ["key", "value", "old_value", "metadata"],
    clock: { epochMs: () => 1_700_000_000_000, elapsedMs: () => 0 },
    hostTables: { cache, cachee: cache }
  })
  private readonly bystander = this.define(probe)
  private readonly level: number

  constructor() {
    this.vm.rewind()
    this.level = this.vm.bytesUsed
  }

  /** Runs the program twice from the same state, and checks all that must hold however it ends. */
  run(source: string, limits: RunLimits, seed: number, looksAtMemory: boolean): Ending {
    const { vm } = this
    const definition = vm.define("hostile", source)
    if (!definition.ok) {
      this.check()
      return "compile"
    }
    vm.rewind()
    vm.seed(seed)
    const memory = looksAtMemory ? this.memory.map((part) => Buffer.from(part)) : []
    const fuel = this.probe()
    const traces = [1, 2].map(() => {
      vm.rewind()
      vm.seed(seed)
      this.memory.forEach((part, i) => {
        if (looksAtMemory && !part.equals(memory[i] as Buffer))
          throw new Error("a rewind has not brought all memory back")
      })
      return this.runs(definition.program, limits, seed, fuel)
    })
    if (traces[0] !== traces[1]) throw new Error(`it ended as "${traces[0]}", and again as "${traces[1]}"`)
    vm.remove(definition.program)
    this.check()
    return (traces[0] as string).split(" ", 1)[0] as Ending
  }

  /** One to three events in a row, and one of a bystander whenever the machine has been rewound. */
  private runs(program: number, limits: RunLimits, seed: number, fuel: number): string {
    const { vm } = this
    let trace = ""
    for (let times = 1 + (seed % 3); times > 0; times--) {
      this.event(new Random(seed))
      const status = vm.evaluate(program, limits)
      const error = status === RunStatus.ok ? "" : vm.lastError.message
      trace = `${statusNames[status]} ${vm.lastFuel} ${vm.lastBytes} ${error}; ${trace}`
      if (error.length > 8_192) throw new Error("the error's text is unbounded")
      expectPlain(vm.lastResult)
      if (vm.lastBytes > limits.bytesMax) throw new Error(`it took ${vm.lastBytes} bytes of ${limits.bytesMax}`)
      // After a rewind the bystander finds the world as it was, to the unit.
      const spent = status === RunStatus.ok ? fuel : this.probe()
      if (spent !== fuel) throw new Error(`the next event spent ${spent} units, and ${fuel} before`)
    }
    this.probe()
    return trace
  }

  /** Lua's memory without its C stack, which is empty between two runs. */
  private get memory(): Buffer[] {
    const { lua, memory } = (this.vm as unknown as { machine: MachineInside }).machine
    const { buffer } = memory.bytes
    const [end, base] = [lua.emscripten_stack_get_end(), lua.emscripten_stack_get_base()]
    return [Buffer.from(buffer, 0, end), Buffer.from(buffer, base, arenaStart - base)]
  }

  private check(): void {
    const { vm } = this
    vm.rewind()
    if (vm.bytesUsed > this.level + 64) throw new Error(`${vm.bytesUsed - this.level} bytes were left behind`)
    if (vm.isWorn) throw new Error("the machine is worn")
  }

  private probe(): number {
    const { vm } = this
    vm.frame.reset()
    vm.frame.string(0, "k")
    const status = vm.evaluate(this.bystander, { timeoutMicros: 100, bytesMax: 64 << 10, fuelMax: 100_000 })
    if (status !== RunStatus.ok) throw new Error(`the next event failed: ${vm.lastError.message}`)
    if (vm.lastResult !== "3 ad k y <x> 1") throw new Error(`the next event answered '${String(vm.lastResult)}'`)
    return vm.lastFuel
  }

  private event(random: Random): void {
    const { frame } = this.vm
    frame.reset()
    frame.string(0, random.pick(["k", "", "\0\xff", "session:1", "x".repeat(3_000)]))
    if (random.oneIn(2)) frame.string(1, random.pick(["v", "12", "a".repeat(3_000)]))
    else frame.integer(1, random.pick([0, -1, 2 ** 53]))
    if (random.oneIn(2)) frame.number(2, random.pick([0.5, Number.NaN, Number.POSITIVE_INFINITY]))
    frame.value(3, random.pick([{}, { limit: 7, list: [1, 2] }, new Map([[1.5, "x"]])]))
  }

  private define(text: string): number {
    const definition = this.vm.define("bystander", text)
    if (!definition.ok) throw new Error(definition.error.message)
    return definition.program
  }
}

interface MachineInside {
  readonly lua: { readonly emscripten_stack_get_base: () => number; readonly emscripten_stack_get_end: () => number }
  readonly memory: { readonly bytes: Uint8Array }
}

const limitsOf = (random: Random): RunLimits => ({
  timeoutMicros: 100,
  bytesMax: random.pick([2 << 10, 64 << 10, 64 << 10, 1 << 20]),
  fuelMax: random.pick([500, 10_000, 25_000, 60_000]),
  isIsolated: random.oneIn(3)
})

/** Leaves out words, many at first, for as long as what remains still fails. */
const shrink = (words: readonly string[], fails: (words: readonly string[]) => boolean): readonly string[] => {
  let shortest = words
  for (let size = words.length >> 1; size >= 1; size >>= 1) {
    for (let at = 0; at < shortest.length; ) {
      const shorter = [...shortest.slice(0, at), ...shortest.slice(at + size)]
      if (fails(shorter)) shortest = shorter
      else at += size
    }
  }
  return shortest
}

it("random hostile programs end, and leave nothing behind", { timeout: propertyTimeoutMs }, async () => {
  let target = new Target()
  const before = hostFingerprint()
  const endings = new Map<Ending, number>()
  await forAllSeeds(20_000, (random) => {
    const { seed } = random
    const source = hostileProgram(random)
    const limits = limitsOf(random)
    try {
      const looksAtMemory = seed % 64 === 0
      const ending = target.run(source, limits, seed, looksAtMemory)
      endings.set(ending, (endings.get(ending) ?? 0) + 1)
      if (looksAtMemory && hostFingerprint() !== before) throw new Error("it has changed the host's own objects")
    } catch (failure) {
      const fails = (words: readonly string[]): boolean => {
        try {
          new Target().run(words.join(" "), limits, seed, true)
          return false
        } catch {
          return true
        }
      }
      const words = source.split(" ")
      const shortest = fails(words) ? shrink(words, fails) : words
      target = new Target()
      throw new Error(`${(failure as Error).message}\n${JSON.stringify(limits)}\n${shortest.join(" ")}`)
    }
  })
  console.log(`endings of random programs: ${[...endings].map(([ending, count]) => `${count} ${ending}`).join(", ")}`)
  if (scheduleCount(20_000) >= 1_000) {
    for (const ending of [...statusNames, "compile"] as const) expect(endings.get(ending) ?? 0).toBeGreaterThan(20)
  }
})
