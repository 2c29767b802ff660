/**
 * Worlds for scripts: any number of them in a few machines.
 *
 * A world is the whole Lua memory of one run, or of one state that is kept between runs. It stays in its machine, and runs
 * there at no further cost, until somebody else needs the machine; then it waits outside as an image (internal/worldImage.ts),
 * and goes on later in whichever machine is free. So thousands of suspended runs need a few KB each instead of a machine
 * each; what a run holds is counted to the byte; and a kill costs the run that was killed and nothing else.
 *
 * Who has to leave: the world that ran longest ago, small ones before those of more than 256 KiB, which are dear to move.
 *
 * At the limits: an image that its account has no room for is not made, and its own run ends (`memory`, when it is resumed):
 * who hoards suspended memory pays for it himself. When all images together are too large, or all machines are in the
 * middle of a step (a host function that starts a script that starts a script, …), the run that asked for a machine ends.
 *
 * Invariants between two steps: a machine's memory is the world of its resident, or of no interest; a world is in a
 * machine, or in an image, or fresh (its program's image); `imageBytes` is the sum of all worlds' images.
 *
 * Cost: docs/decisions.md.
 */
import type { AnswerError } from "./HostCall.ts"
import { heapEndOf } from "./internal/snapshot.ts"
import { Blank, type WorldImage } from "./internal/worldImage.ts"
import type { LuaValue, Refusal } from "./LuaCodec.ts"
import type { CompileError } from "./LuaVm.ts"
import {
  type ScriptFailure,
  type ScriptGlobals,
  type ScriptLimits,
  ScriptStep,
  type ScriptVm,
  type WorldState
} from "./ScriptVm.ts"

export interface ScriptMachinesOptions {
  /** Makes a machine; each time alike, or the next one is refused. */
  readonly make: () => ScriptVm
  /** Default 16. A machine takes 0.3 MB, and up to 12 when a script has filled it. */
  readonly machinesMax?: number
  /** Bytes of all worlds' images together. Default 256 MiB. */
  readonly imageBytesMax?: number
}

/** What the images of some worlds may take together: those of one tenant, say. */
export class ImageAccount {
  /** Bytes that they take now. */
  bytes = 0
  /** Units of fuel that moving them out of machines and in again has taken; whoever charges them sets it to 0. */
  moveFuel = 0

  constructor(readonly bytesMax: number) {}
}

export interface ScriptMachinesStats {
  readonly machines: number
  /** Worlds that wait outside of any machine, and their bytes. */
  readonly images: number
  readonly imageBytes: number
  readonly swapsIn: number
  readonly swapsOut: number
  /** Steps that could only be ended by throwing the world away. */
  readonly kills: number
  /** Steps that were not made for want of a machine. */
  readonly refused: number
  /** Worlds given up because their account had no room for their image. */
  readonly dropped: number
}

/** A compiled script: plain data, from which any number of worlds are opened. Nothing needs to be closed. */
export class ScriptProgram {
  constructor(
    readonly name: string,
    /** For the machines alone. */
    readonly image: WorldImage,
    /** For the machines alone. */
    readonly state: WorldState
  ) {}

  /** What it costs the process, beside its source. */
  get bytes(): number {
    return this.image.bytes
  }
}

export class ScriptMachines {
  private readonly make: () => ScriptVm
  private readonly machinesMax: number
  private readonly imageBytesMax: number
  private readonly slots: Array<Slot> = []
  /** Known once there has been a machine. */
  private blank: Blank | undefined
  private blankState: WorldState | undefined
  private images = 0
  private imageBytes = 0
  private swapsIn = 0
  private swapsOut = 0
  private kills = 0
  private refused = 0
  private dropped = 0
  private steps = 0
  private compiled = 0

  constructor(options: ScriptMachinesOptions) {
    this.make = options.make
    this.machinesMax = options.machinesMax ?? machinesMaxDefault
    this.imageBytesMax = options.imageBytesMax ?? imageBytesMaxDefault
    if (!(this.machinesMax >= 1)) throw new RangeError(`machinesMax is ${this.machinesMax}; it takes at least one`)
  }

  /** Makes a program of a source, in Lua text; the name is that of messages. Nothing of it is run. */
  compile(name: string, source: string): ScriptProgram | CompileError {
    const slot = this.vacate()
    if (typeof slot === "string") return { message: slot, line: 1, column: 1 }
    const { vm } = slot
    const blank = this.blank as Blank
    blank.restore(vm.memory, vm.lua)
    vm.adopt({ ...(this.blankState as WorldState) })
    const error = vm.compile(name, source)
    this.compiled += vm.fuelSpent
    if (error !== undefined) return error
    const image = blank.capture(vm.memory, vm.lua) as WorldImage
    this.compiled += moveOutFuel + (image.bytes >> moveOutShift)
    return new ScriptProgram(name, image, { ...vm.world })
  }

