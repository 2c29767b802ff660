/**
 * Where the versions of definitions outlive the process: `definitions.json` in the data directory, without bodies. These
 * lie with whoever keeps tenants, triggers and scripts; `check` tells whether what lies there is still what had the
 * version. Without it a start could not tell what was changed before it from what others have changed since.
 *
 * One document, written anew as a whole: 150 bytes a definition, so whoever saves it waits for further changes first.
 */
import { Context, Effect, Layer, Schema } from "effect"
import { DataDirectory, type StorageError, type StorageIo, type VersionedDocument } from "../storage/index.ts"

export interface SavedDefinition {
  readonly kind: string
  readonly owner: string
  readonly name: string
  readonly version: number
  readonly author: number
  readonly since: number
  /** A digest of its body as it lies here; null where it was removed. */
  readonly check: string | null
}

export interface DefinitionStoreService {
  /** What was saved last. */
  readonly saved: readonly SavedDefinition[]
  /** Returns when it would survive a crash of the machine. */
  readonly replace: (definitions: readonly SavedDefinition[]) => Effect.Effect<void, StorageIo>
}

export class DefinitionStore extends Context.Tag("mimosa-cache/coherence/DefinitionStore")<
  DefinitionStore,
  DefinitionStoreService
>() {
  /** Keeps nothing: what others have is what there is at the next start. */
  static readonly layerNone: Layer.Layer<DefinitionStore> = Layer.succeed(DefinitionStore, {
    saved: [],
    replace: () => Effect.void
  })

  /** Keeps them in the data directory. */
  static readonly layer: Layer.Layer<DefinitionStore, StorageError, DataDirectory.DataDirectory> = Layer.effect(
    DefinitionStore,
    Effect.gen(function* () {
      const file = yield* (yield* DataDirectory.DataDirectory).open(definitionsDocument)
      return { saved: file.initial ?? [], replace: file.replace }
    })
  )
}

const DefinitionsJson = Schema.Array(
  Schema.Struct({
    kind: Schema.String,
    owner: Schema.String,
    name: Schema.String,
    version: Schema.Int,
    author: Schema.Int,
    since: Schema.Int,
    check: Schema.NullOr(Schema.String)
  })
)

const definitionsDocument: VersionedDocument<readonly SavedDefinition[], readonly SavedDefinition[]> = {
  kind: "definitions",
  version: 1,
  schema: DefinitionsJson
}
