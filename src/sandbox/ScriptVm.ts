/**
 * A Lua machine for scripts: programs that nobody trusts and that may take their time. A script runs as a coroutine in
 * slices of about a millisecond; between two of them the process has its turn.
 *
 * At the end of a slice the host arms Lua's hook. At the next instruction of Lua, in whichever coroutine it is, the hook
 * yields, every coroutine on the way out makes way (shim.wat), and the step ends as `computing`; `resume` goes on at that
 * very instruction. A host function that waits suspends in the same way. Lua cannot be suspended inside a C function
 * that calls Lua back, so those that scripts use are in Lua here (internal/scriptPrelude.ts). What is left ends within
 * two more limits: `heldMs` after its slice the hook raises a clean error at each instruction; `hardMs` after its slice
 * the host throws through the wasm.
 *
 * A *world* is the whole memory of one machine: libraries, the script's environment, its run. One that is suspended, or
 * kept for its next run, can be taken out as an image and put into another machine (ScriptMachines). For that all that a
 * run needs stands in the memory or in its `WorldState`: the coroutine is made once, at the boot, so that it has the same
 * address in all.
 *
 * Invariants between two steps: the C stack is empty, no hook is armed, the chain of coroutines is the script's own. The
 * collector works during runs; a world's limit counts garbage too.
 *
 * Sources: Lua 5.4 reference manual §4.5 (continuations), ldo.c (lua_resume, lua_yieldk); docs/decisions.md.
 */
import { EventFrame } from "./EventFrame.ts"
import { AnswerError, HostCall, type HostFunction, inescapable } from "./HostCall.ts"
import {
  type CompileError,
  compileChunk,
  compileFuel,
  located,
  programName,
  sourceBytesMax,
  tooLong
} from "./internal/compile.ts"
import { seedGenerator } from "./internal/generator.ts"
import { isTrap, Killed } from "./internal/imports.ts"
import { makeIntrinsics, systemClock, type VmClock } from "./internal/intrinsics.ts"
import { answer, arenaStart, cell, hookMode, lua as luaNumbers, scriptPlace } from "./internal/layout.ts"
import {
  bootFuel,
  type HostTables,
  hooksAllowed,
  type Machine,
  makeMachine,
  memoryMessage,
  topMessage
} from "./internal/machine.ts"
import type { Memory } from "./internal/memory.ts"
import { heapEndOf } from "./internal/snapshot.ts"
import { traceback } from "./internal/traceback.ts"
import type { LuaExports, Pointer } from "./internal/wasm.ts"
import { type CodecLimits, defaultCodecLimits, LuaCodec, type LuaValue, Refusal } from "./LuaCodec.ts"
import { fuelPerMicro } from "./LuaVm.ts"
import { MachineMemory } from "./MachineMemory.ts"

/** How a step ended. computing: its slice is over, resume it later. waiting: a host function answers later. */
export const ScriptStep = { done: 0, error: 1, timeout: 2, memory: 3, killed: 4, computing: 5, waiting: 6 } as const

export type ScriptStep = (typeof ScriptStep)[keyof typeof ScriptStep]

export interface ScriptLimits {
  /** Units of fuel of the whole run. */
  readonly fuelMax: number
  /** Bytes of its world at most, garbage included; the libraries take some 80 KiB of them. */
  readonly bytesMax: number
  /** ms of a slice by the clock; 0: by fuel alone, and no clock anywhere. */
  readonly sliceMs: number
  /** Units of fuel of a slice, where `sliceMs` is 0. */
  readonly sliceFuel: number
}

export interface ScriptFailure {
  /** In Lua's words, without the position. */
  readonly message: string
  /** In the script's source, from 1; 0 where it is not known. */
  readonly line: number
  /** As Lua writes it, at most 4 KiB; empty where there is none. */
  readonly traceback: string
  /** What the run was given does not cross, so nothing of it has run. */
  readonly isRefusal: boolean
}

export interface ScriptGlobals {
  /** Become globals, deeply frozen. */
  readonly values?: { readonly [name: string]: LuaValue }
  /** Become functions that call the host's `invoke` with their name and their arguments. */
  readonly functions?: ReadonlyArray<string>
}