  /** Machines that there are. */
  get size(): number {
    return this.slots.length
  }

  /** Units of fuel that compiling has taken, of all sources together. */
  get compileFuel(): number {
    return this.compiled
  }

  /** Counts the steps that were made: as long as it stays, nothing runs. */
  get stepCount(): number {
    return this.steps
  }

  /** A new world of the program. It costs nothing before its first step. What is opened is to be closed. */
  open(program: ScriptProgram, account?: ImageAccount): ScriptWorld {
    return new ScriptWorld(this, program, account)
  }

  get stats(): ScriptMachinesStats {
    const { images, imageBytes, swapsIn, swapsOut, kills, refused, dropped } = this
    return { machines: this.slots.length, images, imageBytes, swapsIn, swapsOut, kills, refused, dropped }
  }

  /**
   * Gives up machines in which nobody is: those that have grown large, and of the others all but what makes `sparesMax`
   * machines together with those that are lived in. For moments in which there is nothing to do.
   */
  tidy(sparesMax = Number.POSITIVE_INFINITY): void {
    const empty = this.slots.filter(({ resident, isBusy }) => resident === undefined && !isBusy)
    for (const slot of empty) if (slot.isWorn || this.slots.length > sparesMax) this.giveUp(slot)
  }

  // ---- for worlds

  /** A machine with the world in it, or why there is none. */
  enter(world: ScriptWorld): Slot | string {
    const slot = this.vacate(world)
    if (typeof slot === "string") {
      this.refused++
      return slot
    }
    const { vm } = slot
    const { program, image, state } = world
    ;(this.blank as Blank).restore(vm.memory, vm.lua)
    if (image === undefined) {
      program.image.apply(vm.memory)
      vm.adopt({ ...program.state })
    } else {
      image.apply(vm.memory)
      vm.adopt(state as WorldState)
      if (world.account !== undefined) world.account.moveFuel += moveInFuel + (image.bytes >> moveInShift)
      this.discard(world)
      this.swapsIn++
    }
    slot.resident = world
    world.slot = slot
    return slot
  }

  /** Who runs now has run last. */
  touch(slot: Slot): void {
    slot.isBusy = true
    slot.steppedAt = ++this.steps
  }

  /** The world in it is gone: it ended, or it was killed. */
  leave(slot: Slot): void {
    slot.note()
    if (slot.resident !== undefined) slot.resident.slot = undefined
    slot.resident = undefined
    slot.isBusy = false
  }

  /** Frees the world's image. */
  discard(world: ScriptWorld): void {
    const { image, account } = world
    if (image === undefined) return
    this.images--
    this.imageBytes -= image.bytes
    if (account !== undefined) account.bytes -= image.bytes
    world.image = undefined
    world.state = undefined
  }

  countKill(): void {
    this.kills++
  }

  // ---- machines

  /** A machine in which nobody is, or why there is none. `world`: who is to move in, and leaves its image's room. */
  private vacate(world?: ScriptWorld): Slot | string {
    const { slots } = this
    let small: Slot | undefined
    let large: Slot | undefined
    for (let i = 0; i < slots.length; i++) {
      const slot = slots[i] as Slot
      if (slot.isBusy) continue
      if (slot.resident === undefined) return slot
      if (slot.heapBytes > largeBytes) {
        if (large === undefined || slot.steppedAt < large.steppedAt) large = slot
      } else if (small === undefined || slot.steppedAt < small.steppedAt) small = slot
    }
    if (slots.length < this.machinesMax) return this.addMachine()
    const slot = small ?? large
    if (slot === undefined) return `all ${this.machinesMax} machines are in the middle of other scripts' steps`
    if (this.swapOut(slot, world)) return slot
    return `the suspended scripts hold the ${this.imageBytesMax} bytes that they may hold together`
  }

  private addMachine(): Slot {
    const vm = this.make()
    if (this.blank === undefined) {
      this.blank = new Blank(vm.memory, vm.lua)
      this.blankState = { ...vm.world }
    } else if (!this.blank.isOf(vm.memory, vm.lua)) {
      throw new Error("a machine is not like the first one: `make` has to give each the same tables in the same order")
    }
    const slot = new Slot(vm)
    this.slots.push(slot)
    return slot
  }

