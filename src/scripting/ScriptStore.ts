/**
 * Where tenants' scripts outlive the process: one file a script, `scripts/<tenant>/<name>.lua` in the data directory,
 * so that an editor and a version control can read them. (Capital letters: storage/Folder.ts.)
 *
 * Sources are bytes, as the kernel has them (latin1, a character each): the file holds the very bytes that were given,
 * whether or not they are UTF-8. They are written one by one and as a whole. What is there and is no such file is left
 * alone and told of. Nothing here knows which tenants there are, or whether a script compiles.
 */
import { Context, Data, Effect, Layer } from "effect"
import { isTenantId } from "../cache/index.ts"
import { DataDirectory, Folder, type StorageIo } from "../storage/index.ts"

export interface SavedScript {
  readonly tenant: string
  readonly name: string
  /** Bytes, as latin1. */
  readonly source: string
}

export interface ScriptStoreService {
  /** The scripts that were saved last, by tenant and name; none on a first start. */
  readonly saved: readonly SavedScript[]
  /** Returns when the script would survive a crash of the machine. */
  readonly save: (tenant: string, name: string, source: string) => Effect.Effect<void, ScriptsNotSaved>
  /** Returns when its removal would; also where there is none. */
  readonly remove: (tenant: string, name: string) => Effect.Effect<void, ScriptsNotSaved>
  /** Removes all that the tenant has. */
  readonly removeAll: (tenant: string) => Effect.Effect<void, ScriptsNotSaved>
}

/** Scripts have names as tenants have ids. */
export const isScriptName = (name: string): boolean => isTenantId(name)

export class ScriptsNotSaved extends Data.TaggedError("ScriptsNotSaved")<{ readonly cause: unknown }> {
  override get message(): string {
    return `the change is in effect, but could not be saved and will not survive a restart: ${String(this.cause)}`
  }
}

export class ScriptStore extends Context.Tag("mimosa-cache/scripting/ScriptStore")<ScriptStore, ScriptStoreService>() {
  /** Keeps nothing: for a library that has its scripts in code. */
  static readonly layerNone: Layer.Layer<ScriptStore> = Layer.succeed(ScriptStore, {
    saved: [],
    save: () => Effect.void,
    remove: () => Effect.void,
    removeAll: () => Effect.void
  })

  /** Keeps them in the data directory. */
  static readonly layer: Layer.Layer<ScriptStore, StorageIo, DataDirectory.DataDirectory> = Layer.effect(
    ScriptStore,
    Effect.gen(function* () {
      const folder = yield* (yield* DataDirectory.DataDirectory).folder("scripts")
      const { files, strangers } = yield* folder.read
      const saved: SavedScript[] = []
      const unknown = [...strangers]
      for (const [file, content] of files) {
        const script = scriptOf(file)
        if (script === undefined) unknown.push(Folder.pathOf(folder, file))
        else saved.push({ ...script, source: Buffer.from(content).toString("latin1") })
      }
      if (unknown.length > 0) yield* Effect.logWarning("files among the scripts are none of ours", { unknown })
      const change = (changes: ReadonlyMap<string, Uint8Array | null>) => notSaved(folder.change(changes))
      return {
        saved,
        save: (tenant, name, source) => change(new Map([[fileOf(tenant, name), Buffer.from(source, "latin1")]])),
        remove: (tenant, name) => change(new Map([[fileOf(tenant, name), null]])),
        removeAll: (tenant) => notSaved(folder.removeBelow(tenant))
      }
    })
  )
}

const notSaved = Effect.mapError((cause: StorageIo) => new ScriptsNotSaved({ cause }))

const fileOf = (tenant: string, name: string): string => `${tenant}/${name}${suffix}`

/** Whose file it is; undefined for one that `fileOf` gives nobody. */
const scriptOf = (file: string): Pick<SavedScript, "tenant" | "name"> | undefined => {
  const [tenant = "", named = "", ...deeper] = file.split("/")
  const name = named.slice(0, -suffix.length)
  const isOurs = named.endsWith(suffix) && deeper.length === 0 && isTenantId(tenant) && isScriptName(name)
  return isOurs ? { tenant, name } : undefined
}

const suffix = ".lua"
