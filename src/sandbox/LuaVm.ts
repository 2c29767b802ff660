/**
 * A Lua machine for programs that nobody trusts: each runs on an event, within limits of work, time and memory, and
 * leaves nothing behind when it fails.
 *
 * Work is counted as fuel, one unit a loop head of the metered wasm (so: about an instruction of Lua). A run gets it in
 * slices. When a slice is spent the host looks at the clock: past the soft limit it arms Lua's hook, which raises a clean
 * error at each further instruction; past the hard limit it throws through the wasm. A run that spends less than a slice
 * never sees the clock at all, and one pause of the process weighs no more than a few slices, so that a run is not stopped
 * for what the machine did meanwhile. With `fuelMax` there is no clock, and the same run ends in the same way each time.
 *
 * Invariants between two calls: the collector is stopped, no hook is armed, the main stack holds what the boot put there,
 * and the state is either that of the snapshot or came from it by runs that ended well. Whatever ends otherwise is
 * rewound before `run` returns. Globals that a program makes live until the next rewind: they are scratch.
 *
 * Garbage is thrown away by rewinding too, which costs less than collecting, as long as no program has made a global.
 * Else the collector works in small steps after runs, once there is enough to do.
 *
 * Cost: see test/bench/sandbox.bench.ts and docs/decisions.md. Sources: Lua 5.4 reference manual §4; lua.c (the hook
 * armed from outside).
 */
import { EventFrame } from "./EventFrame.ts"
import { analyseFields, type FieldAnalysis } from "./FieldAnalysis.ts"
import { HostCall, type HostFunction } from "./HostCall.ts"
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
import { arenaStart, cell, fieldsMax, lua as luaNumbers, place } from "./internal/layout.ts"
import {
  bootFuel,
  collectorIdle,
  type HostTables,
  type Machine,
  makeMachine,
  memoryMessage,
  topMessage
} from "./internal/machine.ts"
import { heapEndOf, Snapshot } from "./internal/snapshot.ts"
import type { Pointer } from "./internal/wasm.ts"
import { type CodecLimits, defaultCodecLimits, LuaCodec, type LuaValue, type Refusal } from "./LuaCodec.ts"
import { MachineMemory, rationBytes } from "./MachineMemory.ts"

/** How a run ended. */
export const RunStatus = { ok: 0, error: 1, timeout: 2, memory: 3, killed: 4 } as const

export type RunStatus = (typeof RunStatus)[keyof typeof RunStatus]

export interface RunLimits {
  /** The soft limit in µs of computing; the hard one is 1 ms later. Not looked at when `fuelMax` is set. */
  readonly timeoutMicros: number
  /** What a run may allocate, less what it frees, in bytes. Its event is not counted. */
  readonly bytesMax: number
  /** Above zero: the limit in units of fuel, and no clock. Lua is stopped there, the machine one slice later. */
  readonly fuelMax: number
  /** Whatever a run has left in its environment is gone when the next one begins: at most the price of a rewind each. Default false. */
  readonly isIsolated?: boolean
}

/** 100 µs, 64 KiB, by the clock. */
export const defaultRunLimits: RunLimits = { timeoutMicros: 100, bytesMax: 64 << 10, fuelMax: 0 }

export type { CompileError } from "./internal/compile.ts"
export type { VmClock } from "./internal/intrinsics.ts"

export interface VmOptions {
  /** The event's fields; a field's place is its slot in the frame. At most 32. */
  readonly fields: ReadonlyArray<string>
  /** Functions by the name of the global table that holds them. One table object under two names is one table. */
  readonly hostTables?: HostTables
  /** What `print` prints, a line, as latin1 bytes. Default: nowhere. */
  readonly print?: (line: string) => void
  readonly clock?: VmClock
  /** Of math.random. Default 1; see `seed`. */
  readonly seed?: number
  /** What the whole machine may hold, in bytes. Default 4 MiB, at most 10. */
  readonly bytesMax?: number
  /** What it holds together with other machines. Default: it is alone. */
  readonly shared?: MachineMemory
  readonly codec?: CodecLimits
}

