import * as fs from "node:fs/promises"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { toBytes } from "../../src/cache/index.ts"
import { ScriptStore } from "../../src/scripting/ScriptStore.ts"
import { DataDirectory } from "../../src/storage/index.ts"
import { temporaryDirectory } from "../storage/TemporaryDirectory.ts"

/** A process with this data directory, from its start to its end. */
const started = <A, E>(path: string, body: Effect.Effect<A, E, ScriptStore>, lines: string[] = []) =>
  body.pipe(
    Effect.provide(Layer.provide(ScriptStore.layer, DataDirectory.layer(path))),
    Effect.provide(
      Logger.replace(
        Logger.defaultLogger,
        Logger.make(({ message }) => void lines.push(JSON.stringify(message)))
      )
    )
  )
const saved = Effect.map(ScriptStore, (store) => store.saved)
const saving = (...scripts: ReadonlyArray<readonly [tenant: string, name: string, source: string]>) =>
  Effect.flatMap(ScriptStore, (store) => Effect.forEach(scripts, (script) => store.save(...script), { concurrency: 4 }))

describe("saved scripts", () => {
  it.scoped("come back after a restart, by tenant and name, as they were saved last", () =>
    Effect.gen(function* () {
      const path = yield* temporaryDirectory
      yield* started(path, saving(["b", "main", "return 1"], ["a", "main", "-- text"], ["a", "Main", ""]))
      yield* started(path, saving(["b", "main", "return 2"]))
      expect(yield* started(path, saved)).toEqual([
        { tenant: "a", name: "Main", source: "" },
        { tenant: "a", name: "main", source: "-- text" },
        { tenant: "b", name: "main", source: "return 2" }
      ])
      expect(yield* Effect.promise(() => fs.readFile(join(path, "scripts/b/main.lua"), "utf8"))).toBe("return 2")
    })
  )

  it.scoped("are the very bytes that were given, UTF-8 or not, for an editor to read", () =>
    Effect.gen(function* () {
      const path = yield* temporaryDirectory
      const text = toBytes("return 'Käse — 🧀'")
      const binary = String.fromCharCode(...Array.from({ length: 256 }, (_, i) => i))
      yield* started(path, saving(["a", "text", text], ["a", "binary", binary]))
      const read = (name: string) => Effect.promise(() => fs.readFile(join(path, `scripts/a/${name}.lua`)))
      expect((yield* read("text")).toString("utf8")).toBe("return 'Käse — 🧀'")
      expect(yield* read("binary")).toEqual(Buffer.from(binary, "latin1"))
      expect(yield* started(path, saved)).toEqual([
        { tenant: "a", name: "binary", source: binary },
        { tenant: "a", name: "text", source: text }
      ])
    })
  )

  it.scoped("stay away once they were removed, one by one or all of a tenant", () =>
    Effect.gen(function* () {
      const path = yield* temporaryDirectory
      yield* started(path, saving(["a", "x", "1"], ["a", "y", "2"], ["b", "x", "3"], ["b", "y", "4"], ["bb", "x", "5"]))
      yield* started(
        path,
        Effect.flatMap(ScriptStore, (store) =>
          Effect.all([
            store.remove("a", "x"),
            store.remove("a", "never"),
            store.removeAll("b"),
            store.removeAll("nobody")
          ])
        )
      )
      const left = yield* started(path, saved)
      expect(left.map(({ tenant, name }) => `${tenant}/${name}`)).toEqual(["a/y", "bb/x"])
    })
  )

  it.scoped("are read beside files that are none, which are told of and left alone", () =>
    Effect.gen(function* () {
      const path = yield* temporaryDirectory
      yield* started(path, saving(["a", "x", "1"]))
      const strange = ["scripts/readme", "scripts/a/notes.txt", "scripts/a/a b.lua", "scripts/a/.x.lua.swp"]
      for (const name of strange) yield* Effect.promise(() => fs.writeFile(join(path, name), Buffer.from([0xff])))
      const lines: string[] = []
      expect(yield* started(path, saved, lines)).toEqual([{ tenant: "a", name: "x", source: "1" }])
      for (const name of strange) expect(lines.join()).toContain(join(path, name))
      expect(yield* Effect.promise(() => fs.readFile(join(path, strange[2] as string)))).toEqual(Buffer.from([0xff]))
    })
  )

  it.scoped("are reported as not saved where the disk refuses, and the old one stays", () =>
    Effect.gen(function* () {
      const path = yield* temporaryDirectory
      yield* started(path, saving(["a", "x", "old"]))
      const error = yield* started(
        path,
        Effect.gen(function* () {
          yield* Effect.promise(() => fs.mkdir(join(path, "scripts/a/.x.lua.tmp")))
          return yield* Effect.flip(saving(["a", "x", "new"]))
        })
      )
      expect(error).toMatchObject({
        _tag: "ScriptsNotSaved",
        message: expect.stringContaining("will not survive a restart")
      })
      yield* Effect.promise(() => fs.rmdir(join(path, "scripts/a/.x.lua.tmp")))
      expect(yield* started(path, saved)).toEqual([{ tenant: "a", name: "x", source: "old" }])
    })
  )

  it.effect("are none in a library that has them in code", () =>
    Effect.gen(function* () {
      const store = yield* ScriptStore
      yield* Effect.all([store.save("a", "x", "1"), store.remove("a", "x"), store.removeAll("a")])
      expect(store.saved).toEqual([])
    }).pipe(Effect.provide(ScriptStore.layerNone))
  )
})