export interface ScriptVmOptions {
  /** Functions by the name of the global table that holds them. */
  readonly hostTables: HostTables
  /** What the functions of `ScriptGlobals` call: their name is its first argument. Default: such a call fails. */
  readonly invoke?: HostFunction
  /** What `print` prints, a line, as latin1 bytes. Default: nowhere. */
  readonly print?: (line: string) => void
  readonly clock?: VmClock
  /** What the whole machine may hold, in bytes: more than any world's limit. Default 10 MiB, which is the most. */
  readonly bytesMax?: number
  readonly codec?: CodecLimits
  /** What it holds together with other machines. Default: it is alone. */
  readonly shared?: MachineMemory
}

/**
 * What of a world stands outside of its Lua memory. The object belongs to the world: who swaps worlds keeps it, and gives
 * it to `adopt` together with the memory. The world of an image that is used more than once gets a copy.
 */
export interface WorldState {
  /** Of the script, as its messages begin. */
  name: string
  /** Its chunk has not yet run to its end. */
  isNew: boolean
  /** Its collector does not let it grow as it likes any more. */
  isLarge: boolean
  /** `computing` or `waiting`: a run is suspended in it. Else how the last one ended. */
  step: ScriptStep
  /** Where that run stands, in the innermost of its coroutines; 0 where it is not known. */
  line: number
  /** Bytes that Lua holds. */
  used: number
  /** Units, of the run so far. */
  fuelSpent: number
  limits: ScriptLimits
}

export class ScriptVm {
  /** All of it, for who takes images and puts them back. */
  readonly memory: Memory
  readonly lua: LuaExports
  /** After `done`: the first value that was returned, or why it does not cross. */
  result: LuaValue | Refusal = null
  /** After `error`, `timeout`, `memory` and `killed`. */
  failure: ScriptFailure = noFailure
  /** What it holds together with others. */
  readonly shared: MachineMemory

  private readonly clock: VmClock
  private readonly machine: Machine
  private readonly cells: Int32Array
  private readonly codec: LuaCodec
  private readonly hostCall: HostCall
  /** Without fields; says where in the arena the host may write. */
  private readonly frame: EventFrame
  /** The C stack when nothing runs. */
  private readonly stack: Pointer
  private state: WorldState
  private isDirty = false
  /** The highest that the heap's end has been. */
  private reach: Pointer = 0
  /** What of `shared` is this machine's. */
  private heldBytes = 0

  // Of the step at hand.
  private activity: "none" | "script" | "compiler" = "none"
  private limits: ScriptLimits = noLimits
  private stage: Stage = Stage.free
  private granted = 0
  /** ms of computing in this step: what the clock has seen, less what the process stood still. */
  private elapsedMs = 0
  /** `elapsedMs` at the end of the slice. */
  private lateMs = 0
  /** ms since then that host functions have asked for: at most `callMs`. */
  private calledMs = 0
  private startMs = 0
  private readMs = 0
  private isClockRead = false
  private aheadMs = 0
  private isHeld = false
  private refusal: Refusal | undefined

  constructor(options: ScriptVmOptions) {
    const bytesMax = options.bytesMax ?? bytesLimit
    if (!(bytesMax >= bytesMin && bytesMax <= bytesLimit)) {
      throw new RangeError(`bytesMax is ${bytesMax}; a machine holds between ${bytesMin} and ${bytesLimit} bytes`)
    }
    this.shared = options.shared ?? new MachineMemory()
    this.clock = options.clock ?? systemClock
    const intrinsics: Record<string, HostFunction> = {
      ...makeIntrinsics(this.clock, options.print),
      began: () => {
        this.state.isNew = false
      },
      invoke: options.invoke ?? ((call) => call.fail(`no host function '${call.string(1) ?? ""}'`))
    }
    this.machine = makeMachine(
      {
        exhausted: () => this.exhausted(0, false),
        call: (L, id, count, at, length) =>
          this.hostCall.perform(this.machine.functions[id] as HostFunction, L, count, at, length)
      },
      { fields: [], tables: options.hostTables, intrinsics, bytesMax, isForScripts: true }
    )
    const { memory, lua, shim, L, collectRef, collectorStopped } = this.machine
    this.memory = memory
    this.lua = lua
    this.cells = memory.cells
    const spend = (units: number) => this.spend(units)
    this.codec = new LuaCodec(memory, lua, spend, arenaStart + 4 * cell.length, options.codec ?? defaultCodecLimits)
    this.frame = new EventFrame(memory, this.codec, [])
    const canWait = () => this.stage !== Stage.over && shim.pausable() !== 0
    this.hostCall = new HostCall(memory, lua, spend, this.codec, this.frame, canWait)
    memory.bytes[collectorStopped] = 0
    shim.refuel(bootFuel)
    shim.collect(collectRef, 0)
    lua.lua_checkstack(L, stackSlots)
    seedGenerator(memory, this.machine.generator, 1)
    this.stack = lua.stackSave()
    this.state = this.newState("")
    this.account()
  }