/** A program by its number in its machine; numbers are used again. */
export type Program = number

export type Definition =
  | { readonly ok: true; readonly program: Program; readonly analysis: FieldAnalysis; readonly mask: number }
  | { readonly ok: false; readonly error: CompileError }

export interface RunError {
  readonly message: string
  /** In the program's source, from 1; 0 where it is not known. */
  readonly line: number
}

export class LuaVm {
  /** What the next run sees as its event. */
  readonly frame: EventFrame
  /** The memory a run has taken and not freed, in bytes; of the last one. */
  lastBytes = 0
  /** What the last `evaluate` answered; null for anything but an ok. */
  lastResult: LuaValue | Refusal = null
  /** What it holds together with others. */
  readonly shared: MachineMemory
  /** Rewinds so far, of which some only threw garbage away. */
  rewinds = 0

  private readonly options: VmOptions
  private readonly clock: VmClock
  private readonly machine: Machine
  private readonly cells: Int32Array
  private readonly codec: LuaCodec
  private readonly hostCall: HostCall
  private readonly programs: Array<Entry | undefined> = [undefined] // Lua counts from 1
  private readonly free: Array<Program> = []
  /** Made known since the snapshot; to be made known again should a compilation have to be rewound. */
  private readonly pending: Array<Entry> = []
  private snapshot: Snapshot
  /** The highest that the heap's end has been. */
  private reach: Pointer = 0
  /** What of `shared` is this machine's. */
  private heldBytes = 0
  /** A program was added or removed since the snapshot. */
  private isStale = false
  /** Something has run since the snapshot. */
  private isDirty = false
  /** A program that may keep something has run since the snapshot. */
  private keepsState = false
  private collectAt = 0
  private hasOutgrown = false
  private nextSeed = 1
  private readonly generatorState = new Uint8Array(generatorBytes)
  private hasSeeded = false

  // Of the run at hand, and of the last one.
  private isRunning = false
  private isCompiling = false
  private running: Entry | undefined
  private limits: RunLimits = defaultRunLimits
  /** What the run may take: its limit, or less. */
  private bytesMax = 0
  private stage: 0 | 1 = 0 // 1: the hook is armed
  private granted = 0
  /** When the clock was read last in this run; meaningless before the first time. */
  private readMs = 0
  private isClockRead = false
  /** µs that were counted before the clock could see them. */
  private aheadMicros = 0
  /** When the hook was armed. */
  private lateMs = 0
  private error: RunError = { message: "", line: 0 }
  private elapsedMicros = 0

  constructor(options: VmOptions) {
    if (options.fields.length > fieldsMax) throw new RangeError(`an event has at most ${fieldsMax} fields`)
    const bytesMax = options.bytesMax ?? defaultBytesMax
    if (!(bytesMax >= bytesMin && bytesMax <= bytesLimit)) {
      throw new RangeError(`bytesMax is ${bytesMax}; a machine holds between ${bytesMin} and ${bytesLimit} bytes`)
    }
    this.options = options
    this.shared = options.shared ?? new MachineMemory()
    this.clock = options.clock ?? systemClock
    this.machine = makeMachine(
      {
        exhausted: () => this.exhausted(0),
        call: (L, id, count, at, length) => this.call(L, id, count, at, length)
      },
      { fields: options.fields, tables: options.hostTables ?? {}, intrinsics: this.intrinsics(), bytesMax }
    )
    const { memory, lua } = this.machine
    this.cells = memory.cells
    const spend = (units: number) => this.spend(units)
    this.codec = new LuaCodec(memory, lua, spend, arenaStart + 4 * cell.length, options.codec ?? defaultCodecLimits)
    this.frame = new EventFrame(memory, this.codec, options.fields)
    this.hostCall = new HostCall(memory, lua, spend, this.codec, this.frame)
    this.frame.reset()
    this.seed(options.seed ?? 1)
    this.snapshot = this.takeSnapshot()
    if (!blanks.has(options)) blanks.set(options, this.snapshot)
  }

