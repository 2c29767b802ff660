import { describe, expect, it } from "vitest"
import {
  type HostFunction,
  ImageAccount,
  type LuaValue,
  ScriptMachines,
  type ScriptMachinesOptions,
  type ScriptProgram,
  ScriptStep,
  ScriptVm,
  type ScriptWorld
} from "../../src/sandbox/index.ts"
import { stillClock } from "./support.ts"

describe("a world", () => {
  it("runs the chunk, then the function, with the arguments", () => {
    const machines = makeMachines()
    const world = open(machines, "local n = 40 function main(a, b) return { n + 2, a, b } end")
    expect(world.start("main", ["x", true], limits)).toBe(ScriptStep.done)
    expect(world.result).toEqual([42, "x", true])
    expect(world.fuelSpent).toBeGreaterThan(0)
  })

  it("keeps its state from run to run, in its machine, without being moved", () => {
    const machines = makeMachines()
    const world = open(machines, counter)
    expect(world.isFresh).toBe(true)
    expect([1, 2, 3].map(() => resultOf(world))).toEqual([1, 2, 3])
    expect(world.isFresh).toBe(false)
    expect(machines.stats).toMatchObject({ machines: 1, images: 0, swapsIn: 0, swapsOut: 0 })
  })

  it("shares nothing with another one of the same program, nor with the one that was there before", () => {
    const machines = makeMachines({ machinesMax: 1 })
    const program = compile(machines, counter)
    const first = machines.open(program)
    expect([resultOf(first), resultOf(first)]).toEqual([1, 2])
    const second = machines.open(program)
    expect(resultOf(second)).toBe(1)
    second.close()
    expect(resultOf(machines.open(program))).toBe(1)
    expect(resultOf(first)).toBe(3)
  })

  it("is fresh again after a reset", () => {
    const machines = makeMachines()
    const world = open(machines, counter)
    resultOf(world)
    world.reset()
    expect(world.isFresh).toBe(true)
    expect(resultOf(world)).toBe(1)
  })

  it("goes on after a slice, and after a wait with the answer", () => {
    const machines = makeMachines()
    const world = open(
      machines,
      "function main() local n = 0 for i = 1, 20000 do n = n + 1 end return n + test.wait() end"
    )
    let step = world.start("main", [], { ...limits, sliceFuel: 5_000 })
    let slices = 0
    for (; step === ScriptStep.computing; slices++) step = world.resume()
    expect(slices).toBeGreaterThan(2)
    expect(step).toBe(ScriptStep.waiting)
    expect(world.resume(22)).toBe(ScriptStep.done)
    expect(world.result).toBe(20_022)
  })

  it("says why a run failed, and can run again", () => {
    const machines = makeMachines()
    const world = open(machines, "n = 0 function main(fail) n = n + 1 if fail then error('no luck') end return n end")
    expect(world.start("main", [true], limits)).toBe(ScriptStep.error)
    expect(world.failure).toMatchObject({ message: "no luck", line: 1 })
    expect(world.result).toBeNull()
    expect(world.start("main", [false], limits)).toBe(ScriptStep.done)
    expect(world.result).toBe(2)
  })

  it("tells what it holds, wherever it is", () => {
    const machines = makeMachines({ machinesMax: 1 })
    const program = compile(machines, "function main(n) kept = ('x'):rep(n) end")
    const world = machines.open(program)
    const fresh = world.bytes
    run(world, "main", [50_000])
    const inMachine = world.bytes
    expect(inMachine - fresh).toBeGreaterThan(50_000)
    run(machines.open(program), "main", [1])
    expect(machines.stats.images).toBe(1)
    expect(world.bytes).toBe(inMachine)
  })

  it("has its own sequence of random numbers, wherever it runs, and begins it anew when seeded", () => {
    const machines = makeMachines({ machinesMax: 1 })
    const program = compile(machines, "function main() return math.random(1 << 30) end")
    const draw = (world: ScriptWorld, seed?: number): LuaValue => {
      if (seed !== undefined) world.seed(seed)
      return resultOf(world)
    }
    const [a, b] = [machines.open(program), machines.open(program)]
    const drawn = [draw(a, 7), draw(b, 8), draw(a), draw(b)]
    expect(new Set(drawn).size).toBe(4)
    const c = machines.open(program)
    expect([draw(c, 7), draw(c)]).toEqual([drawn[0], drawn[2]])
    expect([draw(c, 8), draw(c)]).toEqual([drawn[1], drawn[3]])
  })

  it("has one run at a time", () => {
    const attempts: Array<() => unknown> = []
    const machines = makeMachines({}, { act: () => void attempts.pop()?.() })
    const world = open(machines, "function main() test.act() return test.wait() end")
    attempts.push(() => world.start("main", [], limits))
    expect(() => world.start("main", [], limits)).toThrow("a run is under way")
    attempts.push(() => world.reset())
    expect(() => world.start("main", [], limits)).toThrow("in the middle of a step")
    expect(() => world.resume()).toThrow("no run is suspended")
    expect(world.start("main", [], limits)).toBe(ScriptStep.waiting)
    expect(() => world.start("main", [], limits)).toThrow("a run is under way")
    expect(world.resume(1)).toBe(ScriptStep.done)
    expect(() => world.resume()).toThrow("no run is suspended")
    world.close()
    expect(() => world.start("main", [], limits)).toThrow("closed")
  })
})

