import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { type Nested, sameValue, toFloat } from "../../src/kernel/index.ts"
import { changedPaths, pathsMax } from "../../src/triggers/changedPaths.ts"
import { makeEngine, told } from "../support/Engine.ts"

describe("the paths that changed", () => {
  it.each<[Nested, Nested, readonly string[]]>([
    [1, 1, []],
    ["a", "b", [""]],
    [null, { a: 1 }, [""]],
    [{ a: 1 }, { a: 1 }, []],
    [{ a: 1, b: 2 }, { a: 2, b: 2 }, ["a"]],
    [{ a: 1, b: 2 }, { b: 2, c: 3 }, ["a", "c"]],
    [{ a: { b: { c: 1 } } }, { a: { b: { c: 2, d: 1 } } }, ["a.b.c", "a.b.d"]],
    [
      { lines: [{ price: 1 }, { price: 2 }] },
      { lines: [{ price: 1 }, { price: 3 }, 4] },
      ["lines[2].price", "lines[3]"]
    ],
    [[1, 2, 3], [1], ["[2]", "[3]"]],
    [{ a: 1 }, { a: { b: 1 } }, ["a"]],
    [{ a: [] }, { a: {} }, []],
    [{ "a.b": 1, "": 1, é: 1 }, { "a.b": 2 }, ['["a.b"]', '[""]', '["é"]']],
    [new Map<Nested, Nested>([[0.5, 1]]), new Map<Nested, Nested>([[true, 1]]), ["[0.5]", "[true]"]],
    [{ a: new Uint8Array([1]) }, { a: new Uint8Array([2]) }, ["a"]],
    [{ a: 1, b: toFloat(1) }, { a: toFloat(1), b: toFloat(1) }, ["a"]],
    [
      new Map<Nested, Nested>([
        [new Uint8Array([200]), 1],
        [new Uint8Array([201]), 1]
      ]),
      new Map<Nested, Nested>([
        [new Uint8Array([200]), 1],
        [new Uint8Array([201]), 2]
      ]),
      ['["\ufffd"]']
    ]
  ])("from %j to %j are %j", (before, after, paths) => {
    expect(changedPaths(before, after)).toEqual(paths)
  })

  it("are no more than the bound, and say that there are more", () => {
    const list = (value: number) => new Array<number>(5_000).fill(value)
    const paths = changedPaths(list(1), list(2))
    expect([paths.length, paths.at(-1)]).toEqual([pathsMax + 1, "…"])
    expect(changedPaths(list(1).slice(0, pathsMax), list(2).slice(0, pathsMax))).toHaveLength(pathsMax)
  })

  it("are none exactly where the values are the same", () => {
    // Objects with a prototype of their own kind, as values have; an empty list is an empty table.
    const { tree } = fc.letrec<{ tree: Nested }>((tie) => ({
      tree: fc.oneof(
        { maxDepth: 3 },
        fc.constantFrom<Nested>(1, 2, "x", true, null),
        fc.array(tie("tree"), { minLength: 1, maxLength: 3 }),
        fc.dictionary(fc.constantFrom("a", "b", "c"), tie("tree"), { minKeys: 1, maxKeys: 3 })
      )
    }))
    fc.assert(
      fc.property(tree, tree, (before, after) => {
        expect(changedPaths(before, after).length === 0).toBe(sameValue(before, after))
        expect(changedPaths(before, before)).toEqual([])
      })
    )
  })
})

it("are what cache.diff gives a trigger", () => {
  const engine = makeEngine()
  engine.trigger({ source: 'cache.emit("changed", cache.diff(event.old_value, event.value))' })
  engine.keyspace.set("k", { name: "Ada", tags: ["a"] })
  engine.keyspace.set("k", { name: "Ada", tags: ["a", "b"], city: "London" })
  engine.keyspace.set("k", { name: "Ada", tags: ["a", "b"], city: "London" })
  expect(told(engine)).toEqual([[""], ["tags[2]", "city"], {}])
})

it("need two values", () => {
  const engine = makeEngine()
  engine.trigger({ name: "t", source: "cache.diff(1)" })
  engine.keyspace.set("k", "v")
  expect(engine.log.recent(1)).toMatchObject([{ message: "line 1: cache.diff takes two values, before and after" }])
})