  /**
   * Runs the program on the frame.
   *
   * Anything but `ok` has left no trace in the machine: it is rewound, and `lastError` says why. Whatever a host function
   * throws goes through to the caller, after a rewind.
   */
  run(program: Program, limits: RunLimits): RunStatus {
    return this.perform(program, limits, 0)
  }

  /** Like `run`, and `lastResult` is what the program returned first. */
  evaluate(program: Program, limits: RunLimits): RunStatus {
    return this.perform(program, limits, 1)
  }

  /** Units of fuel that the last run spent. */
  get lastFuel(): number {
    return this.granted - (this.cells[cell.fuel] as number)
  }

  /** Why the last run that did not end as `ok` did not. */
  get lastError(): RunError {
    return this.error
  }

  /** µs of the last run as far as the clock was read: 0 for one that spent less than a slice. */
  get lastMicros(): number {
    return this.elapsedMicros
  }

  /** Bytes that Lua holds. */
  get bytesUsed(): number {
    return this.cells[cell.used] as number
  }

  /** Gives back what it holds of the shared memory. It is not used again. */
  release(): void {
    this.shared.held -= this.heldBytes
    this.heldBytes = 0
  }

  /** The heap has grown so far beyond its programs that only a new machine gives the memory back. */
  get isWorn(): boolean {
    return this.hasOutgrown
  }

  /**
   * Makes a program of a chunk. Text only; the name is that of messages.
   *
   * Empties all scratch globals of the machine. The program sees the event as the global `event`, and as `...` where the
   * analysis calls it dynamic.
   */
  define(name: string, source: string): Definition {
    this.assertIdle()
    const analysis = analyseFields(source, this.options.fields)
    let mask = 0
    for (const field of analysis.fields) mask |= 1 << this.options.fields.indexOf(field)
    const program = this.free.pop() ?? this.programs.length
    const entry: Entry = {
      program,
      name: programName(name),
      source,
      mask,
      fieldCount: analysis.fields.length,
      isFresh: analysis.isDynamic,
      keepsState: analysis.keepsState
    }
    this.clean()
    if (this.pending.length >= pendingMax) this.settle()
    this.isStale = true
    const error = this.load(entry)
    if (error !== undefined) {
      if (program < this.programs.length) this.free.push(program)
      return { ok: false, error }
    }
    this.programs[program] = entry
    this.pending.push(entry)
    return { ok: true, program, analysis, mask: mask >>> 0 }
  }

  /** Forgets a program. Empties all scratch globals of the machine. */
  remove(program: Program): void {
    this.assertIdle()
    const entry = this.programs[program]
    if (entry === undefined) return
    if (this.pending.length === 1 && this.pending[0] === entry) {
      // Nothing but this program is newer than the snapshot: a program that was only compiled to see whether it can be.
      this.restore()
      this.pending.length = 0
      this.isStale = false
      this.programs[program] = undefined
      this.free.push(program)
      return
    }
    this.clean()
    const { lua, shim, L } = this.machine
    for (let at = place.functions; at <= place.environments; at++) {
      lua.lua_pushnil(L)
      shim.rawseti(L, at, program)
    }
    this.programs[program] = undefined
    this.free.push(program)
    this.isStale = true
    this.settle() // a rewind to the old snapshot would bring it back
  }

  /** Throws away whatever runs have left, globals included. */
  rewind(): void {
    this.assertIdle()
    if (this.isStale) this.settle()
    else this.restore()
  }

  /**
   * Takes it back to when it was made: without a program, and without a byte of what ran. For the price of a rewind; what
   * the machine counts of itself goes on, and `isWorn` says when another one should be made instead.
   */
  reset(): void {
    this.assertIdle()
    this.snapshot = blanks.get(this.options) as Snapshot
    this.restore()
    this.programs.length = 1
    this.free.length = 0
    this.pending.length = 0
    this.isStale = false
    this.account()
  }