describe("a program", () => {
  it("that is none says where", () => {
    const machines = makeMachines()
    expect(machines.compile("bad", "local x = 1\nlocal y = = 2")).toMatchObject({ line: 2, column: 11 })
    expect(resultOf(open(machines, counter))).toBe(1)
  })

  it("costs a few KB, and nothing of it runs when it is compiled", () => {
    let calls = 0
    const machines = makeMachines({}, { act: () => void calls++ })
    const program = compile(machines, "test.act() function main() end")
    expect(program.bytes).toBeLessThan(16_000)
    expect(calls).toBe(0)
    run(machines.open(program))
    expect(calls).toBe(1)
  })
})

describe("worlds that share machines", () => {
  it("wait outside, 100 in two machines, and each gets its own answer in the end", () => {
    const machines = makeMachines({ machinesMax: 2 })
    const program = compile(
      machines,
      "function main(n) local t = { n } t[2] = test.wait() t[3] = test.wait() return t end"
    )
    const worlds = Array.from({ length: 100 }, () => machines.open(program))
    for (const [n, world] of worlds.entries()) expect(world.start("main", [n], limits)).toBe(ScriptStep.waiting)
    expect(machines.stats).toMatchObject({ machines: 2, images: 98, swapsOut: 98, refused: 0 })
    for (const [n, world] of worlds.entries()) expect(world.resume(n * 2)).toBe(ScriptStep.waiting)
    for (const [n, world] of [...worlds.entries()].reverse()) {
      expect(world.resume(n * 3)).toBe(ScriptStep.done)
      expect(world.result).toEqual([n, n * 2, n * 3])
      world.close()
    }
    expect(machines.stats).toMatchObject({ machines: 2, images: 0, imageBytes: 0 })
  })

  it("take less than 6 KB each while they wait, 5,000 of them", () => {
    const machines = makeMachines()
    const source = `
      local function fetch(id) return { id = id, body = test.wait(id) } end
      function main(id)
        local response = fetch(id)
        return response.id .. response.body
      end`
    const program = compile(machines, source)
    const worlds = Array.from({ length: 5_000 }, () => machines.open(program))
    for (const [n, world] of worlds.entries()) expect(world.start("main", [n], limits)).toBe(ScriptStep.waiting)
    const { images, imageBytes } = machines.stats
    expect(images).toBe(5_000 - 16)
    expect(imageBytes / images).toBeLessThan(6_000)
    for (const [n, world] of worlds.entries()) {
      expect(world.resume("!")).toBe(ScriptStep.done)
      expect(world.result).toBe(`${n}!`)
      world.close()
    }
    expect(machines.stats).toMatchObject({ machines: 16, images: 0, imageBytes: 0, refused: 0 })
  })

  it("make room by who ran longest ago", () => {
    const machines = makeMachines({ machinesMax: 3 })
    const program = compile(machines, counter)
    const [a, b, c, d] = Array.from({ length: 4 }, () => machines.open(program)) as Four
    for (const world of [a, b, c, a, d]) resultOf(world)
    expect([a, b, c, d].map(isResident)).toEqual([true, false, true, true])
  })

  it("make room by the small ones first", () => {
    const machines = makeMachines({ machinesMax: 2 })
    const large = open(machines, "kept = ('x'):rep(400000) function main() return #kept end")
    const program = compile(machines, counter)
    const [a, b] = [machines.open(program), machines.open(program)]
    resultOf(large)
    for (const world of [a, b, a, b]) resultOf(world)
    expect([large, a, b].map(isResident)).toEqual([true, false, true])
    const other = open(machines, "kept = ('x'):rep(400000) function main() return #kept end")
    for (const world of [other, a]) resultOf(world)
    expect([large, other].map(isResident)).toEqual([false, true])
    expect([resultOf(large), resultOf(a)]).toEqual([400_000, 4])
  })

  it("leave nothing behind in a machine for the next one", () => {
    const source = `function main()
      local names = {}
      for name in pairs(_G) do names[#names + 1] = name end
      return { tostring(secret), #names }
    end`
    const machines = makeMachines({ machinesMax: 1 })
    const expected = resultOf(open(makeMachines(), source))
    const writer = open(
      machines,
      "secret = 'hunter2' function main() pcall(function() string.x = 1 end) return test.wait() end"
    )
    const reader = open(machines, source)
    expect(writer.start("main", [], limits)).toBe(ScriptStep.waiting)
    expect(resultOf(reader)).toEqual(expected)
    writer.close()
    reader.reset()
    expect(resultOf(reader)).toEqual(expected)
  })
})