  /** Of the world at hand; changes with each step. */
  get world(): WorldState {
    return this.state
  }

  /** After `killed`, and when a host function has thrown: the memory is no world any more, and only `adopt` may follow. */
  get isBroken(): boolean {
    return this.isDirty
  }

  /** Units of fuel that the run has spent so far; after `compile`, what the compiler has. */
  get fuelSpent(): number {
    return this.state.fuelSpent
  }

  /** Another world's memory, cells included, has been put in the place of the one at hand: goes on with that. */
  adopt(world: WorldState): void {
    const { cells } = this
    this.lua.stackRestore(this.stack)
    this.lua.setThrew(0, 0)
    this.machine.shim.refuel(bootFuel)
    this.settle()
    cells[cell.used] = world.used
    this.state = world
    this.isDirty = false
    this.activity = "none"
  }

  /**
   * Makes the memory at hand, which is a blank, the world of a script that has not run yet. After an error the memory is
   * to be thrown away.
   */
  compile(name: string, source: string): CompileError | undefined {
    this.assertIdle()
    this.state = this.newState(programName(name))
    if (source.length > sourceBytesMax) return tooLong(source)
    const { lua, shim, L } = this.machine
    this.settle()
    this.cells[cell.cap] = this.cells[cell.total] as number
    const fuelMax = compileFuel(source)
    shim.refuel(fuelMax)
    this.activity = "compiler"
    let error: CompileError | undefined
    try {
      error = compileChunk(this.machine, this.frame.end, this.state.name, source)
    } catch (thrown) {
      this.isDirty = true
      if (!(thrown instanceof Killed || isTrap(thrown))) throw thrown
      error = { message: thrown.message, line: 1, column: 1 }
    } finally {
      this.activity = "none"
      this.state.fuelSpent = fuelMax - shim.refuel(bootFuel)
    }
    if (this.cells[cell.denied] !== 0) error = { message: "the machine has no memory left for it", line: 1, column: 1 }
    if (error !== undefined) return error
    lua.lua_pushvalue(L, scriptPlace.environment)
    lua.lua_setupvalue(L, -2, 1)
    lua.lua_copy(L, -1, scriptPlace.chunk)
    lua.lua_settop(L, scriptPlace.missing)
    this.state.used = this.cells[cell.used] as number
    return undefined
  }

  /**
   * Begins a run: calls the global function of this name. In a new world the chunk is executed first, as part of the run.
   *
   * `globals` replace those of an earlier run, and stay until they are replaced. A run that ended otherwise than `done`
   * leaves what it has done to the globals; throw the world away where that matters.
   */
  start(entry: string, args: ReadonlyArray<LuaValue>, limits: ScriptLimits, globals?: ScriptGlobals): ScriptStep {
    const { cells, state } = this
    this.assertIdle()
    if (state.step >= ScriptStep.computing) throw new Error("a run is suspended in this world")
    if (args.length > argumentsMax) {
      return this.refuse(`a run has at most ${argumentsMax} arguments, this one has ${args.length}`)
    }
    state.fuelSpent = 0
    state.limits = limits
    this.begin()
    let at: Pointer = this.frame.end
    cells[cell.pointer] = at
    cells[cell.count] = args.length + 1
    cells[cell.entry] = 0
    if (state.isNew || globals !== undefined) {
      cells[cell.count] = args.length + 4
      cells[cell.entry] = scriptPlace.enter
      at = this.put(at, state.isNew, "")
      at = this.put(at, globals?.values ?? null, "globals")
      at = this.put(at, globals?.functions ?? null, "functions")
    }
    at = this.put(at, entry, "entry")
    for (let i = 0; i < args.length; i++) at = this.put(at, args[i] as LuaValue, i)
    return at < 0 ? this.refused() : this.step(1)
  }