  /** Starts math.random's sequence anew; each seed has its own. A rewind does not repeat it. */
  seed(seed: number): void {
    this.nextSeed = seedGenerator(this.machine.memory, this.machine.generator, seed)
  }

  /** Takes the generator back from a program that has seeded it. */
  private reseed(): void {
    this.hasSeeded = false
    this.seed(this.nextSeed)
  }

  // ---- a run

  private perform(program: Program, limits: RunLimits, results: 0 | 1): RunStatus {
    const entry = this.programs[program]
    if (entry === undefined) throw new RangeError(`no program ${program} in this machine`)
    if (this.isRunning) throw new Error("a machine runs one program at a time")
    if (this.isStale) this.settle()
    this.isRunning = true
    this.isDirty = true
    if (entry.keepsState) this.keepsState = true
    this.running = entry
    this.limits = limits
    this.stage = 0
    this.isClockRead = false
    this.elapsedMicros = 0
    this.granted = limits.fuelMax > 0 ? limits.fuelMax : Math.min(sliceFuel, limits.timeoutMicros * fuelPerMicro)
    this.bytesMax = this.shared.isSpent ? this.ration() : limits.bytesMax
    let code: number
    try {
      code = this.frame.isFull
        ? this.refuseFrame()
        : this.machine.shim.fire(program, entry.mask, entry.isFresh ? 1 : 0, this.granted, this.bytesMax, results)
    } catch (error) {
      return this.broken(error)
    }
    this.isRunning = false
    if (code !== 0 || this.stage !== 0) return this.failed(code)
    if (results !== 0) this.takeResult()
    if (this.hasSeeded) this.reseed()
    const used = this.cells[cell.used] as number
    this.lastBytes = used - (this.cells[cell.base] as number)
    if (heapEndOf(this.machine.memory) > this.reach) this.account()
    if (limits.isIsolated === true && (this.keepsState || this.cells[cell.marks] !== 0)) this.restore()
    else if (used > this.collectAt) this.tidy()
    return RunStatus.ok
  }

  private refuseFrame(): number {
    this.cells[cell.fuel] = this.granted
    this.cells[cell.base] = this.cells[cell.used] as number
    return frameFull
  }

  private takeResult(): void {
    const { lua, L } = this.machine
    this.cells[cell.cap] = this.cells[cell.total] as number
    this.frame.work = 0
    this.lastResult = this.codec.decode(L, -1, "result")
    lua.lua_settop(L, -2)
    if (this.cells[cell.denied] !== 0) this.restore() // no room to walk the value: the codec has said so
  }

  /** Lua returned, but not well. */
  private failed(code: number): RunStatus {
    const { lua, memory, L } = this.machine
    this.lastResult = null
    this.lastBytes = Math.max(0, (this.cells[cell.used] as number) - (this.cells[cell.base] as number))
    const line = this.cells[cell.line] as number
    let status: RunStatus = RunStatus.error
    if (code >= denied) {
      status = RunStatus.memory
      const why =
        code === frameFull ? "the event is larger than the machine" : `more than ${this.bytesMax} bytes${this.why()}`
      this.error = { message: `${memoryMessage} (${why})`, line }
    } else if (this.stage !== 0) {
      status = RunStatus.timeout
      this.error = { message: `stopped after ${limitText(this.limits)}`, line }
    } else this.error = located(topMessage(lua, memory, L), this.running?.name ?? "")
    this.restore()
    return status
  }