describe("a kill", () => {
  it("costs the run that was killed and nothing else", () => {
    const machines = makeMachines({ machinesMax: 2 })
    const victim = open(machines, "n = 0 function main() n = n + 1 return n + test.wait() end")
    const others = Array.from({ length: 4 }, () => machines.open(victim.program))
    for (const world of others) world.start("main", [], limits)
    const killer = open(
      machines,
      "n = (n or 0) + 1 function main() ('a'):rep(300):find('.-.-.-.-b') end function get() return n end"
    )
    for (let round = 1; round <= 5; round++) {
      expect(run(killer, "main")).toBe(ScriptStep.killed)
      expect(killer.failure.message).toContain("killed")
      expect(killer.isFresh).toBe(true)
      expect(machines.stats.kills).toBe(round)
    }
    expect(resultOf(killer, "get")).toBe(1)
    for (const [n, world] of others.entries()) {
      expect(world.resume(n)).toBe(ScriptStep.done)
      expect(world.result).toBe(n + 1)
      expect(resultOfWait(world, 0)).toBe(2)
    }
  })

  it("in a later step is no different", () => {
    const machines = makeMachines({ machinesMax: 1 })
    const world = open(machines, "function main() test.wait(); ('a'):rep(300):find('.-.-.-.-b') end")
    expect(world.start("main", [], limits)).toBe(ScriptStep.waiting)
    resultOf(open(machines, counter))
    let step = world.resume(1)
    while (step === ScriptStep.computing) step = world.resume()
    expect(step).toBe(ScriptStep.killed)
    expect(world.isFresh).toBe(true)
    expect(machines.stats).toMatchObject({ kills: 1, machines: 1 })
  })

  it("is what a host function does that throws: the error goes through, the world is fresh", () => {
    let shallThrow = false
    const act: HostFunction = () => {
      if (shallThrow) throw new Error("a defect")
    }
    const machines = makeMachines({ machinesMax: 1 }, { act })
    const world = open(machines, "n = 0 function main() n = n + 1 test.act() return n end")
    expect([resultOf(world), resultOf(world)]).toEqual([1, 2])
    shallThrow = true
    expect(() => world.start("main", [], limits)).toThrow("a defect")
    expect(world.isFresh).toBe(true)
    shallThrow = false
    expect(resultOf(world)).toBe(1)
    expect(machines.stats).toMatchObject({ kills: 1, machines: 1 })
  })
})

