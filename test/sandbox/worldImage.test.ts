import { describe, expect, it } from "vitest"
import { arenaStart, cell } from "../../src/sandbox/internal/layout.ts"
import { bootFuel, type Machine, makeMachine, topMessage } from "../../src/sandbox/internal/machine.ts"
import { heapEndOf } from "../../src/sandbox/internal/snapshot.ts"
import { Blank, type WorldImage } from "../../src/sandbox/internal/worldImage.ts"
import { forAllSeeds, propertyTimeoutMs } from "../support/Random.ts"
import { programOf } from "./worldPrograms.ts"

describe("machines of one make", () => {
  it("are born alike, byte for byte, the C stack and the arena included", () => {
    const machines = [makePlain(), makePlain(), makePlain()]
    const [first] = machines as [Machine]
    const { bytes } = first.memory
    for (const { memory } of machines.slice(1)) {
      expect(Buffer.compare(bytes, memory.bytes)).toBe(0)
    }
    const blank = new Blank(first.memory, first.lua)
    expect(machines.map(({ memory, lua }) => blank.isOf(memory, lua))).toEqual([true, true, true])
  })

  it("are known from others, and from those in which something has run", () => {
    const { blank, machine } = makeBlank()
    const other = makePlain({ put: () => {} })
    expect(blank.isOf(other.memory, other.lua)).toBe(false)
    start(machine, "x = 1")
    expect(blank.isOf(machine.memory, machine.lua)).toBe(false)
  })
})

describe("a blank restored", () => {
  it("leaves nothing of what has run, even as garbage", () => {
    const { blank, machine } = makeBlank()
    const born = stateOf(machine)
    for (const source of ["x = 1", "big = ('x'):rep(3 << 20)", "t = {} for i = 1, 5000 do t[i] = { i } end"]) {
      start(machine, source)
      step(machine)
      expect(stateOf(machine).equals(born)).toBe(false)
      blank.restore(machine.memory, machine.lua)
      expect(stateOf(machine).equals(born)).toBe(true)
      expect(machine.memory.bytes.subarray(heapEndOf(machine.memory), arenaStart).every((byte) => byte === 0)).toBe(
        true
      )
      expect(blank.isOf(machine.memory, machine.lua)).toBe(true)
    }
  })
})

describe("an image", () => {
  it("is nothing but cells where nothing has run", () => {
    const { blank, machine } = makeBlank()
    const image = capture(blank, machine)
    expect(image.bytes).toBeLessThan(512)
    expect(image.used).toBe(blank.used)
  })

  it("is a few KB for a small world, and carries it into another machine", () => {
    const { blank, machine } = makeBlank()
    start(machine, "local n = 40 while true do n = n + 1 coroutine.yield(n) end")
    expect(step(machine)).toBe("41")
    const image = capture(blank, machine)
    expect(image.bytes).toBeLessThan(12_000)
    const other = makePlain()
    start(other, "other = ('left behind'):rep(1000)")
    enter(blank, image, other)
    expect(step(other)).toBe("42")
    expect(step(machine)).toBe("42")
    expect(stateOf(other).equals(stateOf(machine))).toBe(true)
  })

  it("can be entered again and again", () => {
    const { blank, machine } = makeBlank()
    start(machine, "local n = 40 while true do n = n + 1 coroutine.yield(n) end")
    const image = capture(blank, machine)
    for (let round = 0; round < 3; round++) {
      enter(blank, image, machine)
      expect([step(machine), step(machine)]).toEqual(["41", "42"])
    }
  })

  it("carries what the machine counts", () => {
    const { blank, machine } = makeBlank()
    start(machine, "x = ('x'):rep(100000)")
    step(machine)
    const counted = machine.memory.cells[cell.used]
    const image = capture(blank, machine)
    expect(image.used).toBe(counted)
    expect(image.bytes).toBeGreaterThan(100_000)
    blank.restore(machine.memory, machine.lua)
    expect(machine.memory.cells[cell.used]).toBe(blank.used)
    image.apply(machine.memory)
    expect(machine.memory.cells[cell.used]).toBe(counted)
  })

  it("leaves zeroes out, wherever they are", () => {
    const { blank, machine } = makeBlank()
    start(machine, "x = ('\\0'):rep(1 << 20)")
    step(machine)
    expect(capture(blank, machine).bytes).toBeLessThan(16_000)
  })

  it("is not taken in the middle of a step", () => {
    const { blank, machine } = makeBlank()
    const stack = machine.lua.stackSave()
    machine.lua.stackRestore(stack - 64)
    expect(() => capture(blank, machine)).toThrow(/between two steps only/)
    machine.lua.stackRestore(stack)
  })
})

