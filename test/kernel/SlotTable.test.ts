import { describe, expect, it } from "vitest"
import { SlotTable } from "../../src/kernel/SlotTable.ts"

describe("SlotTable", () => {
  it("counts slots up from 0 and finds each item at its own", () => {
    const table = new SlotTable<string>()
    expect([table.take("a"), table.take("b"), table.take("c")]).toEqual([0, 1, 2])
    expect([table.at(0), table.at(1), table.at(2), table.at(3)]).toEqual(["a", "b", "c", undefined])
    expect(table.length).toBe(3)
  })

  it("takes freed slots again, last freed first, before it grows", () => {
    const table = new SlotTable<string>()
    for (const item of "abcd") table.take(item)
    table.release(1)
    table.release(3)
    expect([table.at(1), table.at(3)]).toEqual([undefined, undefined])
    expect([table.take("e"), table.take("f"), table.take("g")]).toEqual([3, 1, 4])
    expect([0, 1, 2, 3, 4].map((slot) => table.at(slot)).join("")).toBe("afceg")
    expect(table.length).toBe(5)
  })

  it("forgets items and freed slots when it is cleared", () => {
    const table = new SlotTable<string>()
    for (const item of "abc") table.take(item)
    table.release(2)
    table.clear()
    expect([table.length, table.at(0)]).toEqual([0, undefined])
    expect([table.take("d"), table.take("e")]).toEqual([0, 1])
  })
})