  /** Something was thrown through the wasm: the machine is dirty, and is not called before it has been rewound. */
  private broken(error: unknown): RunStatus {
    this.isRunning = false
    this.lastResult = null
    this.lastBytes = Math.max(0, (this.cells[cell.used] as number) - (this.cells[cell.base] as number))
    this.cells[cell.fuel] = this.machine.shim.refuel(bootFuel)
    const isDenied = this.cells[cell.denied] !== 0
    const line = this.cells[cell.line] as number
    this.restore()
    if (error instanceof Killed) {
      // Lua gives up where memory is refused outside of any protected call: while the event is being made.
      if (isDenied && this.stage === 0) {
        this.error = { message: `${memoryMessage} (the event does not fit)`, line: 0 }
        return RunStatus.memory
      }
      this.error = { message: error.message, line }
      return RunStatus.killed
    }
    if (isTrap(error)) {
      this.error = { message: `killed: ${error.message}`, line: 0 }
      return RunStatus.killed
    }
    throw error
  }

  /** The slice is spent, and `aheadMicros` of work beyond it that is still to be done. */
  private exhausted(aheadMicros: number): void {
    const { shim } = this.machine
    if (!this.isRunning) {
      if (this.isCompiling) throw new Killed("it takes too long to compile")
      shim.refuel(bootFuel)
      return
    }
    const { fuelMax, timeoutMicros } = this.limits
    // First of all: what is called below has loops too.
    const slice = fuelMax > 0 ? hardFuel : Math.min(sliceFuel, timeoutMicros * fuelPerMicro)
    this.granted += slice - shim.refuel(slice)
    let isLate = false
    let isOver = false
    if (fuelMax > 0) {
      isLate = this.stage === 0
      isOver = !isLate
    } else {
      const nowMs = this.clock.elapsedMs()
      const usualMicros = slice / fuelPerMicro
      // What the first slice took is known as work only; of a later one so much counts as a slow machine would need.
      const sliceMicros = this.isClockRead ? (nowMs - this.readMs) * 1000 - this.aheadMicros : usualMicros
      this.aheadMicros = aheadMicros
      this.elapsedMicros += Math.max(0, Math.min(sliceMicros, usualMicros * stallFactor)) + aheadMicros
      this.isClockRead = true
      this.readMs = nowMs
      isLate = this.elapsedMicros > timeoutMicros
      // By the clock alone, for it is late anyway; never without a slice in which the hook could have ended it.
      isOver = this.stage !== 0 && (nowMs - this.lateMs) * 1000 > hardMicros
      if (isLate && this.stage === 0) this.lateMs = nowMs
    }
    if (isOver) {
      shim.note()
      throw new Killed(`killed: no error could stop it after ${limitText(this.limits)}`)
    }
    if (isLate && this.stage === 0) {
      this.stage = 1
      shim.arm()
    }
  }

  /**
   * Takes fuel for work that the host is about to do. False when the run at hand is over its limit: then it is not to be
   * done. Before a run and after it (its event, its result) there is an allowance, which no limit of the run's lessens.
   */
  private spend(units: number): boolean {
    if (!this.isRunning) {
      this.frame.work += units
      return this.frame.work <= outsideFuel
    }
    const left = this.machine.shim.charge(units)
    // What it overdraws is work that the host has yet to do, and that the clock will see with the next slice.
    if (left < 0) this.exhausted(-left / fuelPerMicro)
    return this.stage === 0
  }

  private call(L: Pointer, id: number, count: number, at: Pointer, length: number): number {
    return this.hostCall.perform(this.machine.functions[id] as HostFunction, L, count, at, length)
  }

  // ---- between runs

  /** Throws garbage away. */
  private tidy(): void {
    const marks = this.cells[cell.marks] as number
    if ((marks === 0 && !this.keepsState) || this.shared.isSpent) {
      this.restore()
      return
    }
    const { shim, memory, collectorState, stepRef } = this.machine
    shim.refuel(bootFuel)
    // A run pays in proportion to what it took, or the collector would fall behind; never more than `stepsMax`.
    let steps = Math.min(stepsMax, 1 + Math.floor(Math.max(0, this.lastBytes) / bytesPerStep))
    do shim.collect(stepRef, 0)
    while (--steps > 0 && memory.bytes[collectorState] !== collectorIdle)
    if (memory.bytes[collectorState] !== collectorIdle) return
    this.collectAt = (this.cells[cell.used] as number) + garbageMin
  }