  private giveUp(slot: Slot): void {
    this.slots.splice(this.slots.indexOf(slot), 1)
    slot.vm.release()
  }

  /** Makes an image of the world in it. False where there is no room for that; then it stays. */
  private swapOut(slot: Slot, next?: ScriptWorld): boolean {
    const world = slot.resident as ScriptWorld
    const { account } = world
    const { vm } = slot
    const freed = next?.image?.bytes ?? 0
    const room = this.imageBytesMax - this.imageBytes + freed
    const accountRoom =
      account === undefined ? Infinity : account.bytesMax - account.bytes + (next?.account === account ? freed : 0)
    const image = (this.blank as Blank).capture(vm.memory, vm.lua, Math.min(room, accountRoom))
    if (image === undefined) {
      if (accountRoom > room) return false
      this.dropped++
      world.drop(`the suspended scripts of one owner hold the ${account?.bytesMax} bytes that they may hold together`)
      return true
    }
    world.image = image
    world.state = vm.world
    this.images++
    this.imageBytes += image.bytes
    if (account !== undefined) {
      account.bytes += image.bytes
      account.moveFuel += moveOutFuel + (image.bytes >> moveOutShift)
    }
    this.swapsOut++
    this.leave(slot)
    return true
  }
}

/**
 * The Lua memory of one run, or of a state that is kept between runs.
 *
 * It goes from step to step: `start` begins a run, `resume` goes on with one that is `computing` or `waiting`. After any
 * other step the run is over, and another may be started on what it has left, unless the world is fresh again.
 */
export class ScriptWorld {
  /** After `done`: what was returned first, or why that does not cross. */
  result: LuaValue | Refusal = null
  /** After `error`, `timeout`, `memory` and `killed`. */
  failure: ScriptFailure = noFailure
  /** Units of fuel, of the run so far. */
  fuelSpent = 0
  /** Where the run that is suspended stands in the source; 0 where that is not known. */
  line = 0
  /** Nothing has run in it: its next run executes the chunk first. */
  isFresh = true
  isClosed = false

  // For the machines alone.
  slot: Slot | undefined
  image: WorldImage | undefined
  state: WorldState | undefined

  private readonly machines: ScriptMachines
  private isSuspended = false
  private isBusy = false
  private nextSeed: number | undefined
  /** Why its memory was given up; told by the next step. */
  private dropped: string | undefined

  constructor(
    machines: ScriptMachines,
    readonly program: ScriptProgram,
    /** What its image is counted in. */
    readonly account: ImageAccount | undefined
  ) {
    this.machines = machines
  }

  /**
   * Begins a run: of the chunk, where the world is fresh, and then of its function `entry`.
   *
   * `memory` where no machine can be had: then nothing has run, and the world is as it was. Also where what it kept had to
   * be given up: then it is fresh. Throws what a host function throws, and leaves the world fresh.
   */
  start(entry: string, args: ReadonlyArray<LuaValue>, limits: ScriptLimits, globals?: ScriptGlobals): ScriptStep {
    if (this.isClosed) throw new Error("the world is closed")
    if (this.isBusy || this.isSuspended) throw new Error("a run is under way in this world; it has one at a time")
    this.fuelSpent = 0
    this.line = 0
    if (this.dropped !== undefined) return this.lose(this.dropped)
    const slot = this.slot ?? this.machines.enter(this)
    if (typeof slot === "string") return this.refuse(slot, 0)
    const { vm } = slot
    if (this.nextSeed !== undefined) this.plant(vm)
    this.begin(slot)
    let step: ScriptStep
    try {
      step = vm.start(entry, args, limits, globals)
    } catch (error) {
      throw this.broken(error)
    }
    return this.end(slot, step)
  }

  /**
   * Goes on with the run that is under way: after `computing`, or after `waiting` with the answer, which is nil when there
   * is none. `keepsNull` as for HostCall.returnValue.
   *
   * `memory` where no machine can be had, or its memory was given up: then the run is over and the world is fresh.
   */
  resume(answer?: LuaValue | AnswerError, keepsNull = false): ScriptStep {
    if (this.isBusy || !this.isSuspended) throw new Error("no run is suspended in this world")
    if (this.dropped !== undefined) return this.lose(this.dropped)
    const slot = this.slot ?? this.machines.enter(this)
    if (typeof slot === "string") return this.lose(slot)
    this.begin(slot)
    let step: ScriptStep
    try {
      step = slot.vm.resume(answer, keepsNull)
    } catch (error) {
      throw this.broken(error)
    }
    return this.end(slot, step)
  }