  /**
   * Goes on with the run that is suspended: after `waiting` with the answer, which is nil when there is none. `keepsNull`
   * as for HostCall.returnValue.
   */
  resume(answered?: LuaValue | AnswerError, keepsNull = false): ScriptStep {
    const { cells, state } = this
    this.assertIdle()
    if (state.step < ScriptStep.computing) throw new Error("no run is suspended in this world")
    this.begin()
    if (state.step === ScriptStep.waiting) {
      const at = this.frame.end
      cells[cell.pointer] = at
      cells[cell.answer] = answer.encoded
      let refusal: string | undefined
      if (answered instanceof AnswerError) refusal = answered.message
      else {
        const end = this.codec.encode(at, answered, "result", keepsNull)
        if (end instanceof Refusal) refusal = end.message
      }
      if (refusal !== undefined) {
        const latin1 = Buffer.from(refusal.slice(0, messageMax)).toString("latin1")
        this.memory.writeLatin1(at, latin1)
        cells[cell.bytes] = latin1.length
        cells[cell.answer] = answer.fail
      }
    }
    return this.step(0)
  }

  /** Starts math.random's sequence of the world at hand anew; each seed has its own. */
  seed(seed: number): void {
    this.assertIdle()
    seedGenerator(this.memory, this.machine.generator, seed)
  }

  /** Gives back what it holds of the shared memory. It is not used again. */
  release(): void {
    this.shared.held -= this.heldBytes
    this.heldBytes = 0
  }

  // ---- a step

  /** From here to the step's end fuel is the run's. */
  private begin(): void {
    const { cells, state } = this
    const { limits } = state
    this.limits = limits
    this.stage = Stage.free
    this.isHeld = false
    this.elapsedMs = 0
    this.aheadMs = 0
    this.isClockRead = false
    this.settle()
    cells[cell.cap] = Math.max(cells[cell.used] as number, Math.min(limits.bytesMax, cells[cell.total] as number))
    this.refuel(state.fuelSpent, limits.sliceMs > 0 ? lookFuel : limits.sliceFuel)
    this.activity = "script"
  }

  private step(isFirst: 0 | 1): ScriptStep {
    const { cells, state } = this
    let code: number
    try {
      code = this.machine.shim.go(isFirst)
    } catch (error) {
      return this.broken(error)
    }
    this.activity = "none"
    state.fuelSpent = this.granted - (cells[cell.fuel] as number)
    if (heapEndOf(this.memory) > this.reach) this.account()
    if (!state.isLarge && (cells[cell.used] as number) > smallBytes) this.enlarge()
    if (code > 1 || this.stage === Stage.over) return this.failed(code)
    if (code === 0) {
      const { lua, thread } = this.machine
      this.frame.work = 0
      cells[cell.cap] = cells[cell.total] as number
      this.result = lua.lua_type(thread, 1) === luaNumbers.typeNil ? null : this.codec.decode(thread, 1, "result")
      lua.lua_settop(thread, 0)
      cells[cell.denied] = 0
      state.step = ScriptStep.done
    } else {
      state.step = cells[cell.paused] === 2 ? ScriptStep.waiting : ScriptStep.computing
      state.line = cells[cell.line] as number
    }
    state.used = cells[cell.used] as number
    return state.step
  }

  /** A world that is small lets garbage lie; a large one would have no room for that. */
  private enlarge(): void {
    const { shim, pauseRef } = this.machine
    this.state.isLarge = true
    this.cells[cell.cap] = this.cells[cell.total] as number
    shim.refuel(bootFuel)
    shim.collect(pauseRef, largePause)
    this.collect()
  }

