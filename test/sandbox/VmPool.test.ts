import { describe, expect, it } from "vitest"
import { VmPool } from "../../src/sandbox/index.ts"
import { evaluate, makeVm } from "./support.ts"

const makePool = (spares: number) => {
  const counts = { made: 0, asked: 0 }
  const pool = new VmPool({
    make: () => {
      counts.made++
      return makeVm()
    },
    spares,
    onMissing: () => {
      counts.asked++
    }
  })
  return { pool, counts }
}

describe("a pool of machines", () => {
  it("holds what it was told to, made in steps when its owner has time", () => {
    const { pool, counts } = makePool(3)
    expect([counts.made, pool.refill(1), pool.ready]).toEqual([0, false, 1])
    expect([pool.refill(5), pool.ready, counts.made]).toEqual([true, 3, 3])
    expect([pool.refill(), counts.made]).toEqual([true, 3])
  })

  it("hands out each machine once, and asks once for more", () => {
    const { pool, counts } = makePool(2)
    pool.refill()
    const [one, other] = [pool.take(), pool.take()]
    expect(one).not.toBe(other)
    expect([evaluate(one, "return 1"), evaluate(other, "return 2")]).toEqual([1, 2])
    expect([pool.ready, counts.asked, counts.made, pool.madeLate]).toEqual([0, 1, 2, 0])
    pool.refill()
    pool.take()
    expect([pool.ready, counts.asked]).toEqual([1, 2])
  })

  it("makes one on the spot when none is left", () => {
    const { pool, counts } = makePool(1)
    expect(evaluate(pool.take(), "return 1")).toBe(1)
    expect([pool.taken, pool.madeLate, counts.asked]).toEqual([1, 1, 1])
  })
})