  /** Bytes that Lua holds for it, with the libraries. */
  get bytes(): number {
    return this.slot?.vm.world.used ?? (this.image ?? this.program.image).used
  }

  /** Starts math.random's sequence anew with the next run; each seed has its own. */
  seed(seed: number): void {
    this.nextSeed = seed
  }

  /** Back to the program as it was compiled. Aborts a run that is suspended. */
  reset(): void {
    if (this.isBusy) throw new Error("a world is not reset in the middle of a step")
    this.clear()
  }

  /**
   * Gives everything back, and aborts a run that is suspended. In the middle of a step (a host function closes the world
   * that called it) the step goes on to its end, and a run that would be suspended then ends as `killed`.
   */
  close(): void {
    this.isClosed = true
    if (!this.isBusy) this.clear()
  }

  /** For the machines alone: there is no room for its image. */
  drop(why: string): void {
    const wasSuspended = this.isSuspended
    this.clear()
    this.isSuspended = wasSuspended
    this.dropped = why
  }

  private begin(slot: Slot): void {
    this.isBusy = true
    this.isFresh = false
    this.machines.touch(slot)
  }

  private end(slot: Slot, step: ScriptStep): ScriptStep {
    const { vm } = slot
    slot.isBusy = false
    this.isBusy = false
    this.fuelSpent = vm.fuelSpent
    if (step === ScriptStep.done) {
      this.result = vm.result
    } else if (step >= ScriptStep.computing) {
      this.line = vm.world.line
      if (this.isClosed) return this.abort()
      this.isSuspended = true
      return step
    } else {
      this.result = null
      this.failure = vm.failure
    }
    this.isSuspended = false
    if (step === ScriptStep.killed) this.machines.countKill()
    if (step === ScriptStep.killed || this.isClosed) this.clear()
    return step
  }

  /** A host function has thrown through the machine. */
  private broken(error: unknown): unknown {
    this.isBusy = false
    this.machines.countKill()
    this.clear()
    return error
  }

  private abort(): ScriptStep {
    this.clear()
    this.result = null
    this.failure = { message: "killed: its world was closed", line: this.line, traceback: "", isRefusal: false }
    return ScriptStep.killed
  }

  private lose(why: string): ScriptStep {
    this.clear()
    return this.refuse(why, this.line)
  }

  private refuse(why: string, line: number): ScriptStep {
    this.result = null
    this.failure = { message: `not enough memory (${why})`, line, traceback: "", isRefusal: false }
    return ScriptStep.memory
  }

  private plant(vm: ScriptVm): void {
    vm.seed(this.nextSeed as number)
    this.nextSeed = undefined
  }

  private clear(): void {
    if (this.slot !== undefined) this.machines.leave(this.slot)
    this.machines.discard(this)
    this.isSuspended = false
    this.isFresh = true
    this.dropped = undefined
  }
}

/** A machine, and who is in it. */
class Slot {
  resident: ScriptWorld | undefined
  /** In the middle of a step. */
  isBusy = false
  /** The number of its last step. */
  steppedAt = 0
  /** Where the heap ended when the machine was made, and the furthest that it has reached since. */
  private readonly heapStart: number
  private reach: number

  constructor(readonly vm: ScriptVm) {
    this.heapStart = this.reach = heapEndOf(vm.memory)
  }

  /** Bytes of heap beyond those that it was made with. */
  get heapBytes(): number {
    return heapEndOf(this.vm.memory) - this.heapStart
  }

  get isWorn(): boolean {
    return this.reach - this.heapStart > wornBytes
  }

  /** Remembers how far it has reached. */
  note(): void {
    this.reach = Math.max(this.reach, heapEndOf(this.vm.memory))
  }
}

const noFailure: ScriptFailure = { message: "", line: 0, traceback: "", isRefusal: false }

const machinesMaxDefault = 16

const imageBytesMaxDefault = 256 << 20

// Units (250 a µs) of moving a world, measured: some 40 µs out, where the memory is compared with the blank, 10 in, and a
// quarter of a ms for each MB of the image both ways.
const moveOutFuel = 10_000
const moveOutShift = 5 // a unit for 32 bytes of the image
const moveInFuel = 2500
const moveInShift = 5

const largeBytes = 256 << 10 // of heap: moving it out and in again takes some 0.2 ms

const wornBytes = 2 << 20 // of heap, which the process gets back with the machine only