  private failed(code: number): ScriptStep {
    const { cells, state, memory } = this
    const { lua, thread } = this.machine
    const isMemory = code >= denied
    const status = code & (denied - 1)
    let step: ScriptStep = ScriptStep.error
    let message: string
    let line = cells[cell.line] as number
    cells[cell.cap] = cells[cell.total] as number // what follows is the host's
    this.machine.shim.refuel(bootFuel)
    if (isMemory) {
      step = ScriptStep.memory
      message = `${memoryMessage} (more than ${this.limits.bytesMax} bytes)`
      if (this.isDeep()) message += `: ${deepMessage}`
    } else if (this.stage === Stage.over) {
      step = ScriptStep.timeout
      message = this.overMessage()
    } else ({ message, line } = located(topMessage(lua, memory, thread).replace(unplaced, ""), state.name))
    const trace = status > 1 ? traceback(this.machine, state.name) : noTrace
    this.failure = { message, line: line === 0 ? trace.line : line, traceback: trace.text, isRefusal: false }
    this.result = null
    if (status !== 0 && !this.unwind(step)) return ScriptStep.killed
    lua.lua_settop(thread, 0)
    this.settle()
    if (isMemory) this.collect() // or the next run would find the world full of what this one has left
    state.step = step
    state.used = cells[cell.used] as number
    return step
  }

  /** Has the collector begin at once; the run or the next one pays for what it does then. */
  private collect(): void {
    const { shim, stepRef } = this.machine
    shim.refuel(bootFuel)
    shim.collect(stepRef, 0)
  }

  /**
   * Closes what the run has left open, so that the coroutine can begin anew. Its __close methods have what a script may
   * hold the thread for, or nothing when it was stopped. False when they had to be killed.
   */
  private unwind(step: ScriptStep): boolean {
    const { cells, memory } = this
    const { lua, shim, L, thread } = this.machine
    cells[cell.denied] = 0
    cells[cell.mode] = step === ScriptStep.error ? hookMode.none : hookMode.raise
    cells[cell.depth] = 1
    memory.bytes[thread + hooksAllowed] = 1 // an error that the hook raises leaves it at 0
    const isStopped = step !== ScriptStep.error
    this.stage = isStopped ? Stage.over : Stage.held
    this.elapsedMs = 0
    this.lateMs = isStopped ? -heldMs : 0
    this.isClockRead = false
    this.refuel(this.state.fuelSpent, this.limits.sliceMs > 0 ? lookFuel : isStopped ? hardFuel : heldFuel)
    this.activity = "script"
    try {
      if (isStopped) shim.arm()
      lua.lua_resetthread(thread, L)
    } catch (error) {
      this.broken(error)
      return false
    }
    this.activity = "none"
    this.state.fuelSpent = this.granted - shim.refuel(bootFuel)
    return true
  }

  /** Something was thrown through the wasm: the machine is dirty. */
  private broken(error: unknown): ScriptStep {
    const { state, cells } = this
    this.activity = "none"
    this.isDirty = true
    this.result = null
    state.fuelSpent = this.granted - this.machine.shim.refuel(bootFuel)
    state.step = ScriptStep.killed
    if (heapEndOf(this.memory) > this.reach) this.account()
    if (error instanceof Killed) {
      this.failure = { message: error.message, line: cells[cell.line] as number, traceback: "", isRefusal: false }
    } else if (isTrap(error)) {
      this.failure = { message: `killed: ${error.message}`, line: 0, traceback: "", isRefusal: false }
    } else throw error
    return ScriptStep.killed
  }

