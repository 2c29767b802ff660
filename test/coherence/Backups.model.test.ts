/** What is told of expiries, whoever dies when, against a plain list of what was written. */
import { describe, expect, it } from "vitest"
import { expiryId } from "../../src/coherence/Backups.ts"
import { noMeta, SetFlag } from "../../src/kernel/index.ts"
import { forAllSeeds, propertyTimeoutMs, type Random } from "../support/Random.ts"
import { type House, Town } from "./BackupTown.ts"

/** A write, or what has ended one. Of a key, or of a tag. */
interface Step {
  readonly atMs: number
  readonly by: House
  readonly key: string
  /** Of a write that asks for it; undefined for what is to be told by nobody else. */
  readonly id: string | undefined
  readonly deadlineMs: number
}

/** In good weather everything known is known everywhere after this; in bad weather batches are said again. */
const marginMs = 1_500
/** Of two changes within this time the later one may be the lower: its author had not heard of the other. */
const concurrentMs = 500

class Life {
  readonly town: Town
  readonly houses: Array<House | null>
  readonly steps: Step[] = []
  /** When each instance ended. */
  readonly ends = new Map<House, number>()
  private quietUntilMs: number

  constructor(
    readonly random: Random,
    isStormy: boolean
  ) {
    const weather = isStormy ? { loss: 0.1, duplicates: 0.1, jitterMs: 20, isOrdered: false } : {}
    this.town = new Town(4, random.seed, weather)
    this.houses = this.town.settle()
    this.quietUntilMs = this.nowMs + marginMs
  }

  get nowMs(): number {
    return this.town.time.nowMs
  }

  run(): void {
    const { random, town } = this
    for (let step = 0; step < 60; step++) {
      this.step()
      town.run(random.oneIn(4) ? random.between(500, 2_000) : random.below(60))
    }
    town.run(30_000)
  }

  private step(): void {
    const { random } = this
    const living = this.houses.filter((house): house is House => house !== null)
    const house = random.pick(living.filter(({ instance }) => instance.isJoined)) // as programs wait for it
    const key = `k:${random.below(8)}`
    const dice = random.below(20)
    if (dice < 8) this.write(house, key, SetFlag.cluster)
    else if (dice < 10) this.write(house, key, 0)
    else if (dice < 12) this.end(house, key, () => house.keyspace.delete(key))
    else if (dice < 14) this.touch(house, key)
    else if (dice === 14) this.end(house, key, () => house.keyspace.invalidateTags([key]))
    else if (dice === 15) {
      house.keyspace.flush()
      for (let n = 0; n < 8; n++) this.note(house, `k:${n}`)
    } else if (this.nowMs >= this.quietUntilMs) this.changeMembers(living)
  }

  private write(house: House, key: string, flags: number): void {
    const ttlMs = this.random.between(200, 8_000)
    const { random } = this
    const id = house.set(key, `${this.steps.length}`, ttlMs, { ...noMeta, tags: [key, random.pick(["x", "y"])] }, flags)
    this.note(house, key, id === "none" ? undefined : id, this.nowMs + ttlMs)
  }

  /** Another deadline for what is here. */
  private touch(house: House, key: string): void {
    const entry = house.keyspace.peek(key)
    if (entry === undefined) return
    const ttlMs = this.random.oneIn(4) ? 0 : this.random.between(200, 8_000)
    house.expire(key, ttlMs)
    this.note(house, key, house.entries.expiryIdOf(entry), this.nowMs + ttlMs)
  }

  private end(house: House, key: string, how: () => unknown): void {
    how()
    this.note(house, key)
  }

  private note(by: House, key: string, id?: string, deadlineMs = 0): void {
    this.steps.push({ atMs: Math.floor(this.nowMs), by, key, id, deadlineMs: Math.floor(deadlineMs) })
  }

  /** One that ends or begins; then there is time to hand over what was its. */
  private changeMembers(living: readonly House[]): void {
    const { random, town } = this
    const empty = this.houses.indexOf(null)
    if (living.length > 2 && living.every(({ instance }) => instance.isJoined) && (empty === -1 || random.oneIn(2))) {
      const house = random.pick(living)
      this.houses[house.host] = null
      this.ends.set(house, Math.floor(this.nowMs))
      if (random.oneIn(3)) house.leave()
      else house.kill()
    } else if (empty !== -1) this.houses[empty] = town.start(empty)
    this.quietUntilMs = this.nowMs + 2 * marginMs
  }

  /** Whether the writer had ended by then. */
  hadEnded(house: House, atMs: number): boolean {
    return (this.ends.get(house) ?? Number.POSITIVE_INFINITY) <= atMs
  }

  judge(): void {
    const { told } = this.town
    const byId = new Map(this.steps.flatMap((step) => (step.id === undefined ? [] : [[step.id, step] as const])))
    for (const { id, by, atMs, key, value } of told) {
      if (id === undefined) continue // of what nobody else tells of
      const step = byId.get(id)
      if (step === undefined) throw new Error(`${by} tells of ${id}, which nobody has written`)
      expect({ key, isEarly: atMs < step.deadlineMs }, id).toEqual({ key, isEarly: false })
      expect(value, id).toMatch(/^\d+$/)
      if (by !== step.by.name && !this.hadEnded(step.by, atMs))
        throw new Error(`${by} tells of ${id}, whose writer lives`)
    }
    const ids = new Set(told.map(({ id }) => id))
    for (const step of byId.values()) {
      const { id, key, by, atMs, deadlineMs } = step
      const others = this.steps.filter((other) => other !== step && other.key === key)
      const isOver = others.some(
        (other) => other.atMs > atMs + concurrentMs && other.atMs + marginMs < deadlineMs && !this.endsSoonAfter(other)
      )
      if (isOver && ids.has(id)) throw new Error(`${id} is told, and was over long before its time`)
      const mayBeOver = others.some((other) => other.atMs > atMs - concurrentMs && other.atMs <= deadlineMs + marginMs)
      const isHandedOver = !this.endsSoonAfter(step) || (this.ends.get(by) ?? 0) > deadlineMs
      if (!mayBeOver && isHandedOver && !ids.has(id)) throw new Error(`${id} of ${key} is told by nobody`)
    }
  }

  /** The instance ended before everybody had to have heard of the step. */
  private endsSoonAfter({ by, atMs }: Step): boolean {
    return (this.ends.get(by) ?? Number.POSITIVE_INFINITY) < atMs + marginMs
  }
}

describe("expiries that others may tell of", () => {
  for (const isStormy of [false, true]) {
    const weather = isStormy ? "frames are lost, repeated and late" : "frames arrive"
    it(
      `are told at least once, by nobody else while the writer lives, and not where they are void (${weather})`,
      async () => {
        let [told, elsewhere] = [0, 0]
        await forAllSeeds(60, (random) => {
          const life = new Life(random, isStormy)
          life.run()
          life.judge()
          for (const house of life.houses) {
            if (house === null) continue
            house.backups.checkInvariants()
            house.entries.checkInvariants()
          }
          told += life.town.told.filter(({ id }) => id !== undefined).length
          for (const house of life.town.all.values()) elsewhere += house.backups.stats.told
        })
        expect(told).toBeGreaterThan(0)
        expect(elsewhere).toBeGreaterThan(0)
      },
      propertyTimeoutMs
    )
  }

  it("have ids that name the writer and the write", () => {
    expect(expiryId(255, 7)).toBe("x000000000000ff-7")
  })
})