  /** Makes the state of now the one that rewinds return to. */
  private settle(): void {
    this.snapshot = this.takeSnapshot()
  }

  private takeSnapshot(): Snapshot {
    const { memory, lua, shim, L, collectRef } = this.machine
    shim.refuel(bootFuel)
    shim.collect(collectRef, 0)
    lua.lua_checkstack(L, stackSlots) // the collection has shrunk it
    const snapshot = new Snapshot(memory, lua)
    this.pending.length = 0
    this.isStale = false
    this.isDirty = false
    this.collectAt = snapshot.used + Math.max(garbageMin, snapshot.size >> 1)
    this.account(snapshot)
    return snapshot
  }

  private restore(): void {
    const { memory, lua, generator } = this.machine
    const { bytes } = memory
    if (heapEndOf(memory) > this.reach) this.account()
    if (this.snapshot.growth(memory) > wornBytes) this.hasOutgrown = true
    this.generatorState.set(bytes.subarray(generator, generator + generatorBytes))
    this.snapshot.restore(memory, lua)
    bytes.set(this.generatorState, generator)
    if (this.hasSeeded) this.reseed()
    this.isDirty = false
    this.keepsState = false
    this.collectAt = this.snapshot.used + Math.max(garbageMin, this.snapshot.size >> 1)
    this.rewinds++
  }

  /** Counts what it holds: the pages that its heap has reached, the copy to rewind to, and what every machine has. */
  private account(snapshot: Snapshot = this.snapshot): void {
    const { memory, lua } = this.machine
    this.reach = Math.max(this.reach, heapEndOf(memory))
    const bytes = machineBytes + this.reach - lua.emscripten_stack_get_base() + snapshot.size
    this.shared.held += bytes - this.heldBytes
    this.heldBytes = bytes
  }

  /** What a run may take while all machines together hold what they may. */
  private ration(): number {
    const { lua } = this.machine
    const unused = this.reach - lua.emscripten_stack_get_base() - (this.cells[cell.used] as number)
    const bytes = Math.max(rationBytes, unused)
    if (bytes >= this.limits.bytesMax) return this.limits.bytesMax
    this.shared.rationed++
    return bytes
  }

  private why(): string {
    if (this.bytesMax >= this.limits.bytesMax) return ""
    return `: all machines together hold the ${this.shared.bytesMax} that they may; remove a trigger`
  }

  // ---- programs

  /** What has run is undone, so that a snapshot to come holds programs and nothing else. */
  private clean(): void {
    if (this.isDirty) this.restore()
  }

  /** Compiles it and puts it in its place, or leaves the machine as it was. */
  private load(entry: Entry): CompileError | undefined {
    if (entry.source.length > sourceBytesMax) return tooLong(entry.source)
    const { lua, shim, L } = this.machine
    const top = lua.lua_gettop(L)
    this.cells[cell.cap] = this.cells[cell.total] as number
    shim.refuel(compileFuel(entry.source))
    this.isCompiling = true
    let isDirty = false
    let error: CompileError | undefined
    try {
      error = this.compile(entry)
    } catch (thrown) {
      this.isCompiling = false
      if (!(thrown instanceof Killed || isTrap(thrown))) throw thrown
      error = { message: thrown.message, line: 1, column: 1 }
      isDirty = true
    }
    this.isCompiling = false
    if (this.cells[cell.denied] !== 0) {
      error = { message: "the machine has no memory left for it", line: 1, column: 1 }
      isDirty = true
    }
    if (isDirty) this.reload()
    else lua.lua_settop(L, top)
    return error
  }

  /** After the compiler was stopped halfway: back to the snapshot, and once more what was loaded since. */
  private reload(): void {
    this.restore()
    for (const entry of this.pending.splice(0)) if (this.load(entry) === undefined) this.pending.push(entry)
  }