  /** The fuel at hand is spent; in a call of the host (`isCall`) `aheadMs` of work beyond it are still to be done. */
  private exhausted(aheadMs: number, isCall: boolean): void {
    const { shim } = this.machine
    if (this.activity !== "script") {
      if (this.activity === "compiler") throw new Killed("it takes too long to compile")
      shim.refuel(bootFuel)
      return
    }
    const { fuelMax, sliceMs } = this.limits
    // First of all: what is called below has loops too.
    const spent = this.granted - shim.refuel(hardFuel)
    this.granted = spent + hardFuel
    if (sliceMs > 0) this.look(aheadMs, isCall)
    const isFree = this.stage === Stage.free
    if (this.stage === Stage.over) {
      if (sliceMs <= 0 || this.elapsedMs - this.lateMs > hardMs) {
        shim.note()
        throw new Killed(`killed: no error could stop it; ${this.overMessage()}`)
      }
    } else if (
      spent >= fuelMax ||
      (!isFree && (sliceMs <= 0 || this.elapsedMs - this.lateMs > heldMs + this.calledMs))
    ) {
      this.isHeld = spent < fuelMax
      this.stage = Stage.over
      this.lateMs = Math.max(this.lateMs, this.elapsedMs - heldMs) // hardMs is counted from the slice's end
      this.cells[cell.mode] = hookMode.raise
      shim.arm()
    } else if (!isFree || sliceMs <= 0 || this.readMs - this.startMs >= sliceMs) {
      if (isFree) {
        this.lateMs = this.elapsedMs
        this.calledMs = 0
      }
      this.stage = Stage.held
      this.cells[cell.mode] = hookMode.pause
      shim.arm() // once more where it is held: it may be in a coroutine that was not there before
    }
    if (sliceMs > 0) this.refuel(spent, lookFuel)
    else this.refuel(spent, this.stage === Stage.over ? hardFuel : heldFuel)
  }

  /** Fuel for `units` more, but no further than the run's limit. */
  private refuel(spent: number, units: number): void {
    const left = this.limits.fuelMax - spent
    const portion = this.stage !== Stage.over && left < units ? Math.max(0, left) : units
    this.granted = spent + portion
    this.machine.shim.refuel(portion)
  }

  private look(aheadMs: number, isCall: boolean): void {
    const nowMs = this.clock.elapsedMs()
    // What the first portion took is known as work only; of a later one so much counts as a slow machine would need.
    if (!this.isClockRead) this.startMs = nowMs - usualMs
    // The work of host functions has its price, which is what counts.
    const tookMs = this.isClockRead && !isCall ? nowMs - this.readMs - this.aheadMs : usualMs
    const countedMs = Math.max(0, Math.min(tookMs, usualMs * stallFactor)) + aheadMs
    this.elapsedMs += countedMs
    if (isCall) this.calledMs = Math.min(callMs, this.calledMs + countedMs)
    this.aheadMs = aheadMs
    this.readMs = nowMs
    this.isClockRead = true
  }

  /** Takes fuel for work that the host is about to do; false when the run is over its limit. */
  private spend(units: number): boolean {
    if (this.activity !== "script") {
      this.frame.work += units
      return this.frame.work <= outsideFuel
    }
    // What is not done is not paid for, nor when the run is killed for having asked once too often.
    const price = this.stage === Stage.over ? Math.min(units, hardFuel) : units
    const left = this.machine.shim.charge(price)
    // What it overdraws is work that the host has yet to do, and that the clock will see with the next portion.
    if (left < 0) this.exhausted(-left / fuelPerMs, true)
    if (this.stage !== Stage.over) return true
    this.granted -= price // it is not done
    return false
  }

  private overMessage(): string {
    if (!this.isHeld) return `stopped after ${this.limits.fuelMax} units of fuel`
    return this.isDeep() ? deepMessage : `held the thread in one call of a library function, ${inescapable}`
  }

  /**
   * Whether the script has called functions within each other without end: it is the stack then that has filled its
   * world, or that Lua could not move or look through at once. Read from Lua's own list, since this may be asked in a
   * machine that is dirty (lstate.h of Lua 5.4.4: `ci` of a state, `previous` of a call).
   */
  private isDeep(): boolean {
    const { view } = this.memory
    let call = view.getUint32(this.machine.thread + callInfo, true)
    for (let depth = 0; call !== 0; depth++) {
      if (depth > deepCalls) return true
      call = view.getUint32(call + callBefore, true)
    }
    return false
  }

  // ---- values for a run

  /** Writes the value behind the others. Answers a negative address, and goes on doing so, when it does not cross. */
  private put(at: Pointer, value: LuaValue, name: string | number): Pointer {
    if (at < 0) return at
    const end = this.codec.encode(at, value, typeof name === "number" ? `argument ${name + 1}` : name)
    if (!(end instanceof Refusal)) return end
    this.refusal = end
    return -1
  }