describe("a close", () => {
  it("of a suspended world frees its image at once", () => {
    const machines = makeMachines({ machinesMax: 1 })
    const program = compile(machines, waiter)
    const [a, b] = [machines.open(program), machines.open(program)]
    a.start("main", [], limits)
    b.start("main", [], limits)
    expect(machines.stats.imageBytes).toBeGreaterThan(1000)
    a.close()
    expect(machines.stats).toMatchObject({ images: 0, imageBytes: 0 })
    b.close()
    b.close()
    expect(resultOf(open(machines, counter))).toBe(1)
    expect(machines.stats.swapsOut).toBe(1)
  })

  it("in the middle of its own step aborts a run that would wait, and lets one end that ends", () => {
    let world: ScriptWorld | undefined
    const machines = makeMachines({}, { act: () => world?.close() })
    world = open(machines, "function main() test.act() return test.wait() end")
    expect(world.start("main", [], limits)).toBe(ScriptStep.killed)
    expect(world.failure.message).toBe("killed: its world was closed")
    world = open(machines, "function main() test.act() return 7 end")
    expect(world.start("main", [], limits)).toBe(ScriptStep.done)
    expect(world.result).toBe(7)
    expect(isResident(world)).toBe(false)
    expect(machines.stats).toMatchObject({ images: 0, machines: 1, kills: 0 })
  })
})

describe("the images' limit", () => {
  it("ends the run that needs a machine for which another world would have to leave", () => {
    const machines = makeMachines({ machinesMax: 1, imageBytesMax: 30_000 })
    const program = compile(machines, waiter)
    const worlds: Array<ScriptWorld> = []
    let step: ScriptStep = ScriptStep.waiting
    while (step === ScriptStep.waiting) {
      const world = machines.open(program)
      worlds.push(world)
      step = world.start("main", [], limits)
    }
    const refused = worlds.pop() as ScriptWorld
    expect(step).toBe(ScriptStep.memory)
    expect(refused.failure.message).toContain("the 30000 bytes that they may hold together")
    expect(refused.isFresh).toBe(true)
    expect(machines.stats.refused).toBe(1)
    expect(machines.stats.imageBytes).toBeLessThanOrEqual(30_000)
    expect(worlds.length).toBeGreaterThan(2)
    // Those that exist go on: who moves in leaves its image's room to who moves out.
    for (const world of worlds) {
      expect(world.resume(5)).toBe(ScriptStep.done)
      world.close()
    }
    expect(resultOfWait(refused, 6)).toBe(6)
  })

  it("of an account is paid for by the world that is too large, not by who needs the machine", () => {
    const machines = makeMachines({ machinesMax: 1 })
    const account = new ImageAccount(50_000)
    const hoarder = open(
      machines,
      "function main() local kept = ('x'):rep(100000) return #kept + test.wait() end",
      account
    )
    const other = open(machines, waiter)
    expect(hoarder.start("main", [], limits)).toBe(ScriptStep.waiting)
    expect(other.start("main", [], limits)).toBe(ScriptStep.waiting)
    expect(machines.stats).toMatchObject({ dropped: 1, refused: 0, images: 0 })
    expect(hoarder.resume(1)).toBe(ScriptStep.memory)
    expect(hoarder.failure.message).toContain("the 50000 bytes that they may hold together")
    expect(hoarder.failure.line).toBe(1) // where it waited
    expect(hoarder.isFresh).toBe(true)
    expect(account.bytes).toBe(0)
    expect(other.resume(3)).toBe(ScriptStep.done)
  })

  it("of an account is paid for with the fuel of moving it, out and in again, and the more the larger it is", () => {
    const machines = makeMachines({ machinesMax: 1 })
    const [small, large, nobodys] = [new ImageAccount(1 << 20), new ImageAccount(1 << 20), undefined]
    const kept = "function main() local kept = ('x'):rep(100000) return #kept + test.wait() end"
    const worlds = [
      open(machines, waiter, small),
      open(machines, kept, large),
      open(machines, waiter, nobodys),
      open(machines, waiter, nobodys)
    ]
    for (const world of worlds) world.start("main", [], limits)
    const [out, outLarge] = [small.moveFuel, large.moveFuel]
    expect(out).toBeGreaterThan(5_000) // 20 µs
    expect(outLarge).toBeGreaterThan(out + 100_000 / 32)
    worlds[0]?.resume(1)
    expect(small.moveFuel).toBeGreaterThan(out)
    const { moveFuel } = small
    worlds[0]?.start("main", [], limits) // it is where it was
    expect(small.moveFuel).toBe(moveFuel)
    expect(large.moveFuel).toBe(outLarge)
  })

  it("of an account is told to a state that was kept, once", () => {
    const machines = makeMachines({ machinesMax: 1 })
    const account = new ImageAccount(50_000)
    const world = open(machines, "n = 0 kept = ('x'):rep(100000) function main() n = n + 1 return n end", account)
    expect([resultOf(world), resultOf(world)]).toEqual([1, 2])
    resultOf(open(machines, counter))
    expect(world.start("main", [], limits)).toBe(ScriptStep.memory)
    expect(resultOf(world)).toBe(1)
  })

  it("of an account counts its own images only, and takes back what is closed or moves in", () => {
    const machines = makeMachines({ machinesMax: 1 })
    const account = new ImageAccount(1 << 20)
    const [a, b] = [open(machines, waiter, account), open(machines, waiter)]
    a.start("main", [], limits)
    b.start("main", [], limits)
    expect(account.bytes).toBe(machines.stats.imageBytes)
    expect(a.resume(1)).toBe(ScriptStep.done)
    expect(account.bytes).toBe(0)
    expect(machines.stats.imageBytes).toBeGreaterThan(0)
    b.resume(1)
    expect(account.bytes).toBe(machines.stats.imageBytes)
    a.close()
    expect(account.bytes).toBe(0)
  })
})