  private compile(entry: Entry): CompileError | undefined {
    const { memory, lua, shim, L, environmentRef } = this.machine
    shim.rawgeti(L, luaNumbers.registry, environmentRef)
    if (lua.lua_pcallk(L, 0, 1, 0, 0, 0) !== luaNumbers.ok) {
      return { message: topMessage(lua, memory, L), line: 1, column: 1 }
    }
    // Behind the frame, which stays as it is: a program may be defined for the event at hand.
    const error = compileChunk(this.machine, this.frame.end, entry.name, entry.source)
    if (error !== undefined) return error
    lua.lua_pushvalue(L, -2)
    lua.lua_setupvalue(L, -2, 1)
    shim.rawseti(L, place.functions, entry.program)
    if (!entry.isFresh) {
      lua.lua_createtable(L, 0, entry.fieldCount)
      lua.lua_pushvalue(L, place.event)
      lua.lua_pushvalue(L, -2)
      lua.lua_rawset(L, -4)
      shim.rawseti(L, place.events, entry.program)
    }
    shim.rawseti(L, place.environments, entry.program)
    return undefined
  }

  private assertIdle(): void {
    if (this.isRunning) throw new Error("not while a program runs in this machine")
  }

  private intrinsics(): Record<string, HostFunction> {
    return {
      ...makeIntrinsics(this.clock, this.options.print),
      seeded: () => {
        this.hasSeeded = true
      }
    }
  }
}

/** The state of a machine that was just made: the same bytes for all that are made with the same options. */
const blanks = new WeakMap<VmOptions, Snapshot>()

interface Entry {
  readonly program: Program
  readonly name: string
  readonly source: string
  /** A bit for each slot that is set before a run. */
  readonly mask: number
  readonly fieldCount: number
  /** A new event table for each run. */
  readonly isFresh: boolean
  readonly keepsState: boolean
}

const limitText = ({ fuelMax, timeoutMicros }: RunLimits): string =>
  fuelMax > 0 ? `${fuelMax} units of fuel` : `${timeoutMicros} µs`

const sliceFuel = 4096 // units; 10 to 20 µs of Lua

/** Units of fuel that a microsecond of Lua spends at least, on a slow machine: what turns a time into `fuelMax`. */
export const fuelPerMicro = 250

// A slice counts for at most so many times its usual duration: a run is not to be stopped because the process stood
// still (a collection of V8's, another process) while it had the thread.
const stallFactor = 4

const hardMicros = 1000 // µs from the soft limit to the hard one

const hardFuel = hardMicros * fuelPerMicro // units; the same where fuel is the limit

// Units; for structured fields before a run, and for its result after it. One of as many parts as may cross takes 150,000.
const outsideFuel = 250_000

// Bytes between two clean-ups: at 100 bytes a run these come to some 10 ns a run. Not more, because every few hundred
// strings Lua's string table doubles, and the run in which that happens pays: 1,200 units of fuel up to here, 9,300 (more
// than two slices) if garbage grew to 128 KiB.
const garbageMin = 32 << 10

const bytesPerStep = 2 << 10 // taken by a run for each further step; a step marks or sweeps some 200 objects in about 5 µs

const stepsMax = 32 // steps after one run, which has taken 64 KiB then

const wornBytes = 2 << 20 // of heap past the snapshot, which the process cannot be given back

const machineBytes = 192 << 10 // of a machine without its heap: static data, stack, tables of functions, our own part

const defaultBytesMax = 4 << 20

const bytesMin = 128 << 10 // Lua, its libraries and one small program

const bytesLimit = 10 << 20 // what lies below the arena

const denied = 256 // the shim's bit for a refused allocation

const frameFull = 512

const generatorBytes = 32

const pendingMax = 256 // programs that a snapshot may lag behind, and that a kill of the compiler loads again

const stackSlots = 128 // values; spares most programs a growth of their stack