  private refused(): ScriptStep {
    this.activity = "none"
    this.machine.shim.refuel(bootFuel)
    if (this.stage === Stage.over) return this.refuse(this.overMessage(), ScriptStep.timeout)
    return this.refuse(this.refusal?.message ?? "")
  }

  private refuse(message: string, step: ScriptStep = ScriptStep.error): ScriptStep {
    this.result = null
    this.failure = { message, line: 0, traceback: "", isRefusal: true }
    this.settle()
    this.state.step = step
    return step
  }

  // ---- between steps

  private assertIdle(): void {
    if (this.activity !== "none") throw new Error("not while a script runs in this machine")
    if (this.isDirty) throw new Error("a script was killed in this machine: it needs another world first")
  }

  /** The cells as they are between two steps. */
  private settle(): void {
    const { cells } = this
    cells[cell.denied] = 0
    cells[cell.line] = 0
    cells[cell.paused] = 0
    cells[cell.depth] = 1
    cells[cell.mode] = hookMode.none
  }

  private newState(name: string): WorldState {
    const used = this.cells[cell.used] as number
    return { name, isNew: true, isLarge: false, step: ScriptStep.done, line: 0, used, fuelSpent: 0, limits: noLimits }
  }

  private account(): void {
    this.reach = Math.max(this.reach, heapEndOf(this.memory))
    const bytes = machineBytes + this.reach - this.lua.emscripten_stack_get_base()
    this.shared.held += bytes - this.heldBytes
    this.heldBytes = bytes
  }
}

/** free: within its slice. held: it is to pause as soon as it can. over: it is to end. */
const Stage = { free: 0, held: 1, over: 2 } as const

type Stage = (typeof Stage)[keyof typeof Stage]

const fuelPerMs = fuelPerMicro * 1000

const lookFuel = 16_384 // units between two looks at the clock: some 50 µs of Lua

const usualMs = lookFuel / fuelPerMs // on a slow machine

// Where an error or a kill is at stake, a portion of fuel counts for at most so many times its usual duration: a script is
// not to be stopped because the process stood still (a collection of V8's, another process) while it had the thread.
const stallFactor = 4

// From the end of a slice. Long enough for what Lua does at once in a world of 8 MiB, such as doubling a table of 65,000
// keys; so that a slice of 1 ms is 4 at the worst.
const heldMs = 2
const hardMs = 3

// ms; what calls of host functions may take beyond that. Each has limits of its own, and cannot be left half done; JSON of
// 500 KiB takes the most.
const callMs = 6

// Units; where fuel is the limit. Four times what the milliseconds would be, for what Lua does at once are loops of a
// nanosecond a unit: one collection of a world with a deep stack takes 800,000.
const heldFuel = 4 * heldMs * fuelPerMs
const hardFuel = 4 * (hardMs - heldMs) * fuelPerMs

const smallBytes = 256 << 10 // of a world, the libraries' 45 KiB included

// % of what was in use that is in use when the next collection begins. Together with its speed (eight times what is
// allocated) a world of 8 MiB may hold 5 MiB that are no garbage.
const largePause = 130

const deepCalls = 10_000 // within each other: a script that means it stays far below

/** Some of the words with which Lua says it, where its own limit of a million values comes first. */
const deepMessage = `stack overflow: more than ${deepCalls} calls within each other`

// Offsets in a Lua state and in one of its calls.
const callInfo = 20
const callBefore = 8

const outsideFuel = 250_000 // units for a result, after the run; one of as many parts as may cross takes 150,000

const argumentsMax = 64

const messageMax = 4096 // characters

const denied = 256 // the shim's bit for a refused allocation

const unplaced = /^\?:-1: / // how Lua begins an error of its own in the prelude, which has no line numbers

const machineBytes = 192 << 10 // of a machine without its heap: static data, stack, tables of functions, our own part

const bytesMin = 256 << 10

const bytesLimit = 10 << 20 // what lies below the arena

const stackSlots = 64 // values on the main stack, which is the host's

const noLimits: ScriptLimits = { fuelMax: 0, bytesMax: 0, sliceMs: 0, sliceFuel: 0 }

const noFailure: ScriptFailure = { message: "", line: 0, traceback: "", isRefusal: false }

const noTrace = { text: "", line: 0 }