describe("a script that starts a script", () => {
  it("has it run in another machine, and goes on unharmed", () => {
    const inner: { world?: ScriptWorld } = {}
    const act: HostFunction = (call) => call.returnValue(resultOf(inner.world as ScriptWorld) as LuaValue)
    const machines = makeMachines({ machinesMax: 2 }, { act })
    inner.world = open(machines, counter)
    const outer = open(
      machines,
      "function main() local t = { 'mine' } t[2] = test.act() t[3] = test.act() return t end"
    )
    const idle = open(machines, counter)
    resultOf(idle)
    expect(resultOf(outer)).toEqual(["mine", 1, 2])
    expect(isResident(idle)).toBe(false)
    expect(machines.stats.machines).toBe(2)
  })

  it("is refused when all machines are in the middle of a step, and so is a compilation", () => {
    const refusals: Array<string> = []
    const nest: HostFunction = (call) => {
      const world = machines.open(program)
      const step = world.start("main", [], limits)
      call.returnInteger(step === ScriptStep.done ? (world.result as number) + 1 : 1)
      if (step === ScriptStep.memory) {
        const compiled = machines.compile("more", counter)
        refusals.push(world.failure.message, "message" in compiled ? compiled.message : "compiled")
      }
      world.close()
    }
    const machines: ScriptMachines = makeMachines({ machinesMax: 3 }, { nest })
    const program = compile(machines, "function main() return test.nest() end")
    expect(resultOf(machines.open(program))).toBe(3)
    const why = "all 3 machines are in the middle of other scripts' steps"
    expect(refusals).toEqual([`not enough memory (${why})`, why])
    expect(machines.stats).toMatchObject({ machines: 3, refused: 1 })
    expect(resultOf(open(machines, counter))).toBe(1)
  })
})