describe("worlds swapped at random", () => {
  it(
    "end with the results and the memory, byte for byte, that they have unswapped",
    async () => {
      const { blank, machine: alone } = makeBlank()
      const machines = [makePlain(), makePlain(), makePlain()]
      await forAllSeeds(200, (random) => {
        const sources = Array.from({ length: 6 }, () => programOf(random, coroutineYield))
        const expected = sources.map((source) => {
          blank.restore(alone.memory, alone.lua)
          start(alone, source)
          const answers: Array<string> = []
          do answers.push(step(alone))
          while (!(answers.at(-1) as string).startsWith("end"))
          return { answers, state: stateOf(alone) }
        })
        // Each world is entered into some machine, makes a step, and is taken out again.
        const worlds: Array<{ image: WorldImage | undefined; answers: Array<string> }> = sources.map(() => ({
          image: undefined,
          answers: []
        }))
        const open = sources.map((_, index) => index)
        while (open.length > 0) {
          const at = random.below(open.length)
          const index = open[at] as number
          const world = worlds[index] as (typeof worlds)[number]
          const machine = random.pick(machines)
          enter(blank, world.image, machine)
          if (world.image === undefined) start(machine, sources[index] as string)
          else {
            const answer = step(machine)
            world.answers.push(answer)
            if (answer.startsWith("end")) {
              const { answers, state } = expected[index] as (typeof expected)[number]
              expect(world.answers).toEqual(answers)
              expect(stateOf(machine).equals(state)).toBe(true)
              open.splice(at, 1)
            }
          }
          world.image = capture(blank, machine)
        }
      })
    },
    propertyTimeoutMs
  )
})

const coroutineYield = (text: string): string => `coroutine.yield(${text})`

const makePlain = (functions: Record<string, () => void> = {}): Machine => {
  const intrinsics = {
    print: () => {},
    clock: () => {},
    now: () => {},
    date: () => {},
    time: () => {},
    seeded: () => {}
  }
  const machine: Machine = makeMachine(
    { exhausted: () => void machine?.shim.refuel(bootFuel), call: () => 17 },
    { fields: [], tables: { cache: functions }, intrinsics, bytesMax: 10 << 20 }
  )
  return machine
}

const makeBlank = (): { blank: Blank; machine: Machine } => {
  const machine = makePlain()
  return { blank: new Blank(machine.memory, machine.lua), machine }
}

const capture = (blank: Blank, { memory, lua }: Machine): WorldImage => blank.capture(memory, lua) as WorldImage

const enter = (blank: Blank, image: WorldImage | undefined, { memory, lua }: Machine): void => {
  blank.restore(memory, lua)
  image?.apply(memory)
}

/** Leaves the source, as a coroutine that has not begun, on the top of the stack. */
const start = (machine: Machine, source: string): void => {
  prepare(machine)
  const { memory, lua, shim, L, environmentRef } = machine
  const at = arenaStart + 8192
  const chunk = `return coroutine.wrap(function() ${source} end)`
  memory.writeUtf8(at, "=world")
  memory.writeLatin1(at + 16, chunk)
  shim.rawgeti(L, -1001000, environmentRef)
  lua.lua_callk(L, 0, 1, 0, 0)
  if (lua.luaL_loadbufferx(L, at + 16, chunk.length, at, 0) !== 0) {
    throw new Error(topMessage(lua, memory, L))
  }
  lua.lua_pushvalue(L, -2)
  lua.lua_setupvalue(L, -2, 1)
  lua.lua_callk(L, 0, 1, 0, 0)
}

/** Makes a step of it, to its next yield: what that gives, or the error, as text. */
const step = (machine: Machine): string => {
  prepare(machine)
  const { memory, lua, L } = machine
  lua.lua_pushvalue(L, -1)
  lua.lua_pcallk(L, 0, 1, 0, 0, 0)
  const answer = topMessage(lua, memory, L)
  lua.lua_settop(L, -2)
  return answer
}

/** Empties the C stack: C copies the unused half of a value too, and with it what some call has left there. */
const prepare = ({ memory, lua, shim }: Machine): void => {
  memory.bytes.fill(0, lua.emscripten_stack_get_end(), lua.emscripten_stack_get_base())
  shim.refuel(bootFuel)
}

/** All that a world consists of. */
const stateOf = ({ memory, lua }: Machine): Buffer =>
  Buffer.concat([
    memory.bytes.subarray(0, lua.emscripten_stack_get_end()),
    memory.bytes.subarray(lua.emscripten_stack_get_base(), heapEndOf(memory)),
    memory.bytes.subarray(arenaStart, arenaStart + 4)
  ])