describe("machines", () => {
  it("are made when they are needed, up to the limit", () => {
    const machines = makeMachines({ machinesMax: 3 })
    expect(machines.stats.machines).toBe(0)
    const program = compile(machines, waiter)
    expect(machines.stats.machines).toBe(1)
    for (let n = 0; n < 5; n++) machines.open(program).start("main", [], limits)
    expect(machines.stats.machines).toBe(3)
  })

  it("in which nobody is are given up by a tidy, all but those that it is to leave", () => {
    const machines = makeMachines({ machinesMax: 6 })
    const program = compile(machines, waiter)
    const worlds = Array.from({ length: 6 }, () => machines.open(program))
    for (const world of worlds) world.start("main", [], limits)
    machines.tidy(2)
    expect(machines.stats).toMatchObject({ machines: 6, images: 0 })
    for (const world of worlds.slice(0, 3)) world.close()
    machines.tidy(2)
    expect(machines.stats.machines).toBe(3)
    expect(worlds[5]?.resume(4)).toBe(ScriptStep.done)
    for (const world of worlds.slice(3)) world.close()
    machines.tidy(2)
    expect(machines.stats.machines).toBe(2)
    expect(resultOf(open(machines, counter))).toBe(1)
  })

  it("count what compiling has taken, also where it fails", () => {
    const machines = makeMachines({ machinesMax: 1 })
    const spent = (source: string) => {
      const before = machines.compileFuel
      machines.compile("main", source)
      return machines.compileFuel - before
    }
    const short = spent("function main() end")
    const long = spent(`function main() ${"local a = 1 ".repeat(100)} end`)
    const wrong = spent(`${"local a = 1 ".repeat(150)} local`)
    const spin = spent(`${"local a; do ".repeat(60)}${"x = a ".repeat(9000)}${"end ".repeat(60)}`)
    expect(short).toBeGreaterThan(10_000)
    expect(long).toBeGreaterThan(short + 1000)
    expect(wrong).toBeGreaterThan(1000)
    expect(spin).toBeGreaterThan(5 * long)
    expect(spent("x".repeat(1 << 17))).toBe(0)
  })

  it("that have grown are given up by a tidy when nobody is in them", () => {
    const machines = makeMachines({ machinesMax: 2 })
    const large = open(machines, "kept = ('x'):rep(3 << 20) function main() end")
    const small = open(machines, counter)
    run(large)
    resultOf(small)
    small.reset()
    machines.tidy()
    expect(machines.stats.machines).toBe(2)
    large.close()
    machines.tidy()
    expect(machines.stats.machines).toBe(1)
  })

  it("have to be alike", () => {
    let count = 0
    const machines = new ScriptMachines({
      make: () => new ScriptVm({ hostTables: { test: { [`f${count++}`]: () => {} } }, clock: stillClock })
    })
    const program = compile(machines, "function main() while true do end end")
    const world = machines.open(program)
    expect(world.start("main", [], { ...limits, sliceFuel: 1000 })).toBe(ScriptStep.computing)
    expect(() => machines.open(program).start("main", [], limits)).toThrow("not like the first one")
  })
})

const limits = { fuelMax: 10_000_000, bytesMax: 8 << 20, sliceMs: 0, sliceFuel: 1_000_000 }

const counter = "local n = 0 function main() n = n + 1 return n end"

const waiter = "function main() return test.wait() end"

type Four = [ScriptWorld, ScriptWorld, ScriptWorld, ScriptWorld]

const makeMachines = (
  options: Omit<Partial<ScriptMachinesOptions>, "make"> = {},
  functions: Record<string, HostFunction> = {}
): ScriptMachines => {
  const test = { wait: (call: Parameters<HostFunction>[0]) => call.wait(), ...functions }
  return new ScriptMachines({ make: () => new ScriptVm({ hostTables: { test }, clock: stillClock }), ...options })
}

/** Compiles it, or throws what the compiler says. */
const compile = (machines: ScriptMachines, source: string): ScriptProgram => {
  const program = machines.compile("test", source)
  if (!("image" in program)) throw new Error(`${program.line}:${program.column}: ${program.message}`)
  return program
}

const open = (machines: ScriptMachines, source: string, account?: ImageAccount): ScriptWorld =>
  machines.open(compile(machines, source), account)

/** Runs it to its end, over as many slices as it takes. */
const run = (world: ScriptWorld, entry = "main", args: ReadonlyArray<LuaValue> = []): ScriptStep => {
  let step = world.start(entry, args, limits)
  while (step === ScriptStep.computing) step = world.resume()
  return step
}

const resultOf = (world: ScriptWorld, entry = "main"): LuaValue => {
  const step = run(world, entry)
  if (step !== ScriptStep.done) throw new Error(`${step}: ${world.failure.message}`)
  return world.result as LuaValue
}

/** Of one that waits once, answered with this. */
const resultOfWait = (world: ScriptWorld, answer: LuaValue): LuaValue => {
  expect(world.start("main", [], limits)).toBe(ScriptStep.waiting)
  expect(world.resume(answer)).toBe(ScriptStep.done)
  return world.result as LuaValue
}

const isResident = (world: ScriptWorld): boolean => world.slot !== undefined
